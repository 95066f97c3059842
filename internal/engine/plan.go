package engine

import (
	"errors"
	"fmt"

	"coreml/internal/eval"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/tensor"
)

// segment is a plan: some nodes of a block, for concrete types of everything
// that they read. It ends with the block, or where the types of the rest depend
// on values that only the run knows. It owns neither weights nor memory.
type segment struct {
	steps  []step
	frame  int            // bytes of activations
	fixed  []place        // slots inside the frame
	linked []place        // slots inside other slots: views of inputs, states, outer values
	consts []constant     // constants that steps read in Plain form
	next   int            // the first node that is not planned
	needs  []*graph.Value // whose values the rest has to know
	// exports are what later segments, nested blocks and the block's results know of the values made here.
	exports []graph.Operand
	dynamic []*graph.Value // exports whose shapes the steps set
}

// step is a call ready to run.
type step struct {
	graph.Step
	call    *graph.Call
	in, out []int32
}

// place is the memory of one slot.
type place struct {
	slot, base int32 // base: the slot that it lies in; -1: the frame
	off, size  int
	shape      []int
}

type constant struct {
	slot  int32
	value *graph.Const
}

// slotOf numbers the memory of a value in a form.
func slotOf(v *graph.Value, f graph.Form) int32 { return int32(v.ID*graph.Forms + int(f)) }

// pcall is a call on its way through the planner.
type pcall struct {
	call    *graph.Call
	in, out []int32        // slots, in the order of call.In and call.Out
	reads   []*graph.Value // what nested blocks read of this block and those around it
	fit     graph.Fit
	blocked bool
}

// planner makes one segment.
type planner struct {
	prog  *program
	block *graph.Block
	from  int
	known []graph.Operand // by Value.ID; shared scratch, entries in set are this planner's
	set   []int32

	calls []*pcall
	later map[*graph.Value]bool // values that are read after the segment
	seg   *segment
}

func (p *planner) plan() (*segment, error) {
	p.seg = &segment{next: len(p.block.Nodes)}
	if err := p.infer(); err != nil {
		return nil, err
	}
	p.later = p.prog.readAfter(p.block, p.seg.next)
	for _, v := range p.seg.needs {
		p.later[v] = true
	}
	p.dropDead()
	p.chooseForms()
	p.insertReorders()
	p.fusePost()
	if err := p.prepare(); err != nil {
		return nil, err
	}
	p.assignMemory()
	p.export()
	return p.seg, nil
}

func (p *planner) look(v *graph.Value) graph.Operand {
	if v.Const != nil {
		return graph.Operand{Value: v, Type: v.Const.Type, Const: v.Const}
	}
	o := p.known[v.ID]
	if o.Value == nil {
		panic(fmt.Sprintf("BUG: engine: value %q is read before it is known", v.Name))
	}
	return o
}

func (p *planner) learn(v *graph.Value, t graph.Type, k *graph.Const) {
	p.known[v.ID] = graph.Operand{Value: v, Type: t, Const: k}
	p.set = append(p.set, int32(v.ID))
}

// infer gives every value its type, folds what is known, and ends the segment
// where a type depends on a value that is not.
func (p *planner) infer() error {
	for i := p.from; i < len(p.block.Nodes); i++ {
		n := p.block.Nodes[i]
		c := graph.NewCall(n, p.prog.level, p.look)
		c.Store = p.prog
		r, err := p.prog.memo.infer(c)
		var need graph.NeedValue
		if errors.As(err, &need) {
			p.seg.next = i
			p.seg.needs = append(p.seg.needs, c.In[need.Operand].Value)
			return nil
		}
		if err != nil {
			return located(n, fault.As(fault.Invalid, err))
		}
		for o, v := range n.Out {
			var k *graph.Const
			if r.consts != nil {
				k = r.consts[o]
			}
			p.learn(v, r.types[o], k)
			c.Out[o].Type = r.types[o]
		}
		if r.consts != nil {
			continue
		}
		p.calls = append(p.calls, newPcall(c))
		if r.bound {
			p.seg.next = i + 1
			return nil
		}
	}
	return nil
}

func newPcall(c *graph.Call) *pcall {
	pc := &pcall{call: c, in: make([]int32, len(c.In)), out: make([]int32, len(c.Out))}
	if len(c.Node.Blocks) > 0 {
		pc.reads = capturedBy(c.Node)
	}
	return pc
}

func located(n *graph.Node, err error) error {
	return fmt.Errorf("engine: operation %q (%s): %w", n.Name, n.Op.Name, err)
}

// inferred is what Infer and folding say about a call.
type inferred struct {
	types  []graph.Type
	consts []*graph.Const
	bound  bool
}

// foldBytes is the largest value that is folded.
const foldBytes = 64 << 10

// inferCall runs Infer, checks what it says, and folds the call if it can.
func inferCall(c *graph.Call) (inferred, error) {
	var r inferred
	if c.Op.Expand != nil {
		ks, err := c.Op.Expand(c)
		for _, k := range ks {
			r.types = append(r.types, k.Type)
		}
		r.consts = ks
		return r, err
	}
	types, err := c.Op.Infer(c)
	if err != nil {
		return r, err
	}
	if len(types) != len(c.Out) {
		return r, fmt.Errorf("%d outputs: %w: want %d", len(c.Out), fault.Invalid, len(types))
	}
	size := 0
	for _, t := range types {
		if t.Bound {
			r.bound = true
		}
		if t.Kind != graph.KindTensor || !t.Static() {
			continue
		}
		if _, ok := tensor.Elements(t.Shape); !ok {
			return r, fmt.Errorf("result of shape %v: %w", t.Shape, fault.Limit)
		}
		size += graph.Bytes(t, graph.Plain, 1)
	}
	r.types = types
	if foldable(c) && size <= foldBytes && !(r.bound && size == 0) {
		r.consts, err = eval.Fold(c, types)
		if err == nil && r.bound {
			r.bound = false
			for i, k := range r.consts {
				r.types[i] = k.Type
			}
		}
	}
	return r, err
}

// foldable reports whether the call's value is known before the run.
func foldable(c *graph.Call) bool {
	if c.Op.FromType {
		return true
	}
	if c.Op.Effect || c.Op.NoFold || len(c.Node.Blocks) > 0 {
		return false
	}
	for _, o := range c.In {
		if o.Const == nil || o.Const.Code != nil {
			return false
		}
	}
	for _, v := range c.Out {
		if v.Value.Type.Kind != graph.KindTensor || v.Value.Type.DType == tensor.String {
			return false
		}
	}
	return true
}

// dropDead leaves out calls whose results nobody reads.
func (p *planner) dropDead() {
	read := map[*graph.Value]bool{}
	keep := make([]bool, len(p.calls))
	for i := len(p.calls) - 1; i >= 0; i-- {
		c := p.calls[i]
		keep[i] = c.call.Op.Effect
		for _, o := range c.call.Out {
			keep[i] = keep[i] || read[o.Value] || p.later[o.Value]
		}
		if !keep[i] {
			continue
		}
		for _, o := range c.call.In {
			read[o.Value] = true
		}
		for _, v := range c.reads {
			read[v] = true
		}
	}
	n := 0
	for i, c := range p.calls {
		if keep[i] {
			p.calls[n] = c
			n++
		}
	}
	p.calls = p.calls[:n]
}

// prepare makes the steps, and notes the constants that they read in Plain form.
func (p *planner) prepare() error {
	noted := map[int32]bool{}
	for _, pc := range p.calls {
		s, err := p.prog.memo.prepare(pc.call)
		if err != nil {
			return located(pc.call.Node, fault.As(fault.Invalid, err))
		}
		p.seg.steps = append(p.seg.steps, step{Step: s, call: pc.call, in: pc.in, out: pc.out})
		for i, o := range pc.call.In {
			if o.Const != nil && !pc.call.IsRaw(i) && !noted[pc.in[i]] {
				noted[pc.in[i]] = true
				p.seg.consts = append(p.seg.consts, constant{pc.in[i], o.Const})
			}
		}
		for _, v := range pc.reads {
			if k := p.constOf(v); k != nil && !noted[slotOf(v, graph.Plain)] {
				noted[slotOf(v, graph.Plain)] = true
				p.seg.consts = append(p.seg.consts, constant{slotOf(v, graph.Plain), k})
			}
		}
	}
	for v := range p.later {
		if k := p.constOf(v); k != nil && k.Code == nil && !noted[slotOf(v, graph.Plain)] {
			p.seg.consts = append(p.seg.consts, constant{slotOf(v, graph.Plain), k})
		}
	}
	return nil
}

func (p *planner) constOf(v *graph.Value) *graph.Const {
	if v.Const != nil {
		return v.Const
	}
	return p.known[v.ID].Const
}

// export tells the run what later segments, nested blocks and the block's
// results have to know of the segment's values.
func (p *planner) export() {
	wanted := p.later
	for _, c := range p.calls {
		for _, v := range c.reads {
			wanted[v] = true
		}
	}
	for _, id := range p.set {
		o := p.known[id]
		if o.Value == nil || !wanted[o.Value] && !o.Type.Bound {
			continue
		}
		p.seg.exports = append(p.seg.exports, o)
		if o.Type.Bound {
			p.seg.dynamic = append(p.seg.dynamic, o.Value)
		}
	}
}

// capturedBy lists the values that a node's blocks read and do not define.
func capturedBy(n *graph.Node) []*graph.Value {
	seen := map[*graph.Value]bool{}
	var out []*graph.Value
	var visit func(b *graph.Block, inner map[*graph.Value]bool)
	visit = func(b *graph.Block, inner map[*graph.Value]bool) {
		add := func(v *graph.Value) {
			if !inner[v] && !seen[v] {
				seen[v] = true
				out = append(out, v)
			}
		}
		for _, v := range b.Inputs {
			inner[v] = true
		}
		for _, m := range b.Nodes {
			for _, a := range m.Args {
				for _, v := range a {
					add(v)
				}
			}
			for _, in := range m.Blocks {
				visit(in, inner)
			}
			for _, v := range m.Out {
				inner[v] = true
			}
		}
		for _, v := range b.Outputs {
			add(v)
		}
	}
	for _, b := range n.Blocks {
		visit(b, map[*graph.Value]bool{})
	}
	return out
}
