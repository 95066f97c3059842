// Package engine is the CPU backend: it plans a graph for concrete shapes and
// this machine, and runs the plan.
package engine

import (
	"context"
	"errors"
	"fmt"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/mlmodel"
	"coreml/internal/passes"
	"coreml/schema"
	"coreml/tensor"
)

// CPU runs models on this machine's processor. It is always usable.
type CPU struct{}

func (CPU) Name() string  { return "cpu" }
func (CPU) Usable() error { return nil }

// Load makes the graph of a function and plans it for its default shapes, each
// enumerated one and both ends of each range, so that what cannot run fails here.
func (CPU) Load(ctx context.Context, m *mlmodel.Model, c backend.Config) (backend.Program, error) {
	return load(m, c, maker{
		program: func(fn *graph.Function) (*program, error) {
			level, err := levelOf(c)
			if err != nil {
				return nil, err
			}
			return newProgram(passes.Apply(fn), level, c), nil
		},
		ready: func(p *program) error {
			p.discard = m.Discard
			if err := p.rehearse(ctx); err != nil || !c.Preload {
				return err
			}
			return p.preload()
		},
	})
}

// levelOf is the CPU level that a program is planned for.
func levelOf(c backend.Config) (cpu.Level, error) {
	if c.Level == "" {
		return cpu.Best(), nil
	}
	l, err := cpu.ByName(c.Level)
	if err == nil && !cpu.Has(l) {
		err = fmt.Errorf("level %v: %w: this machine has %v", l, fault.Invalid, cpu.Levels())
	}
	return l, fault.As(fault.Invalid, err)
}

// threads is the number of threads that a run may use.
func (p *program) threads() int { return cpu.Threads(p.config.Threads) }

// Capabilities implements backend.Program.
func (p *program) Capabilities() backend.Capabilities {
	c := backend.Capabilities{Unit: "cpu " + p.level.String(), Ops: map[string]int{}}
	p.fn.Body.Walk(func(n *graph.Node) { c.Ops[n.Op.Name]++ })
	p.mu.Lock()
	defer p.mu.Unlock()
	c.Memory.Weights, c.Memory.Activations = p.held, p.most
	for _, l := range p.plans {
		for _, k := range l.plans {
			c.Memory.Activations = max(c.Memory.Activations, p.need(k.seg))
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
	r := p.acquire()
	defer p.release(r)
	r.ctx = ctx
	for i, in := range p.feats.in {
		r.known[in.value.ID] = graph.Operand{Value: in.value, Type: graph.Type{DType: in.value.Type.DType, Shape: shapes[i]}}
	}
	for _, v := range p.fn.States {
		r.known[v.ID] = graph.Operand{Value: v, Type: v.Type}
	}
	_, err := p.segment(p.fn.Body, 0, r.known)
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
	add(func(in *input) []int { return in.extreme(func(r schema.Range) int { return r.Lower }) })
	add(func(in *input) []int { return in.extreme(func(r schema.Range) int { return r.Upper }) })
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
