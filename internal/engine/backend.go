// Package engine is the CPU backend: it plans a graph for concrete shapes and
// this machine, and runs the plan.
package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
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
	return l, err
}

// threads is the number of threads that a run may use.
func (p *program) threads() int {
	n := min(cpu.Cores(), runtime.GOMAXPROCS(0))
	if p.config.Threads > 0 {
		n = min(p.config.Threads, runtime.GOMAXPROCS(0))
	}
	return max(1, n)
}

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

// defaultShape is the shape that an input has when nobody says more; nil if the file leaves it open.
func (in *input) defaultShape() []int {
	t := in.value.Type
	if t.Static() {
		return t.Shape
	}
	d := in.desc
	switch {
	case d == nil:
	case d.Tensor != nil && len(d.Tensor.Shape) == len(t.Shape):
		return d.Tensor.Shape
	case d.Image != nil && len(t.Shape) == 4 && t.Shape[0] >= 0 && t.Shape[1] >= 0:
		return []int{t.Shape[0], t.Shape[1], d.Image.Height, d.Image.Width}
	}
	return nil
}

func (in *input) enumerated() [][]int {
	if d := in.desc; d != nil && d.Tensor != nil {
		return d.Tensor.EnumeratedShapes
	}
	return nil
}

// flexible reports whether more than one shape may be given.
func (in *input) flexible() bool { return !in.value.Type.Static() }

// extreme is the default shape with every ranged dimension at one end; a range without end keeps the default.
func (in *input) extreme(end func(mlmodel.Range) int) []int {
	s := in.defaultShape()
	d := in.desc
	if s == nil || d == nil || d.Tensor == nil || len(d.Tensor.ShapeRange) != len(s) {
		return s
	}
	out := append([]int(nil), s...)
	for i, r := range d.Tensor.ShapeRange {
		if n := end(r); n >= 0 {
			out[i] = n
		}
	}
	return out
}
