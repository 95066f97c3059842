package engine

import (
	"context"
	"fmt"
	"runtime/debug"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/tensor"
)

// run is one execution of a program: its slots and activations. Runs are pooled,
// and what a slot table says of a frame holds as long as frame and plan are the same.
type run struct {
	prog  *program
	ctx   context.Context
	slots []graph.Slot
	known []graph.Operand // by Value.ID, of what has been computed
	stack stack
	room  scratch // of execs
	grown int64   // bytes that steps hold beside the stack
	peak  int64   // the most that bytes has been in this job; guarded by the program's lock beside a memory limit
	team  *team
	execs []graph.Exec // one for each worker
	bound *segment     // whose fixed places are in slots, based at frame
	frame []byte
	ran   []*segment // whose slots hold memory that is not the run's

	current *step // for the closure below, which is made once
	phase   *graph.Phase
	work    func(worker, task int) error
	profile *Profile
	threads int  // that it may use
	written bool // a state has been
	failed  bool // the last prediction, or none was made
	kept    bool // it has memory of jobs before
}

func newRun(p *program) *run {
	r := &run{prog: p, slots: make([]graph.Slot, p.fn.Values*graph.Forms), known: make([]graph.Operand, p.fn.Values)}
	r.work = func(worker, task int) error {
		x := &r.execs[worker]
		x.Node, x.In, x.Out = r.current.call.Node, r.current.in, r.current.out
		return r.phase.Run(x, task)
	}
	return r
}

// start readies the run for a job.
func (r *run) start(ctx context.Context) {
	r.ctx, r.profile = ctx, profileOf(ctx)
	r.team = crew.take(r.threads)
	n := 1
	if r.team != nil {
		n = r.team.threads
	}
	for len(r.execs) < n {
		r.execs = append(r.execs, graph.Exec{})
	}
	for i := range r.execs {
		r.execs[i].Slots, r.execs[i].Env = r.slots, r
	}
	r.fillRoom()
	r.failed, r.kept = true, r.peak > 0
}

// end implements executor: it gives the team back, and the run itself.
func (r *run) end() {
	if r.team != nil {
		r.team = nil
		crew.giveBack()
	}
	r.prog.release(r)
}

// set implements executor.
func (r *run) set(v *graph.Value, t graph.Type, s graph.Slot) {
	f := graph.Plain
	if v.Type.Kind == graph.KindState {
		f = stateForm(v.Type)
	} else if have := r.known[v.ID].Type.Shape; have != nil && tensor.EqualShape(have, t.Shape) {
		t.Shape = have
	} else {
		t.Shape = append([]int{}, t.Shape...) // plans keep it, and s belongs to the caller
	}
	r.known[v.ID] = graph.Operand{Value: v, Type: t}
	r.slots[slotOf(v, f)] = s
}

// compute implements executor: it runs the function for what was set.
func (r *run) compute() error {
	r.failed, r.written = true, false
	err := r.once()
	if err != nil && r.retry(err) {
		err = r.once()
	}
	r.failed = err != nil
	return err
}

func (r *run) once() error {
	r.leave(0)
	r.stack.release(mark{})
	return r.block(r.prog.fn.Body)
}

// result implements executor.
func (r *run) result(o *output) (graph.Type, graph.Slot, error) {
	s, err := r.valueSlot(o.value)
	return r.typeOf(o.value), s, err
}

// fit implements executor.
func (r *run) fit(out tensor.Features) error {
	if len(out) == 0 {
		return nil
	}
	var known []graph.Operand
	if b := r.prog.fn.Body; len(b.Nodes) > 0 {
		seg, err := r.prog.segment(b, 0, r.known)
		if err != nil {
			return err
		}
		known = seg.exports
	}
	return r.prog.feats.room(out, func(v *graph.Value) (graph.Type, bool) {
		if v.Const != nil || v.Def == nil {
			return r.typeOf(v), true
		}
		for i := range known {
			if known[i].Value == v {
				return known[i].Type, !known[i].Type.Bound
			}
		}
		return graph.Type{}, false
	})
}

// wrote implements executor.
func (r *run) wrote() bool { return r.written }

// guard makes a panic, or a fault in mapped memory, the caller's error: defer guard(&err, prefix)().
func guard(err *error, prefix string) func() {
	was := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(was)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%s%w: %s", prefix, fault.Runtime, describePanic(p))
		}
	}
}

// block runs a block whose inputs are in place, one segment after the other.
func (r *run) block(b *graph.Block) error {
	for at := 0; at < len(b.Nodes); {
		seg, err := r.prog.segment(b, at, r.known)
		if err != nil {
			return err
		}
		if err := r.segment(seg); err != nil {
			return err
		}
		at = seg.next
	}
	return nil
}

func (r *run) segment(seg *segment) error {
	r.ran = append(r.ran, seg)
	if err := r.bind(seg); err != nil {
		return err
	}
	for i := range seg.exports {
		r.known[seg.exports[i].Value.ID] = seg.exports[i]
	}
	for _, s := range seg.steps {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.step(s); err != nil {
			if r.ctx.Err() != nil {
				return r.ctx.Err()
			}
			return located(s.call.Node, fault.As(fault.Runtime, err))
		}
	}
	for _, v := range seg.dynamic {
		k := &r.known[v.ID]
		k.Type.Bound = false
		if k.Type.Kind == graph.KindTensor {
			k.Type.Shape = r.slots[slotOf(v, graph.Plain)].Shape
		}
	}
	for _, v := range seg.needs {
		r.readValue(v)
	}
	return nil
}

// readValue makes a value of the run known to the planner.
func (r *run) readValue(v *graph.Value) {
	k := &r.known[v.ID]
	d := r.slots[slotOf(v, graph.Plain)].Data
	k.Const = &graph.Const{Type: k.Type, Data: append([]byte(nil), d...), Held: true, Derived: true}
}

// step runs one step; a panic names the operation.
func (r *run) step(s *step) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s", fault.Runtime, describePanic(p))
		}
	}()
	if s.writes {
		r.written = true
	}
	for _, k := range s.call.Packs {
		if err := r.pack(k); err != nil {
			return err
		}
	}
	if r.profile != nil {
		defer r.profile.time(s)()
	}
	r.current = s
	for i := range s.Phases {
		r.phase = &s.Phases[i]
		if err := r.tasks(s); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) tasks(s *step) error {
	n := r.phase.Tasks
	if r.team == nil || n == 1 {
		for t := range n {
			if err := r.work(0, t); err != nil {
				return err
			}
		}
		return nil
	}
	return r.team.do(n, r.work)
}

// pack makes sure that a weight is packed.
func (r *run) pack(k *graph.Packed) error {
	if k.Ready.Load() {
		return nil
	}
	return r.prog.fill(k, r.team)
}

// Context implements graph.Env.
func (r *run) Context() context.Context { return r.ctx }

// Grow implements graph.Env.
func (r *run) Grow(n int64) error {
	if err := r.take(n); err != nil {
		return err
	}
	r.grown += n
	return nil
}

// RunBlock implements graph.Env: block b of the running node, on top of the stack.
func (r *run) RunBlock(x *graph.Exec, b int, args, out []graph.Slot) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	s, ph, m, bound, frame, ran := r.current, r.phase, r.stack.mark(), r.bound, r.frame, len(r.ran)
	block := s.call.Node.Blocks[b]
	if len(args) != len(block.Inputs) {
		return fmt.Errorf("block %d: %d arguments: %w: want %d", b, len(args), fault.Invalid, len(block.Inputs))
	}
	for i, v := range block.Inputs {
		r.slots[slotOf(v, graph.Plain)] = args[i]
		t := v.Type
		if t.Kind == graph.KindTensor {
			// Plans keep what they were made for, and the caller may reuse its slice.
			if t.Shape = r.known[v.ID].Type.Shape; !tensor.EqualShape(t.Shape, args[i].Shape) || t.Shape == nil {
				t.Shape = append([]int{}, args[i].Shape...)
			}
		}
		r.known[v.ID] = graph.Operand{Value: v, Type: t}
	}
	before := r.grown
	err := r.block(block)
	if err == nil {
		before, err = r.results(block, out, before)
	}
	r.grown = before // what else the block took ends with it
	r.leave(ran)
	r.empty(block.Inputs)
	r.stack.release(m)
	r.current, r.phase, r.bound, r.frame = s, ph, bound, frame
	x.Node, x.In, x.Out = s.call.Node, s.in, s.out
	return err
}

// results copies a block's results to slots that outlive its frame. It returns the
// bytes that are held with them, given those held without.
func (r *run) results(b *graph.Block, out []graph.Slot, held int64) (int64, error) {
	for i, v := range b.Outputs {
		from, err := r.valueSlot(v)
		if err != nil {
			return held, err
		}
		to := &out[i]
		held -= to.Bytes()
		if len(from.Data) > cap(to.Data) {
			if err := r.Grow(int64(len(from.Data))); err != nil {
				return held, err
			}
			to.Data = graph.Aligned(len(from.Data))
		}
		to.Data = append(to.Data[:0], from.Data...)
		to.Shape = append(to.Shape[:0], from.Shape...)
		to.Obj = from.Obj
		held += to.Bytes()
	}
	return held, nil
}

// valueSlot is a value's memory in Plain form.
func (r *run) valueSlot(v *graph.Value) (graph.Slot, error) {
	k := v.Const
	if k == nil {
		k = r.known[v.ID].Const
	}
	switch {
	case k == nil:
		return r.slots[slotOf(v, graph.Plain)], nil
	case k.Strings != nil:
		return graph.Slot{Obj: k.Strings, Shape: k.Type.Shape}, nil
	}
	d, err := r.plainOf(k)
	return graph.Slot{Data: d, Shape: k.Type.Shape}, err
}

// typeOf is what is known of a value once it has been computed.
func (r *run) typeOf(v *graph.Value) graph.Type {
	if v.Const != nil {
		return v.Const.Type
	}
	return r.known[v.ID].Type
}
