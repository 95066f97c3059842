// Package engine is the CPU backend: it plans a graph for concrete shapes and
// this machine, and runs the plan.
package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/lower"
	"coreml/internal/mlmodel"
	"coreml/internal/passes"
	"coreml/tensor"
)

// CPU runs models on this machine's processor. It is always usable.
type CPU struct{}

func (CPU) Name() string  { return "cpu" }
func (CPU) Usable() error { return nil }

// Load makes the graph of a function and plans it for its default shapes, each
// enumerated one and both ends of each range, so that what cannot run fails here.
func (CPU) Load(ctx context.Context, m *mlmodel.Model, c backend.Config) (_ backend.Program, err error) {
	defer guard(&err)()
	fn, err := lower.Graph(m, c.Function)
	if err != nil {
		return nil, err
	}
	d, err := m.Description.FunctionNamed(c.Function)
	if err != nil {
		return nil, err
	}
	f, err := newFeatures(fn, d)
	if err != nil {
		return nil, err
	}
	level, err := levelOf(c)
	if err != nil {
		return nil, err
	}
	p := newProgram(passes.Apply(fn), level, c)
	p.feats = f
	p.discard = m.Discard
	err = p.rehearse(ctx)
	if err == nil && c.Preload {
		err = p.preload()
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// levelOf is the CPU level that a program is planned for.
func levelOf(c backend.Config) (cpu.Level, error) {
	if c.Level == "" {
		return cpu.Best(), nil
	}
	l, err := cpu.ByName(c.Level)
	if err == nil && !cpu.Has(l) {
		err = fmt.Errorf("engine: level %v: %w: this machine has %v", l, fault.Invalid, cpu.Levels())
	}
	return l, fault.As(fault.Invalid, err)
}

// threads is the number of threads that a run may use.
func (p *program) threads() int { return cpu.Threads(p.config.Threads) }

// Run implements backend.Program.
func (p *program) Run(ctx context.Context, j *backend.Job) error {
	st, err := p.claim(j.State)
	if err != nil {
		return err
	}
	if st != nil {
		defer st.busy.Store(false)
	}
	r, err := p.acquire()
	if err != nil {
		return err
	}
	defer p.release(r)
	r.start(ctx, p.threads())
	defer r.end()
	r.profile = profileOf(ctx)
	for i := range j.In {
		if err := p.one(r, j, i, st); err != nil {
			if len(j.In) > 1 {
				err = fmt.Errorf("batch element %d: %w", i, err)
			}
			return err
		}
	}
	j.Dispatch = backend.Dispatch{Backend: "cpu", Unit: "cpu " + p.level.String()}
	return nil
}

// one makes one prediction of a job. A state is broken if the steps end between its
// first write and the last step, for whatever reason: it is neither what it was nor what it was to be.
func (p *program) one(r *run, j *backend.Job, i int, st *state) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { // as guard does, which would allocate
		if x := recover(); x != nil {
			err = fmt.Errorf("engine: %w: %s", fault.Runtime, describePanic(x))
		}
	}()
	if err := p.feats.read(j.In[i], r.setInput); err != nil {
		return err
	}
	if st != nil {
		for k, v := range p.fn.States {
			r.setState(v, st.slots[k])
		}
	}
	if err := r.room(j.Out[i]); err != nil {
		return err
	}
	r.wrote = false
	if err := r.body(); err != nil {
		if st != nil && r.wrote {
			st.broken.Store(true)
		}
		return err
	}
	if j.Out[i] == nil {
		j.Out[i] = tensor.Features{}
	}
	err = p.feats.write(j.Out[i], func(o *output) (graph.Type, graph.Slot) { return r.typeOf(o.value), r.valueSlot(o.value) })
	r.stack.release(mark{})
	return err
}

// room checks the caller's tensors for the results by what the plan says of them.
func (r *run) room(out tensor.Features) error {
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

func (r *run) setInput(v *graph.Value, t graph.Type, s graph.Slot) {
	if have := r.known[v.ID].Type.Shape; have != nil && tensor.EqualShape(have, t.Shape) {
		t.Shape = have
	} else {
		t.Shape = append([]int{}, t.Shape...) // plans keep it, and s belongs to the caller
	}
	r.known[v.ID] = graph.Operand{Value: v, Type: t}
	r.slots[slotOf(v, graph.Plain)] = s
}

func (r *run) setState(v *graph.Value, s graph.Slot) {
	r.known[v.ID] = graph.Operand{Value: v, Type: v.Type}
	r.slots[slotOf(v, stateForm(v.Type))] = s
}

// Capabilities implements backend.Program.
func (p *program) Capabilities() backend.Capabilities {
	c := backend.Capabilities{Unit: "cpu " + p.level.String(), Ops: map[string]int{}}
	p.fn.Body.Walk(func(n *graph.Node) { c.Ops[n.Op.Name]++ })
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Memory.Weights = p.held
	for _, l := range p.plans {
		for _, k := range l.plans {
			c.Memory.Activations = max(c.Memory.Activations, int64(k.seg.frame))
		}
	}
	return c
}

// rehearse plans the function for the shapes that its description names. Of a
// model with flexible shapes only what is unsupported counts: sizes of several
// inputs may be right one by one and not together.
func (p *program) rehearse(ctx context.Context) error {
	flexible := false
	for i := range p.feats.in {
		flexible = flexible || p.feats.in[i].flexible()
	}
	for _, shapes := range p.feats.rehearsals() {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := p.planFor(ctx, shapes)
		if err != nil && (!flexible || errors.Is(err, fault.Unsupported)) {
			return err
		}
	}
	return nil
}

func (p *program) planFor(ctx context.Context, shapes [][]int) error {
	r, err := p.acquire()
	if err != nil {
		return err
	}
	defer p.release(r)
	r.ctx = ctx
	for i, in := range p.feats.in {
		r.known[in.value.ID] = graph.Operand{Value: in.value, Type: graph.Type{DType: in.value.Type.DType, Shape: shapes[i]}}
	}
	for _, v := range p.fn.States {
		r.known[v.ID] = graph.Operand{Value: v, Type: v.Type}
	}
	_, err = p.segment(p.fn.Body, 0, r.known)
	return err
}

// rehearsals are the input shapes to plan for at load: all inputs at their
// defaults, at each of their enumerated shapes, at their smallest and at their largest.
func (f *features) rehearsals() [][][]int {
	var all [][][]int
	add := func(pick func(in *input) []int) {
		shapes := make([][]int, len(f.in))
		for i := range f.in {
			if shapes[i] = pick(&f.in[i]); shapes[i] == nil {
				return
			}
		}
		for _, have := range all {
			if sameShapes(have, shapes) {
				return
			}
		}
		all = append(all, shapes)
	}
	add((*input).defaultShape)
	most := 0
	for i := range f.in {
		most = max(most, len(f.in[i].enumerated()))
	}
	for k := range min(most, maxRehearsals) {
		add(func(in *input) []int {
			if e := in.enumerated(); len(e) > k {
				return e[k]
			}
			return in.defaultShape()
		})
	}
	add(func(in *input) []int { return in.extreme(func(r mlmodel.Range) int { return r.Lower }) })
	add(func(in *input) []int { return in.extreme(func(r mlmodel.Range) int { return r.Upper }) })
	return all
}

// maxRehearsals bounds the enumerated shapes that are planned at load.
const maxRehearsals = 16

func sameShapes(a, b [][]int) bool {
	for i := range a {
		if !tensor.EqualShape(a[i], b[i]) {
			return false
		}
	}
	return true
}
