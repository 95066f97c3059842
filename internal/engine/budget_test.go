package engine

import (
	"errors"
	"sync"
	"testing"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/testkit"
	"coreml/tensor"
)

const mib = 1 << 20

// limited makes a program with a memory limit.
func limited(fn *graph.Function, limit int64) *program {
	p := newProgram(fn, cpu.Best(), backend.Config{MemoryLimit: limit, Threads: 2})
	p.feats, _ = newFeatures(fn, nothing)
	return p
}

// zeros is a float32 input x.
func zeros(t *testing.T, shape ...int) tensor.Features {
	t.Helper()
	x, err := tensor.Make(tensor.Float32, shape)
	if err != nil {
		t.Fatal(err)
	}
	return tensor.Features{"x": x}
}

// block adds a block that gives one value.
func (b builder) block(in []graph.Type, f func(in []*graph.Value) *graph.Value) *graph.Block {
	b.t.Helper()
	n, err := b.Nested(in, func(in []*graph.Value) ([]*graph.Value, error) { return []*graph.Value{f(in)}, nil })
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func TestGrowingSizesDoNotAddUp(t *testing.T) {
	b := build(t)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 8, 4))
	x.Type.Shape = []int{8, -1}
	p := limited(b.Function(b.op("softmax", testkit.Args{"x": x, "axis": 0})), 8*mib)
	defer p.Close()
	for _, n := range []int{12_500, 25_000, 50_000, 100_000, 125_000, 12_500, 125_000} {
		if _, err := predict(p, nil, zeros(t, 8, n)); err != nil {
			t.Errorf("length %d: %v", n, err)
		}
	}
	if _, err := predict(p, nil, zeros(t, 8, 262_500)); !errors.Is(err, fault.Limit) {
		t.Errorf("beyond the limit: %v, want %v", err, fault.Limit)
	}
	if len(p.idle) > 0 {
		t.Error("the memory of a prediction beyond the limit is kept")
	}
	if _, err := predict(p, nil, zeros(t, 8, 125_000)); err != nil {
		t.Errorf("after one beyond the limit: %v", err)
	}
}

// counting is a loop of so many trips over a variable, which body changes.
func counting(b builder, trips int, start *graph.Value, body func(v *graph.Value) *graph.Value) *graph.Value {
	b.t.Helper()
	vars := []graph.Type{graph.TensorOf(tensor.Int32), b.TypeOf(start)}
	test := b.block(vars, func(in []*graph.Value) *graph.Value { return b.op("less", testkit.Args{"x": in[0], "y": trips}) })
	loop, err := b.Nested(vars, func(in []*graph.Value) ([]*graph.Value, error) {
		return []*graph.Value{b.op("add", testkit.Args{"x": in[0], "y": 1}), body(in[1])}, nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.Control("while_loop", testkit.Args{"loop_vars": []*graph.Value{b.argument(0), start}}, vars, test, loop)[1]
}

// argument is a constant of one integer.
func (b builder) argument(v int) *graph.Value {
	k := graph.IntsConst(v)
	k.Type.Shape = nil
	return b.Const(k)
}

// TestLoopsHoldWhatLives: nested loops over a variable of a quarter of a megabyte, of known and of open size.
func TestLoopsHoldWhatLives(t *testing.T) {
	const size = mib / 16
	for _, open := range []bool{false, true} {
		eachBackend(t, backend.Config{MemoryLimit: 6 * mib}, func(b builder) *graph.Function {
			x := b.Input("x", graph.TensorOf(tensor.Float32, size))
			outer := counting(b, 100, x, func(v *graph.Value) *graph.Value {
				inner := counting(b, 2, v, func(v *graph.Value) *graph.Value { return b.op("abs", testkit.Args{"x": v}) })
				if open {
					b.Open(inner)
				}
				return inner
			})
			if open {
				b.Open(outer)
			}
			return b.Function(outer)
		}, func(t *testing.T, p *program) {
			for range 2 {
				if _, err := predict(p, nil, zeros(t, size)); err != nil {
					t.Errorf("open sizes: %v: %v", open, err)
				}
			}
			for _, r := range p.idle {
				if r.grown != 0 || r.peak < mib/2 || r.peak > 3*mib {
					t.Errorf("open sizes: %v: at most %d bytes were held, want about a MiB; %d are still", open, r.peak, r.grown)
				}
			}
		})
	}
}

// TestLoopsOneAfterTheOtherHoldWhatLives: the memory of a loop ends with it.
func TestLoopsOneAfterTheOtherHoldWhatLives(t *testing.T) {
	const size = mib / 16
	eachBackend(t, backend.Config{MemoryLimit: 6 * mib}, func(b builder) *graph.Function {
		v := b.Input("x", graph.TensorOf(tensor.Float32, size))
		for range 14 {
			v = counting(b, 2, v, func(v *graph.Value) *graph.Value { return b.op("abs", testkit.Args{"x": v}) })
		}
		return b.Function(v)
	}, func(t *testing.T, p *program) {
		if _, err := predict(p, nil, zeros(t, size)); err != nil {
			t.Error(err)
		}
	})
}

// TestListInALoopHoldsItsElements, not all that were made on the way.
func TestListInALoopHoldsItsElements(t *testing.T) {
	const trips = 4000 // all lists of the way take 48·trips²/2 bytes
	eachBackend(t, backend.Config{MemoryLimit: 4 * mib}, func(b builder) *graph.Function {
		x := b.Input("x", graph.TensorOf(tensor.Float32, 4))
		list := b.op("make_list", testkit.Args{"init_length": 1, "dynamic_length": true, "elem_shape": []*graph.Value{b.argument(4)}, "dtype": "fp32"})
		vars := []graph.Type{graph.TensorOf(tensor.Int32), b.TypeOf(list)}
		test := b.block(vars, func(in []*graph.Value) *graph.Value { return b.op("less", testkit.Args{"x": in[0], "y": trips}) })
		loop, err := b.Nested(vars, func(in []*graph.Value) ([]*graph.Value, error) {
			return []*graph.Value{b.op("add", testkit.Args{"x": in[0], "y": 1}), b.op("list_write", testkit.Args{"ls": in[1], "index": in[0], "value": x})}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		out := b.Control("while_loop", testkit.Args{"loop_vars": []*graph.Value{b.argument(0), list}}, vars, test, loop)
		return b.Function(b.op("list_length", testkit.Args{"ls": out[1]}), b.op("list_read", testkit.Args{"ls": out[1], "index": 7}))
	}, func(t *testing.T, p *program) {
		out, err := predict(p, nil, tensor.Features{"x": floatsIn(1, 2, 3, 4)})
		if err != nil {
			t.Fatal(err)
		}
		if n := out[p.feats.out[0].name].(*tensor.Tensor).Float32s(); n[0] != trips {
			t.Errorf("a list of %v elements, want %d", n, trips)
		}
	})
}

// TestScratchCounts: what workers need beside the operands is in the figures, and refused before it is allocated.
func TestScratchCounts(t *testing.T) {
	function := func() *graph.Function {
		b := build(t)
		x := b.Input("x", graph.TensorOf(tensor.Float32, 1, mib))
		return b.Function(b.op("argsort", testkit.Args{"x": x, "axis": 1}))
	}
	p := limited(function(), 0)
	defer p.Close()
	if _, err := predict(p, nil, zeros(t, 1, mib)); err != nil {
		t.Fatal(err)
	}
	frame, need := int64(0), int64(0)
	for _, l := range p.plans {
		for _, k := range l.plans {
			frame, need = int64(k.seg.frame), p.need(k.seg)
		}
	}
	if need < frame+4*mib {
		t.Fatalf("the plan needs %d bytes, of which %d are the frame: this operation has no scratch", need, frame)
	}
	if a := p.Capabilities().Memory.Activations; a < need {
		t.Errorf("states %d bytes of activations, want %d", a, need)
	}
	for _, c := range []struct {
		limit int64
		want  error
	}{{need, nil}, {need - 1, fault.Limit}} {
		p := limited(function(), c.limit)
		defer p.Close()
		if _, err := predict(p, nil, zeros(t, 1, mib)); !errors.Is(err, c.want) {
			t.Errorf("with a limit of %d: %v, want %v", c.limit, err, c.want)
		}
	}
}

// choosing takes one of two ways: through two megabytes of activations, or through a weight of as much.
func choosing(b builder) *graph.Function {
	x, p := b.Input("x", graph.TensorOf(tensor.Float32, 1, 512)), b.Input("p", graph.TensorOf(tensor.Bool))
	wide := b.block(nil, func([]*graph.Value) *graph.Value {
		column := b.op("reshape", testkit.Args{"x": x, "shape": []int{512, 1}})
		all := b.op("add", testkit.Args{"x": x, "y": column})
		all = b.op("cumsum", testkit.Args{"x": all, "axis": 0})
		return b.op("reduce_sum", testkit.Args{"x": all, "axes": []int{0}, "keep_dims": true})
	})
	heavy := b.block(nil, func([]*graph.Value) *graph.Value {
		return b.op("linear", testkit.Args{"x": x, "weight": b.Floats(make([]float32, 512*512), 512, 512)})
	})
	return b.Function(b.Control("cond", testkit.Args{"pred": p}, []graph.Type{b.TypeOf(x)}, wide, heavy)...)
}

// TestWhatWasPossibleStaysPossible: a first prediction that would leave too little for those made before is refused.
func TestWhatWasPossibleStaysPossible(t *testing.T) {
	alone := func(way int64) int64 {
		p := limited(choosing(build(t)), 0)
		defer p.Close()
		in := zeros(t, 1, 512)
		in["p"] = way
		if _, err := predict(p, nil, in); err != nil {
			t.Fatal(err)
		}
		m := p.Capabilities().Memory
		return m.Weights + m.Activations
	}
	limit := max(alone(0), alone(1)) + mib/4
	for first := range int64(2) {
		p := limited(choosing(build(t)), limit)
		defer p.Close()
		for i, way := range []int64{first, 1 - first, first, 1 - first, first} {
			in := zeros(t, 1, 512)
			in["p"] = way
			_, err := predict(p, nil, in)
			if way == first && err != nil || way != first && !errors.Is(err, fault.Limit) {
				t.Errorf("prediction %d: way %d after way %d: %v", i, way, first, err)
			}
		}
		if p.held+p.most > limit {
			t.Errorf("weights of %d bytes beside predictions of %d, with a limit of %d", p.held, p.most, limit)
		}
	}
}

// TestMemoryOfOtherSizesIsNoHindrance: scratch of one way and activations of another are too much together.
func TestMemoryOfOtherSizesIsNoHindrance(t *testing.T) {
	b := build(t)
	x, pred := b.Input("x", graph.TensorOf(tensor.Float32, 1, 64)), b.Input("p", graph.TensorOf(tensor.Bool))
	x.Type.Shape = []int{1, -1}
	sorted := b.block(nil, func([]*graph.Value) *graph.Value {
		return b.op("reduce_sum", testkit.Args{"x": b.op("argsort", testkit.Args{"x": x, "axis": 1}), "axes": []int{0, 1}})
	})
	summed := b.block(nil, func([]*graph.Value) *graph.Value {
		s := b.op("reduce_sum", testkit.Args{"x": b.op("cumsum", testkit.Args{"x": x, "axis": 1}), "axes": []int{0, 1}})
		return b.op("cast", testkit.Args{"x": s, "dtype": "int32"})
	})
	p := limited(b.Function(b.Control("cond", testkit.Args{"pred": pred}, []graph.Type{graph.TensorOf(tensor.Int32)}, sorted, summed)...), 16*mib)
	defer p.Close()
	for i, c := range []struct {
		way int64
		n   int
	}{{0, 3 * mib}, {1, mib}, {0, 3 * mib}, {1, mib}, {0, 3 * mib}} {
		in := zeros(t, 1, c.n)
		in["p"] = c.way
		if _, err := predict(p, nil, in); err != nil {
			t.Errorf("prediction %d, way %d: %v", i, c.way, err)
		}
	}
}

// TestLimitIsForEachPrediction: together they take more.
func TestLimitIsForEachPrediction(t *testing.T) {
	b := build(t)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 8, mib/32))
	p := limited(b.Function(b.op("softmax", testkit.Args{"x": x, "axis": 0})), 3*mib/2)
	defer p.Close()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			in := zeros(t, 8, mib/32)
			for range 10 {
				if _, err := predict(p, nil, in); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(p.flying) != 0 {
		t.Errorf("%d predictions are in flight, want none", len(p.flying))
	}
}
