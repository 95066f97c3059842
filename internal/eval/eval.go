// Package eval runs a function one node after the other at generic level, with
// nothing shared and nothing planned. It is the specification of the engine: it
// folds constants, runs the raw graph, and is the oracle of the conformance test.
package eval

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// Machine runs one function once.
type Machine struct {
	fn    *graph.Function
	ctx   context.Context
	level cpu.Level
	slots []graph.Slot
	known []graph.Operand // by Value.ID
	held  int64           // bytes of values that have not ended
	limit int64
	wrote bool
}

// New makes a machine. limit bounds the bytes of the values that it holds at a time; 0: no bound.
func New(ctx context.Context, fn *graph.Function, level cpu.Level, limit int64) *Machine {
	return &Machine{fn: fn, ctx: ctx, level: level, limit: limit,
		slots: make([]graph.Slot, fn.Values), known: make([]graph.Operand, fn.Values)}
}

// Run computes the function. in has one slot for each input of the body, in
// Plain form; a state's slot is written in place, in Half form. The results are
// in Plain form, in the order of the body's outputs.
func (m *Machine) Run(in []graph.Slot) (out []graph.Slot, types []graph.Type, err error) {
	out = make([]graph.Slot, len(m.fn.Body.Outputs))
	if err := m.block(m.fn.Body, in, out); err != nil {
		return nil, nil, err
	}
	for _, v := range m.fn.Body.Outputs {
		types = append(types, m.known[v.ID].Type)
	}
	return out, types, nil
}

// Wrote reports whether a state has been written, also by a run that failed.
func (m *Machine) Wrote() bool { return m.wrote }

// Context implements graph.Env.
func (m *Machine) Context() context.Context { return m.ctx }

// Grow implements graph.Env.
func (m *Machine) Grow(n int64) error {
	if m.limit > 0 && m.held+n > m.limit {
		return fmt.Errorf("needs %d bytes: %w: %d are allowed", m.held+n, fault.Limit, m.limit)
	}
	m.held += n
	return nil
}

// RunBlock implements graph.Env.
func (m *Machine) RunBlock(x *graph.Exec, b int, args, out []graph.Slot) error {
	return m.block(x.Node.Blocks[b], args, out)
}

func (m *Machine) block(b *graph.Block, in, out []graph.Slot) error {
	for i, v := range b.Inputs {
		t := v.Type
		if t.Kind == graph.KindTensor {
			t.Shape = in[i].Shape
		}
		m.known[v.ID] = graph.Operand{Value: v, Type: t}
		m.slots[v.ID] = in[i]
	}
	before := m.held
	for _, n := range b.Nodes {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if err := m.node(n); err != nil {
			return fmt.Errorf("operation %s (%s): %w", fault.Quote(n.Name), n.Op.Name, err)
		}
	}
	return m.results(b, out, before)
}

// results copies a block's results to out, and lets everything else that the block held since end.
func (m *Machine) results(b *graph.Block, out []graph.Slot, before int64) error {
	kept := int64(0)
	for i, v := range b.Outputs {
		o, from := m.operand(v), m.slots[v.ID]
		kept -= out[i].Bytes()
		if err := m.Grow(int64(max(0, len(from.Data)-cap(out[i].Data)))); err != nil {
			return err
		}
		out[i] = graph.Slot{Data: append(out[i].Data[:0], from.Data...), Shape: o.Type.Shape, Obj: from.Obj}
		kept += out[i].Bytes()
	}
	m.held = before + kept
	if b == m.fn.Body {
		return nil
	}
	for _, n := range b.Nodes {
		for _, v := range n.Out {
			m.slots[v.ID], m.known[v.ID] = graph.Slot{}, graph.Operand{}
		}
	}
	return nil
}

// operand looks a value up, and brings a constant into memory.
func (m *Machine) operand(v *graph.Value) graph.Operand {
	if v.Const != nil && m.known[v.ID].Value == nil {
		m.define(v, v.Const)
	}
	return m.known[v.ID]
}

func (m *Machine) define(v *graph.Value, k *graph.Const) {
	m.known[v.ID] = graph.Operand{Value: v, Type: k.Type, Const: k}
	m.slots[v.ID] = ConstSlot(k)
}

func (m *Machine) node(n *graph.Node) error {
	c := graph.NewCall(n, m.level, m.operand)
	c.Store = packer{}
	if n.Op.Expand != nil {
		ks, err := n.Op.Expand(c)
		for i := range ks {
			m.define(n.Out[i], ks[i])
		}
		return fault.As(fault.Invalid, err)
	}
	types, err := m.infer(c)
	if err == nil && len(types) != len(n.Out) {
		err = fmt.Errorf("%d outputs, want %d", len(n.Out), len(types))
	}
	if err != nil {
		return fault.As(fault.Invalid, err)
	}
	for i, t := range types {
		c.Out[i].Type = t
		size := int64(graph.Bytes(t, graph.Plain, 1))
		if err := m.Grow(size); err != nil {
			return err
		}
		m.slots[n.Out[i].ID] = graph.Slot{Data: graph.Aligned(int(size)), Shape: t.Shape}
	}
	m.wrote = m.wrote || n.Op.Name == "write_state"
	before := m.held
	if err := Run(c, m.slots, m); err != nil {
		if m.ctx.Err() != nil {
			return m.ctx.Err()
		}
		return fault.As(fault.Runtime, err)
	}
	if len(n.Blocks) > 0 {
		m.held = before
	}
	for i, t := range types {
		if s := &m.slots[n.Out[i].ID]; len(n.Blocks) > 0 && graph.Bytes(t, graph.Plain, 1) == 0 {
			m.held += s.Bytes() // what the blocks took, and is handed out
		}
		if t.Kind == graph.KindTensor {
			t.Shape, t.Bound = m.slots[n.Out[i].ID].Shape, false
		}
		m.known[n.Out[i].ID] = graph.Operand{Value: n.Out[i], Type: t}
	}
	return nil
}

// infer reads the values that Infer asks for out of memory: everything before the node has run.
func (m *Machine) infer(c *graph.Call) ([]graph.Type, error) {
	for {
		types, err := c.Infer()
		var need graph.NeedValue
		if !errors.As(err, &need) {
			return types, err
		}
		o := &c.In[need.Operand]
		o.Const = &graph.Const{Type: o.Type, Data: m.slots[o.Value.ID].Data, Held: true}
	}
}

// ConstSlot is the memory of a constant, in Plain form.
func ConstSlot(k *graph.Const) graph.Slot {
	if k.Strings != nil {
		return graph.Slot{Shape: k.Type.Shape, Obj: k.Strings}
	}
	return graph.Slot{Data: k.Plain(), Shape: k.Type.Shape}
}

// packer packs at once and keeps nothing.
type packer struct{}

func (packer) Get(c *graph.Call, in int, p graph.Packing) *graph.Packed {
	k := &graph.Packed{Packing: p, Src: c.In[in].Const, Data: graph.Aligned(p.Size)}
	p.Do(k.Data, k.Src, 0, p.Items)
	k.Ready.Store(true)
	return k
}

func (packer) Cold() bool { return false }

// Run prepares a call and runs its step serially; the operands' memory is in slots, by Value.ID.
func Run(c *graph.Call, slots []graph.Slot, env graph.Env) error {
	step, err := c.Op.Prepare(c)
	if err != nil {
		return fault.As(fault.Invalid, err)
	}
	x := &graph.Exec{Node: c.Node, Slots: slots, Env: env}
	for _, o := range c.In {
		x.In = append(x.In, int32(o.Value.ID))
	}
	for _, o := range c.Out {
		x.Out = append(x.Out, int32(o.Value.ID))
	}
	return perform(step, x)
}

// perform runs a step, one task after the other.
func perform(step graph.Step, x *graph.Exec) error {
	x.Buf = graph.Aligned(step.Scratch)
	for _, p := range step.Phases {
		for t := range p.Tasks {
			if err := p.Run(x, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// folders are what Fold runs steps in.
var folders = sync.Pool{New: func() any {
	return &graph.Exec{Env: New(context.Background(), &graph.Function{}, cpu.Generic, 0)}
}}

// Fold computes a call whose operands are all constants, or whose operator is FromType.
func Fold(c *graph.Call, types []graph.Type) ([]*graph.Const, error) {
	f := folders.Get().(*graph.Exec)
	defer func() {
		clear(f.Slots) // a pool outlives the model
		f.Node, f.Buf = nil, nil
		folders.Put(f)
	}()
	slots := append(f.Slots[:0], make([]graph.Slot, len(c.In)+len(c.Out))...)
	f.Node, f.Slots, f.In, f.Out = c.Node, slots, f.In[:0], f.Out[:0]
	x := graph.NewCall(c.Node, cpu.Generic, func(v *graph.Value) graph.Operand { return graph.Operand{} })
	copy(x.In, c.In)
	x.Store = packer{}
	for i, o := range c.In {
		slots[i] = graph.Slot{Shape: o.Type.Shape} // of an operator that looks at types only
		if o.Const != nil {
			slots[i] = ConstSlot(o.Const)
		}
		f.In = append(f.In, int32(i))
	}
	for i, t := range types {
		x.Out[i].Type = t
		slots[len(c.In)+i] = graph.Slot{Data: graph.Aligned(graph.Bytes(t, graph.Plain, 1)), Shape: t.Shape}
		f.Out = append(f.Out, int32(len(c.In)+i))
	}
	step, err := c.Op.Prepare(x)
	if err != nil {
		return nil, err
	}
	if err := perform(step, f); err != nil {
		return nil, err
	}
	out := make([]*graph.Const, len(types))
	for i, t := range types {
		s := slots[len(c.In)+i]
		t.Shape, t.Bound = s.Shape, false
		out[i] = &graph.Const{Type: t, Data: s.Data, Held: true}
	}
	return out, nil
}
