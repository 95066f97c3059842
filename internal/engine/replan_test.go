package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"coreml/internal/backend"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// TestReplanGivesWhatPlanGives runs graphs with sizes that come and go: the plans
// that are adapted to them give the same bits, or refuse the same, as plans made
// for each.
func TestReplanGivesWhatPlanGives(t *testing.T) {
	start, n := time.Now(), 0
	var s resizing
	for ; n < *randomGraphs && time.Since(start) < *randomTime/4; n++ {
		seed := *randomFrom + uint64(n)
		if err := s.try(seed); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, testkit.RandomGraph(seed, false).Fn)
		}
		if testkit.Race && n > 100 {
			break
		}
	}
	t.Logf("%d graphs in %v: %d ran with other sizes, %d by adapted plans, of which %d kept the memory of the plan before",
		n, time.Since(start).Round(time.Millisecond), s.ran, s.adapted, s.kept)
	if n >= 1000 && (s.ran < n/10 || s.adapted < n/10 || s.kept < n/20) {
		t.Error("too few graphs ran with other sizes")
	}
}

// resizing counts what graphs did when their inputs got other sizes.
type resizing struct{ ran, adapted, kept int }

// try runs a graph with one of its inputs' sizes, then with others in its place.
func (s *resizing) try(seed uint64) error {
	g := testkit.RandomGraph(seed, false)
	r := rand.New(rand.NewPCG(seed, 7))
	var sizes []int
	for _, v := range g.Fn.Body.Inputs {
		if g.Known[v] == nil && v.Type.Kind == graph.KindTensor {
			sizes = append(sizes, v.Type.Shape...)
		}
	}
	if len(sizes) == 0 {
		return nil
	}
	size := sizes[r.IntN(len(sizes))]
	all := []int{size, size + 1, size + 2, size, 2*size + 1, size + 1, 2 * size}
	for i := range all {
		if i > 0 && r.IntN(4) == 0 {
			all[i] = all[r.IntN(len(all))]
		}
	}
	levels := cpu.Levels()
	return s.resize(g, levels[r.IntN(len(levels))], size, all)
}

// resize runs a graph with each of a list of sizes in the place of one that its inputs have.
func (s *resizing) resize(g *testkit.Graph, level cpu.Level, size int, all []int) error {
	declared := map[*graph.Value][]int{}
	for _, v := range g.Fn.Body.Inputs {
		if g.Known[v] != nil || v.Type.Kind != graph.KindTensor {
			continue
		}
		declared[v] = v.Type.Shape
		v.Type.Shape = slices.Clone(v.Type.Shape)
		for i, d := range v.Type.Shape {
			if d == size {
				v.Type.Shape[i] = -1
			}
		}
	}
	p, err := openGraph(g.Fn, level, 2)
	if err != nil {
		return err
	}
	defer p.Close()
	for i, d := range all {
		poison(p)
		in := resized(g, declared, size, d)
		got, err := runOnce(p, in)
		if err := s.compare(g.Fn, level, in, got, err); err != nil {
			return fmt.Errorf("sizes %v: %w", all[:i+1], err)
		}
		s.count(p, i)
	}
	return nil
}

// TestReplanOfDecoder: positions follow from the length of the mask, and are
// folded; a state is written there, and read up to there.
func TestReplanOfDecoder(t *testing.T) {
	b := build(t)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 1, 2, 1, 8))
	mask := b.Input("mask", graph.TensorOf(tensor.Float32, 1, 1, 1, 5))
	table := b.Input("table", graph.TensorOf(tensor.Float32, 1, 64, 8))
	cache := b.State("cache", tensor.Float16, 1, 2, 64, 8)
	shape := b.op("shape", testkit.Args{"x": mask})
	n := b.op("slice_by_size", testkit.Args{"x": shape, "begin": []int{3}, "size": []int{1}})
	p := b.op("sub", testkit.Args{"x": n, "y": []int{1}})
	join := func(at *graph.Value, rest ...int) *graph.Value {
		return b.op("concat", testkit.Args{"values": []*graph.Value{b.Const(graph.IntsConst(rest[:len(rest)-1]...)), at, b.Const(graph.IntsConst(rest[len(rest)-1]))}, "axis": 0, "interleave": false})
	}
	begin, end := join(p, 0, 0, 0), join(n, 1, 2, 8)
	old := b.op("read_state", testkit.Args{"input": cache})
	b.op("write_state", testkit.Args{"input": cache, "data": b.op("slice_update", testkit.Args{"x": old, "update": b.op("cast", testkit.Args{"x": x, "dtype": "fp16"}), "begin": begin, "end": end})})
	now := b.op("cast", testkit.Args{"x": b.op("read_state", testkit.Args{"input": cache}), "dtype": "fp32"})
	b.KnownInputs()[end] = graph.IntsConst(1, 2, 5, 8) // so that the result has a type here
	seen := b.op("slice_by_index", testkit.Args{"x": now, "begin": []int{0, 0, 0, 0}, "end": end})
	delete(b.KnownInputs(), end)
	y := b.op("scaled_dot_product_attention", testkit.Args{"query": x, "key": seen, "value": seen, "attn_mask": mask})
	y = b.op("mul", testkit.Args{"x": y, "y": b.op("cast", testkit.Args{"x": p, "dtype": "fp32"})})
	// A view whose place moves while its shape stays, and a view of that.
	from, to := join(p, 0, 0), join(n, 1, 8)
	b.KnownInputs()[from], b.KnownInputs()[to] = graph.IntsConst(0, 4, 0), graph.IntsConst(1, 5, 8)
	row := b.op("slice_by_index", testkit.Args{"x": b.op("tanh", testkit.Args{"x": table}), "begin": from, "end": to})
	delete(b.KnownInputs(), from)
	delete(b.KnownInputs(), to)
	row = b.op("tanh", testkit.Args{"x": b.op("reshape", testkit.Args{"x": row, "shape": []int{8}})})
	g := &testkit.Graph{Seed: 1, Fn: b.Function(y, now, n, row), Known: b.KnownInputs()}
	var s resizing
	for _, level := range cpu.Levels() {
		if err := s.resize(g, level, 5, []int{5, 6, 7, 8, 30, 31, 32, 6, 7, 31, 33, 9}); err != nil {
			t.Errorf("%v: %v", level, err)
		}
		for i, v := range g.Fn.Body.Inputs {
			if v == mask {
				g.Fn.Body.Inputs[i].Type.Shape = []int{1, 1, 1, 5}
			}
		}
	}
	if s.kept == 0 {
		t.Error("no plan kept the memory of the one before")
	}
}

// compare runs the function with a plan of its own.
func (s *resizing) compare(fn *graph.Function, level cpu.Level, in tensor.Features, got tensor.Features, gotErr error) error {
	q, err := openGraph(fn, level, 1)
	if err != nil {
		return err
	}
	defer q.Close()
	want, err := runOnce(q, in)
	if (err == nil) != (gotErr == nil) || err != nil && err.Error() != gotErr.Error() {
		return fmt.Errorf("error %w, want %v", gotErr, err)
	}
	for name, w := range want {
		a, b := got[name].(*tensor.Tensor), w.(*tensor.Tensor)
		if !tensor.EqualShape(a.Shape(), b.Shape()) || !bytes.Equal(a.Bytes(), b.Bytes()) {
			return fmt.Errorf("output %s: other bits than by a plan for %v alone", name, in)
		}
	}
	return nil
}

func (s *resizing) count(p *program, i int) {
	if i == 0 {
		return
	}
	l := p.plans[planKey{p.fn.Body, 0}]
	if i == 1 && len(l.plans) == 2 {
		s.ran++
	}
	if pl := l.idle; i == 2 && pl != nil && len(l.plans) > 1 {
		if l.plans[0].seg.layout == l.plans[1].seg.layout {
			s.kept++
		}
		if pl.mem.slack {
			s.adapted++
		}
	}
}

// resized are the inputs with another size in the place of one.
func resized(g *testkit.Graph, declared map[*graph.Value][]int, from, to int) tensor.Features {
	return inputsOf(g, g.Fn, 0, func(v *graph.Value) []int {
		d := declared[v]
		if d == nil {
			return v.Type.Shape
		}
		shape := slices.Clone(d)
		for i := range shape {
			if shape[i] == from {
				shape[i] = to
			}
		}
		return shape
	})
}

// runOnce runs a program on a fresh state.
func runOnce(p *program, in tensor.Features) (tensor.Features, error) {
	j := backend.Job{In: []tensor.Features{in}, Out: make([]tensor.Features, 1)}
	if st := stateFor(p); st != nil {
		j.State = st
	}
	err := p.Run(context.Background(), &j)
	return j.Out[0], err
}
