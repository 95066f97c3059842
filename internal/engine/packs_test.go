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
