package coreml_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"coreml"
	"coreml/internal/kernel/cpu"
	"coreml/internal/testkit"
	"coreml/internal/verify"
	"coreml/tensor"
)

// openCase opens the model of a case of the sample, or of the folders in COREML_CASES.
func openCase(t testing.TB, id string, o coreml.Options) *coreml.Model {
	t.Helper()
	more := filepath.SplitList(os.Getenv("COREML_CASES"))
	set, err := verify.Find(append([]string{filepath.Join("testdata", "cases")}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, c := range set.Cases {
		if c.ID == id {
			m, err := coreml.OpenFS(c.FS, c.Model(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			})
			return m
		}
	}
	t.Fatalf("the sample has no case %s", id)
	return nil
}

// defaults are inputs of the default shapes, in the dtypes that need no conversion.
func defaults(t testing.TB, m *coreml.Model, seed int) coreml.Features {
	t.Helper()
	f := coreml.Features{}
	for _, in := range m.Description().Inputs {
		d := tensor.Float32
		if in.Tensor.DType.IsInt() {
			d = tensor.Int32
		}
		x, err := tensor.Make(d, in.Tensor.Shape)
		if err != nil {
			t.Fatal(err)
		}
		if d == tensor.Int32 {
			for i := range tensor.Data[int32](x) {
				tensor.Data[int32](x)[i] = int32((i + seed) % 2)
			}
		} else {
			for i := range tensor.Data[float32](x) {
				tensor.Data[float32](x)[i] = float32(math.Sin(float64(i*7 + seed)))
			}
		}
		f[in.Name] = x
	}
	return f
}

// TestPredictIntoAllocatesLittle: a convolutional network and a step of decoders, into outputs of the caller's.
func TestPredictIntoAllocatesLittle(t *testing.T) {
	if testkit.Race {
		t.Skip("the race detector allocates by itself")
	}
	if cpu.Best() == cpu.Generic {
		t.Skip("the promise is that of assembly kernels: plain Go ones pass their arguments through function values")
	}
	const mostAllocs, mostBytes = 8, 1 << 10
	ids := []string{"shufflenet_v2", "fcn_w8a8", "dec_llama_kv_int4b32", "dec_gpt2_onehot_int8blk_emb", "vit_small_pal1"}
	if os.Getenv("COREML_CASES") != "" {
		ids = append(ids, "fastvit_t8", "dec_llama_kv", "dec_mamba_step")
	}
	for _, id := range ids {
		t.Run(id, func(t *testing.T) {
			m := openCase(t, id, coreml.Options{})
			in := defaults(t, m, 1)
			var state *coreml.State
			if len(m.Description().States) > 0 {
				var err error
				if state, err = m.NewState(); err != nil {
					t.Fatal(err)
				}
				defer state.Close()
			}
			out := coreml.Features{}
			predict := func() {
				if err := m.PredictInto(context.Background(), in, out, state); err != nil {
					t.Fatal(err)
				}
			}
			predict()
			allocs := testing.AllocsPerRun(100, predict)
			before := allocated()
			for range 100 {
				predict()
			}
			size := (allocated() - before) / 100
			t.Logf("%.0f allocations, %d bytes", allocs, size)
			if allocs > mostAllocs || size > mostBytes {
				t.Errorf("%.0f allocations of %d bytes, want at most %d of %d", allocs, size, mostAllocs, mostBytes)
			}
		})
	}
}

// TestManyCallersOfOneModel: 64 goroutines, each with its own inputs, get what a single caller gets.
func TestManyCallersOfOneModel(t *testing.T) {
	const callers, calls = 64, 4
	for _, id := range []string{"cnn_batch_range", "str_greedy_while", "str_range_batch_length32"} {
		t.Run(id, func(t *testing.T) {
			m := openCase(t, id, coreml.Options{})
			var want [callers]coreml.Features
			for i := range want {
				var err error
				if want[i], err = m.Predict(context.Background(), defaults(t, m, i)); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for range calls {
						got, err := m.Predict(context.Background(), defaults(t, m, i))
						if err != nil {
							t.Error(err)
							return
						}
						if !sameBits(got, want[i]) {
							t.Errorf("caller %d: other results than alone", i)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func sameBits(a, b coreml.Features) bool {
	for name, x := range a {
		x, ok := x.(*coreml.Tensor)
		y, ok2 := b[name].(*coreml.Tensor)
		if ok != ok2 || ok && !bytes.Equal(x.Bytes(), y.Bytes()) {
			return false
		}
	}
	return len(a) == len(b)
}

// TestCollectorBesideNetwork: stopping the world for the garbage collector takes no longer than a loop over
// kernels lets it. The bound leaves room for busy machines; 15 s were measured with loops that cannot be stopped.
func TestCollectorBesideNetwork(t *testing.T) {
	const bound = 50 * time.Millisecond
	for _, id := range []string{"shufflenet_v2", "vit_small_pal1", "dec_llama_kv_int4b32"} {
		t.Run(id, func(t *testing.T) {
			m := openCase(t, id, coreml.Options{})
			in := defaults(t, m, 1)
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, err := m.Predict(ctx, in); err != nil && ctx.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
			time.Sleep(20 * time.Millisecond)
			before := stops()
			for range 20 {
				runtime.GC()
			}
			cancel()
			wg.Wait()
			p90 := quantile(before, stops(), 0.9)
			t.Logf("9 in 10 stops take at most %v", p90)
			if p90 > bound {
				t.Errorf("stopping for the collector takes %v, want at most %v", p90, bound)
			}
		})
	}
}

func stops() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// quantile is that of what a histogram counts more than before.
func quantile(before, after *metrics.Float64Histogram, q float64) time.Duration {
	total := uint64(0)
	for i, n := range after.Counts {
		total += n - before.Counts[i]
	}
	seen := uint64(0)
	for i, n := range after.Counts {
		seen += n - before.Counts[i]
		if float64(seen) >= q*float64(total) {
			return time.Duration(after.Buckets[min(i+1, len(after.Buckets)-2)] * 1e9)
		}
	}
	return 0
}

func TestCancelledBeforeTheRun(t *testing.T) {
	m := openCase(t, "shufflenet_v2", coreml.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Predict(ctx, defaults(t, m, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if _, err := m.Predict(context.Background(), defaults(t, m, 1)); err != nil {
		t.Error("after a cancelled call: ", err)
	}
}

// TestCancelledBetweenSteps stops a network at many moments; it ends soon, and the next call is right.
func TestCancelledBetweenSteps(t *testing.T) {
	m := openCase(t, "shufflenet_v2", coreml.Options{})
	in := defaults(t, m, 1)
	want, err := m.Predict(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	for i := range 200 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*10*time.Microsecond)
		got, err := m.Predict(ctx, in)
		cancel()
		switch {
		case err == nil && !sameBits(got, want):
			t.Fatal("a call after cancelled ones gives other results")
		case err != nil && !errors.Is(err, coreml.ErrTimeout):
			t.Fatalf("%v, want %v", err, coreml.ErrTimeout)
		case err != nil:
			stopped++
		}
	}
	if stopped == 0 {
		t.Error("no call was stopped")
	}
	t.Logf("%d of 200 calls were stopped", stopped)
}

// endless reads and writes a state, and loops for ever where go is true.
func endless(t *testing.T, o ...coreml.Options) *coreml.Model {
	t.Helper()
	half := testkit.F32("s", 4)
	m, err := coreml.OpenFS(testkit.Program{
		In: vars{testkit.F32("x", 4), testkit.I32("go")}, States: vars{half}, Out: []string{"y", "z"},
		Ops: []op{
			{Type: "read_state", In: args{"input": "%s"}, Out: vars{testkit.F32("old", 4)}},
			{Type: "gather", In: args{"x": "%old", "indices": "%go", "axis": 0}, Out: vars{testkit.F32("z")}},
			{Type: "add", In: args{"x": "%old", "y": "%x"}, Out: vars{testkit.F32("new", 4)}},
			{Type: "write_state", In: args{"input": "%s", "data": "%new"}},
			{Type: "while_loop", In: args{"loop_vars": []string{"%go"}}, Out: vars{testkit.I32("y")}, Blocks: []nest{
				{In: vars{testkit.I32("a")}, Ops: []op{{Type: "greater", In: args{"x": "%a", "y": 0}, Out: vars{testkit.B("on")}}}, Out: []string{"on"}},
				{In: vars{testkit.I32("b")}, Ops: []op{{Type: "mul", In: args{"x": "%b", "y": 1}, Out: vars{testkit.I32("c")}}}, Out: []string{"c"}},
			}},
		}}.FS(), testkit.ModelFile, o...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func floats(t *testing.T, v ...float32) *coreml.Tensor {
	t.Helper()
	x, err := tensor.Make(tensor.Float32, []int{len(v)})
	if err != nil {
		t.Fatal(err)
	}
	copy(tensor.Data[float32](x), v)
	return x
}

func TestCloseWaitsAndRefuses(t *testing.T) {
	m := endless(t)
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan error, 1)
	go func() {
		_, err := m.Predict(ctx, coreml.Features{"x": floats(t, 1, 1, 1, 1), "go": int64(1)})
		running <- err
	}()
	time.Sleep(30 * time.Millisecond)
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		t.Errorf("Close returned %v before the call in flight had ended", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := m.Predict(context.Background(), coreml.Features{"x": floats(t, 1, 1, 1, 1), "go": int64(0)}); !errors.Is(err, coreml.ErrClosed) {
		t.Errorf("a call after Close: %v, want %v", err, coreml.ErrClosed)
	}
	cancel()
	if err := <-running; !errors.Is(err, context.Canceled) {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if _, err := m.NewState(); !errors.Is(err, coreml.ErrClosed) {
		t.Errorf("a state after Close: %v, want %v", err, coreml.ErrClosed)
	}
}

func TestStates(t *testing.T) {
	m := endless(t)
	defer m.Close()
	s, err := m.NewState()
	if err != nil {
		t.Fatal(err)
	}
	call := func(ctx context.Context, s *coreml.State, index int) error {
		return m.PredictInto(ctx, coreml.Features{"x": floats(t, 1, 2, 3, 4), "go": int64(index)}, coreml.Features{}, s)
	}
	holds := func(what string, want ...float32) {
		t.Helper()
		f, err := s.Save()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := f["s"].(*coreml.Tensor).Float32s(); !equal(got, want) {
			t.Errorf("%s: the state is %v, want %v", what, got, want)
		}
	}
	bg, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	if err := call(bg, s, 0); err != nil {
		t.Fatal(err)
	}
	holds("after one call", 1, 2, 3, 4)

	// A call that fails before it writes leaves the state as it was.
	if err := call(bg, s, 1<<20); !errors.Is(err, coreml.ErrRuntime) {
		t.Errorf("an index out of range: %v, want %v", err, coreml.ErrRuntime)
	}
	holds("after a call that failed before its write", 1, 2, 3, 4)

	// Two calls at once: the second is refused.
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	running := make(chan error, 1)
	go func() { running <- call(ctx, s, 1) }()
	time.Sleep(30 * time.Millisecond)
	if err := call(bg, s, 0); !errors.Is(err, coreml.ErrState) {
		t.Errorf("a second call with one state: %v, want %v", err, coreml.ErrState)
	}
	if _, err := s.Save(); !errors.Is(err, coreml.ErrState) {
		t.Errorf("saving a state in use: %v, want %v", err, coreml.ErrState)
	}

	// The first one has written; cancelled, it leaves the state broken until it is loaded.
	cancel()
	if err := <-running; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if err := call(bg, s, 0); !errors.Is(err, coreml.ErrState) {
		t.Errorf("a call with a broken state: %v, want %v", err, coreml.ErrState)
	}
	if err := s.Load(coreml.Features{"s": floats(t, 10, 10, 10, 10)}); err != nil {
		t.Fatal(err)
	}
	if err := call(bg, s, 0); err != nil {
		t.Errorf("after loading it: %v", err)
	}
	holds("after loading it and a call", 11, 12, 13, 14)

	other := endless(t)
	defer other.Close()
	foreign, err := other.NewState()
	if err != nil {
		t.Fatal(err)
	}
	if err := call(bg, foreign, 0); !errors.Is(err, coreml.ErrState) {
		t.Errorf("another model's state: %v, want %v", err, coreml.ErrState)
	}
	s.Close()
	if err := call(bg, s, 0); !errors.Is(err, coreml.ErrState) {
		t.Errorf("a closed state: %v, want %v", err, coreml.ErrState)
	}
}

func equal(a, b []float32) bool {
	for i := range b {
		if len(a) != len(b) || a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestMemoryLimitRefusesBeforeAllocating(t *testing.T) {
	fsys := testkit.Program{In: vars{testkit.F32("x", 1, 8, 1024, 1024)}, Out: []string{"y"}, Ops: []op{
		{Type: "softmax", In: args{"x": "%x", "axis": 1}, Out: vars{testkit.F32("y", 1, 8, 1024, 1024)}}}}.FS()
	before := allocated()
	_, err := coreml.OpenFS(fsys, testkit.ModelFile, coreml.Options{MemoryLimit: 16 << 20})
	if !errors.Is(err, coreml.ErrLimit) {
		t.Errorf("32 MiB of activations with a limit of 16: %v, want %v", err, coreml.ErrLimit)
	}
	if n := allocated() - before; n > 8<<20 {
		t.Errorf("allocated %d bytes to say so", n)
	}
	m, err := coreml.OpenFS(fsys, testkit.ModelFile, coreml.Options{MemoryLimit: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if a := m.Memory().Activations; a < 32<<20 || a > 64<<20 {
		t.Errorf("states %d bytes of activations, want 32 MiB or little more", a)
	}
}
