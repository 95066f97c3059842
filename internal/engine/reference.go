package engine

import (
	"context"
	"fmt"

	"coreml/internal/backend"
	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/lower"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// Reference runs the raw graph, one node after the other, at generic level. It
// is slow and shares no plan, memory or kernel with CPU, of which it is the specification.
type Reference struct{}

func (Reference) Name() string  { return "reference" }
func (Reference) Usable() error { return nil }

// Load implements backend.Backend.
func (Reference) Load(_ context.Context, m *mlmodel.Model, c backend.Config) (_ backend.Program, err error) {
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
	p := newProgram(fn, cpu.Generic, c)
	p.feats = f
	return &reference{p}, nil
}

// reference borrows states and features of a program, and runs it by eval.
type reference struct{ *program }

func (p *reference) Run(ctx context.Context, j *backend.Job) error {
	st, err := p.claim(j.State)
	if err != nil {
		return err
	}
	if st != nil {
		defer st.busy.Store(false)
	}
	r, err := p.acquire() // Close waits for it
	if err != nil {
		return err
	}
	defer p.release(r)
	for i := range j.In {
		if err := p.one(ctx, j, i, st); err != nil {
			return err
		}
	}
	j.Dispatch = backend.Dispatch{Backend: "reference", Unit: "cpu generic"}
	return nil
}

func (p *reference) one(ctx context.Context, j *backend.Job, i int, st *state) (err error) {
	defer guard(&err)()
	slots := map[*graph.Value]graph.Slot{}
	err = p.feats.read(j.In[i], func(v *graph.Value, _ graph.Type, s graph.Slot) { slots[v] = s })
	if err != nil {
		return err
	}
	nothing := func(*graph.Value) (graph.Type, bool) { return graph.Type{}, false }
	if err := p.feats.room(j.Out[i], nothing); err != nil {
		return err
	}
	for k, v := range p.fn.States { // copies, so that a run that fails leaves the state as it was
		slots[v] = graph.Slot{Data: aligned(st.slots[k].Data), Shape: v.Type.Shape}
	}
	in := make([]graph.Slot, len(p.fn.Body.Inputs))
	for k, v := range p.fn.Body.Inputs {
		in[k] = slots[v]
	}
	out, types, err := eval.New(ctx, p.fn, cpu.Generic, p.config.MemoryLimit).Run(in)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	for k, v := range p.fn.States {
		copy(st.slots[k].Data, slots[v].Data)
	}
	if j.Out[i] == nil {
		j.Out[i] = tensor.Features{}
	}
	return p.feats.write(j.Out[i], func(o *output) (graph.Type, graph.Slot) { return types[o.at], out[o.at] })
}

// aligned is a copy of memory.
func aligned(b []byte) []byte {
	c := graph.Aligned(len(b))
	copy(c, b)
	return c
}
