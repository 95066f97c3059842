package engine

import (
	"context"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// Reference runs the raw graph, one node after the other, at generic level. It
// is slow and shares no plan, memory or kernel with CPU, of which it is the specification.
type Reference struct{}

func (Reference) Name() string  { return "reference" }
func (Reference) Usable() error { return nil }

// Load implements backend.Backend.
func (Reference) Load(_ context.Context, m *mlmodel.Model, c backend.Config) (backend.Program, error) {
	return load(m, c, maker{
		program: func(fn *graph.Function) (*program, error) { return newReference(fn, c), nil },
		ready:   func(*program) error { return nil },
	})
}

// newReference makes a program whose jobs are interpreted.
func newReference(fn *graph.Function, c backend.Config) *program {
	p := newProgram(fn, cpu.Generic, c)
	p.executor = func(ctx context.Context) executor {
		return &interpreter{prog: p, ctx: ctx, in: map[*graph.Value]graph.Slot{}}
	}
	p.prefix, p.dispatch = "reference", guards.Dispatch{Backend: "reference", Unit: "cpu generic"}
	return p
}

// interpreter runs the jobs of a program by eval.
type interpreter struct {
	prog    *program
	ctx     context.Context
	in      map[*graph.Value]graph.Slot
	machine *eval.Machine
	out     []graph.Slot
	types   []graph.Type
}

func (x *interpreter) set(v *graph.Value, _ graph.Type, s graph.Slot) { x.in[v] = s }

func (x *interpreter) compute() (err error) {
	fn := x.prog.fn
	in := make([]graph.Slot, len(fn.Body.Inputs))
	for k, v := range fn.Body.Inputs {
		in[k] = x.in[v]
	}
	x.machine = eval.New(x.ctx, fn, cpu.Generic, x.prog.config.MemoryLimit)
	x.out, x.types, err = x.machine.Run(in)
	return err
}

func (x *interpreter) result(o *output) (graph.Type, graph.Slot, error) {
	return x.types[o.at], x.out[o.at], nil
}

// fit implements executor. The results' types are known when they are there.
func (x *interpreter) fit(out tensor.Features) error {
	return x.prog.feats.room(out, func(*graph.Value) (graph.Type, bool) { return graph.Type{}, false })
}

func (x *interpreter) wrote() bool { return x.machine != nil && x.machine.Wrote() }

func (x *interpreter) end() {}
