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
	for k, v := range p.fn.States {
		slots[v] = st.slots[k]
	}
	in := make([]graph.Slot, len(p.fn.Body.Inputs))
	for k, v := range p.fn.Body.Inputs {
		in[k] = slots[v]
	}
	out, types, err := eval.New(ctx, p.fn, cpu.Generic, p.config.MemoryLimit).Run(in)
	if err != nil {
		return fmt.Errorf("reference: %w", err)
	}
	if j.Out[i] == nil {
		j.Out[i] = tensor.Features{}
	}
	for k := range p.feats.out {
		o := &p.feats.out[k]
		if err := o.write(types[k], out[k], j.Out[i]); err != nil {
			return fmt.Errorf("output %q: %w", o.name, err)
		}
	}
	return nil
}
