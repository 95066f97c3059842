package engine

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// weightOf is a constant to be packed in so many pieces.
func weightOf(items int, do func()) *graph.Packed {
	return &graph.Packed{Src: &graph.Const{}, Packing: graph.Packing{Form: "test", Size: 64, Items: items,
		Do: func([]byte, *graph.Const, int, int) { do() }}}
}

// TestPackingFailsWhereItFails: a weight that cannot be packed is not ready, and another model's is.
func TestPackingFailsWhereItFails(t *testing.T) {
	var wg sync.WaitGroup
	pack := func(do func(), check func(k *graph.Packed, err error)) {
		p := newProgram(&graph.Function{Body: &graph.Block{}}, cpu.Generic, backend.Config{})
		wg.Go(func() {
			defer p.Close()
			for range 2000 {
				k := weightOf(16, do)
				check(k, p.fill(k, nil))
			}
		})
	}
	pack(func() { runtime.Gosched(); panic("planted") }, func(k *graph.Packed, err error) {
		if !errors.Is(err, fault.Runtime) || k.Ready.Load() {
			t.Errorf("a weight that cannot be packed: %v, ready: %v", err, k.Ready.Load())
		}
	})
	pack(runtime.Gosched, func(k *graph.Packed, err error) {
		if err != nil || !k.Ready.Load() {
			t.Errorf("a weight that can be packed: %v, ready: %v", err, k.Ready.Load())
		}
	})
	wg.Wait()
}

func TestWeightIsPackedOnceAndHoldsNobodyElseUp(t *testing.T) {
	b := build(t)
	p := newProgram(b.Function(b.op("relu", testkit.Args{"x": b.Input("x", graph.TensorOf(tensor.Float32, 2))})), cpu.Best(), backend.Config{})
	defer p.Close()
	p.feats, _ = newFeatures(p.fn, nothing)
	started, end := make(chan bool), make(chan bool)
	var packed atomic.Int32
	slow := weightOf(1, func() {
		packed.Add(1)
		close(started)
		<-end
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := p.fill(slow, nil); err != nil {
				t.Error(err)
			}
		})
	}
	<-started
	answered := make(chan error, 1)
	go func() {
		err := p.fill(weightOf(1, func() {}), nil)
		if err == nil {
			_, err = predict(p, nil, tensor.Features{"x": floatsIn(1, 2)})
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a prediction waits for a weight that it does not need")
	}
	close(end)
	wg.Wait()
	if n := packed.Load(); n != 1 {
		t.Errorf("packed %d times, want once", n)
	}
}

// TestClosedModelIsForgotten: the team lives as long as another model is open, and keeps nothing of the closed one.
func TestClosedModelIsForgotten(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	open := func() *program {
		b := build(t)
		x := b.Input("x", graph.TensorOf(tensor.Float32, 64, 256))
		fn := b.Function(b.op("linear", testkit.Args{"x": x, "weight": b.Floats(make([]float32, 256*256), 256, 256)}))
		p := newProgram(fn, cpu.Best(), backend.Config{Threads: 2})
		p.feats, _ = newFeatures(fn, nothing)
		in, _ := tensor.Make(tensor.Float32, []int{64, 256})
		if _, err := predict(p, nil, tensor.Features{"x": in}); err != nil {
			t.Fatal(err)
		}
		return p
	}
	other := open()
	defer other.Close()
	p := open()
	if crew.team == nil || crew.team.state.Load() == 0 {
		t.Fatal("the team was not used")
	}
	if len(p.packs) == 0 {
		t.Fatal("no weight was packed")
	}
	gone := weak.Make(p)
	p.Close()
	p = nil
	for range 100 {
		if runtime.GC(); gone.Value() == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("a closed model stays in memory")
}

// TestWeightsStayBoundedOverLengths: every caller finds the planner at work and makes a plan from scratch, in
// which a weight is computed from constants, and a bias follows from the length.
func TestWeightsStayBoundedOverLengths(t *testing.T) {
	b := build(t)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 3, 64))
	x.Type.Shape = []int{-1, 64}
	w := b.op("square", testkit.Args{"x": b.Floats(make([]float32, 2*64), 2, 64)})
	length := b.op("cast", testkit.Args{"x": b.op("shape", testkit.Args{"x": x}), "dtype": "fp32"})
	y := b.op("linear", testkit.Args{"x": x, "weight": w, "bias": length})
	pair := b.op("reshape", testkit.Args{"x": b.op("concat", testkit.Args{"values": []*graph.Value{length, length}, "axis": 0, "interleave": false}), "shape": []int{2, 2}})
	z := b.op("linear", testkit.Args{"x": b.op("slice_by_size", testkit.Args{"x": x, "begin": []int{0, 0}, "size": []int{-1, 2}}), "weight": pair})
	half := b.Const(&graph.Const{Type: graph.TensorOf(tensor.Float16, 1, 2), Data: make([]byte, 4)})
	nobody := b.op("slice_by_size", testkit.Args{"x": length, "begin": []int{0}, "size": []int{0}})
	p := newProgram(b.Function(y, z, b.op("cast", testkit.Args{"x": half, "dtype": "fp32"}), nobody), cpu.Best(), backend.Config{})
	defer p.Close()
	p.feats, _ = newFeatures(p.fn, nothing)
	run := func(n int) {
		p.mu.Lock()
		for _, l := range p.plans {
			l.idle = nil
		}
		p.mu.Unlock()
		in, err := tensor.Make(tensor.Float32, []int{n, 64})
		if err != nil {
			t.Error(err)
			return
		}
		out, err := predict(p, nil, tensor.Features{"x": in})
		if err != nil {
			t.Error(err)
			return
		}
		if got := out[p.feats.out[0].name].(*tensor.Tensor).Float32s(); got[0] != float32(n) || got[1] != 64 {
			t.Errorf("length %d: %v, want its shape", n, got[:2])
		}
	}
	run(3)
	weights, packs := p.Capabilities().Memory.Weights, len(p.packs)
	if weights == 0 {
		t.Fatal("no weight is packed")
	}
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for n := range 50 {
				run(1 + n*(k+1)%37)
			}
		})
	}
	wg.Wait()
	if got := p.Capabilities().Memory.Weights; got != weights || len(p.packs) != packs {
		t.Errorf("%d bytes of weights in %d places after many lengths, want %d in %d", got, len(p.packs), weights, packs)
	}
}

// TestValuesOfARunAreFoldedForThatRun: a shape that an input gives is known to the plan of the rest, and so is what follows from it.
func TestValuesOfARunAreFoldedForThatRun(t *testing.T) {
	b := build(t)
	x, s := b.Input("x", graph.TensorOf(tensor.Float32, 24)), b.Known("s", 2, 12)
	y := b.op("reshape", testkit.Args{"x": x, "shape": s})
	turned := b.op("reverse", testkit.Args{"x": s, "axes": []int{0}})
	b.KnownInputs()[turned] = graph.IntsConst(12, 2)
	z := b.op("reshape", testkit.Args{"x": x, "shape": turned})
	b.Open(y)
	b.Open(z)
	p := newProgram(b.Function(y, z), cpu.Best(), backend.Config{})
	defer p.Close()
	p.feats, _ = newFeatures(p.fn, nothing)
	for _, shape := range [][]int32{{2, 12}, {3, 8}, {2, 12}, {4, 6}} {
		in, err := tensor.FromBytes(tensor.Int32, []int{2}, tensor.BytesOf(shape))
		if err != nil {
			t.Fatal(err)
		}
		out, err := predict(p, nil, tensor.Features{"x": floatsIn(make([]float32, 24)...), "s": in})
		if err != nil {
			t.Fatal(err)
		}
		if got := out[z.Name].(*tensor.Tensor).Shape(); got[0] != int(shape[1]) || got[1] != int(shape[0]) {
			t.Errorf("shape %v: the second result has %v", shape, got)
		}
	}
}

// TestSizeOfWeightsIsChecked: what a file declares may be more than there are numbers for.
func TestSizeOfWeightsIsChecked(t *testing.T) {
	expand := &graph.Op{Name: "constexpr", Expand: func(*graph.Call) ([]*graph.Const, error) { return nil, nil }}
	function := func(shapes ...[]int) *graph.Function {
		fn := &graph.Function{Body: &graph.Block{}}
		for _, s := range shapes {
			fn.Body.Nodes = append(fn.Body.Nodes, &graph.Node{Op: expand, Out: []*graph.Value{{Type: graph.TensorOf(tensor.Float16, s...)}}})
		}
		return fn
	}
	if n := codedBytes(function([]int{16, 4}, []int{8}, []int{-1})); n != 2*(64+8) {
		t.Errorf("%d bytes, want those of 72 float16 numbers", n)
	}
	for _, s := range [][]int{{1 << 32, 1 << 32}, {1 << 62, 3}, {1 << 31, 1 << 31, 1 << 2}} {
		if n := codedBytes(function([]int{16}, s)); n <= coldBytes {
			t.Errorf("shape %v: %d bytes, want more than stay in cache", s, n)
		}
	}
}
