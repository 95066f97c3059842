//go:build unix

package backend_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"coreml/breaker"
	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/engine"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/telemetry"
	"coreml/tensor"
)

const (
	anyModel   = "../../testdata/cases/tiny_classifier/model.mlpackage"
	stateModel = "../../testdata/cases/sta_accumulators/model.mlpackage"
)

func openModel(t testing.TB, name string) *mlmodel.Model {
	t.Helper()
	m, err := mlmodel.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func loadWith(t testing.TB, b backend.Backend, m *mlmodel.Model, o guards.Isolation, c backend.Config) backend.Program {
	t.Helper()
	p, err := backend.Isolate(b, o).Load(context.Background(), m, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func ramp(n int) *tensor.Tensor {
	x := tensor.New(tensor.Float32, n)
	for i, d := 0, tensor.Data[float32](x); i < n; i++ {
		d[i] = float32(i)
	}
	return x
}

// echo runs p on x and wants x back.
func echo(t testing.TB, p backend.Program, x *tensor.Tensor) {
	t.Helper()
	j := &backend.Job{In: []tensor.Features{{"x": x}}, Out: []tensor.Features{nil}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Run(ctx, j); err != nil {
		t.Fatal(err)
	}
	got, _ := j.Out[0]["x"].(*tensor.Tensor)
	if got == nil || !bytes.Equal(got.Bytes(), x.Bytes()) {
		t.Fatalf("result %v is not what was given", got)
	}
}

func TestIsolatedEcho(t *testing.T) {
	p := loadWith(t, faulty{}, openModel(t, anyModel), guards.Isolation{}, backend.Config{})
	for _, n := range []int{0, 1, 256, 100000, 1 << 20, 3} {
		echo(t, p, ramp(n))
	}
	given := tensor.New(tensor.Float32, 10)
	j := &backend.Job{In: []tensor.Features{{"x": ramp(10), "s": "text", "m": map[int64]float64{3: 0.5}}}, Out: []tensor.Features{{"x": given}}}
	if err := p.Run(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	if j.Out[0]["x"] != given || tensor.Data[float32](given)[9] != 9 {
		t.Errorf("the given tensor was not filled: %v", given.Float32s())
	}
	if j.Out[0]["s"] != "text" || j.Out[0]["m"].(map[int64]float64)[3] != 0.5 {
		t.Errorf("results %v", j.Out[0])
	}
	if j.Dispatch.Backend != "faulty-isolated" || j.Dispatch.Unit != "faulty unit" {
		t.Errorf("dispatch %+v", j.Dispatch)
	}
	if c := p.Capabilities(); c.Unit != "faulty" || c.Memory.Weights != 7 {
		t.Errorf("capabilities %+v", c)
	}
}

func TestIsolatedEngineGivesTheSameBits(t *testing.T) {
	ctx := context.Background()
	onDisk := openModel(t, stateModel)
	embedded, err := mlmodel.OpenFS(os.DirFS(stateModel), ".")
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close()
	direct, err := engine.CPU{}.Load(ctx, onDisk, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	var want tensor.Features
	for _, p := range []backend.Program{direct,
		loadWith(t, engine.CPU{}, onDisk, guards.Isolation{}, backend.Config{}),
		loadWith(t, engine.CPU{}, embedded, guards.Isolation{}, backend.Config{})} {
		st, err := p.NewState()
		if err != nil {
			t.Fatal(err)
		}
		j := &backend.Job{In: []tensor.Features{inputsOf(t, onDisk)}, Out: []tensor.Features{nil}, State: st}
		for range 3 {
			if err := p.Run(ctx, j); err != nil {
				t.Fatal(err)
			}
		}
		got := tensor.Features{}
		if err := st.Save(got); err != nil {
			t.Fatal(err)
		}
		for k, v := range j.Out[0] {
			got["output "+k] = v
		}
		if want == nil {
			want = got
			continue
		}
		for name, v := range want {
			g, ok := got[name].(*tensor.Tensor)
			if !ok || !bytes.Equal(g.Bytes(), v.(*tensor.Tensor).Bytes()) {
				t.Errorf("%s: %v, want %v", name, got[name], v)
			}
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		if err := p.Run(ctx, j); !errors.Is(err, fault.State) {
			t.Errorf("run with a closed state: %v, want fault.State", err)
		}
	}
}

// inputsOf are inputs of 0.5.
func inputsOf(t testing.TB, m *mlmodel.Model) tensor.Features {
	t.Helper()
	f := tensor.Features{}
	for _, in := range m.Description.Inputs {
		x, err := tensor.Make(tensor.Float32, in.Tensor.Shape)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := 0, tensor.Data[float32](x); i < len(d); i++ {
			d[i] = 0.5
		}
		f[in.Name] = x
	}
	return f
}

// TestChildsMemoryOpensTheBreaker: what a child takes is seen from outside, in telemetry too, even if it hangs.
func TestChildsMemoryOpensTheBreaker(t *testing.T) {
	m := openModel(t, anyModel)
	metrics := telemetry.NewMetrics(nil)
	key := telemetry.Key{Model: "m", Backend: "faulty-isolated"}
	stack := backend.Observe(backend.Wrap(backend.Isolate(faulty{}, guards.Isolation{}), func(next backend.Predict) backend.Predict { return next }), key, metrics)
	second := &summing{name: "second"}
	p := backend.Shadow(backend.Warm(func(ctx context.Context) (backend.Program, error) { return stack.Load(ctx, m, backend.Config{}) }, backend.WarmOptions{Wait: true}),
		second, backend.ShadowOptions{Share: 1e-9})
	if runtime.GOOS != "linux" {
		t.Log("this system does not tell the memory of another process")
		if n := backend.Footprint(p); n != 0 {
			t.Errorf("footprint %d, want what the child said when it was loaded", n)
		}
		p.Close()
		return
	}
	const most = 192 << 20
	b := breaker.New(breaker.Key{}, breaker.Options{MaxFootprint: most}, breaker.Hooks{})
	c := backend.Fallback(backend.FallbackOptions{Measure: time.Nanosecond, Observer: metrics},
		backend.Link{Key: key, Program: p, Breaker: b, Prompt: true}, backend.Link{Program: second, Prompt: true})
	before := backend.Footprint(p)
	runs := 0
	for ; b.Status().State == breaker.Closed && runs < 20; runs++ {
		j := &backend.Job{In: []tensor.Features{{"x": ramp(1), "fault": "grow"}}, Out: []tensor.Features{nil}}
		if err := c.Run(context.Background(), j); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // it is measured beside the run
	}
	if s := b.Status(); s.State != breaker.Open || s.Reason.Rule != "footprint" || runs < 3 {
		t.Errorf("after %d runs: %+v", runs, s)
	}
	s := metrics.Snapshot().Series[0]
	if s.Key != key || s.Memory.Now < most || s.Memory.Peak < s.Memory.Now || before <= 0 || before > most {
		t.Errorf("%+v, %d bytes before", s.Memory, before)
	}
	backend.Renew(p, "its memory")
	if err := p.Run(context.Background(), &backend.Job{In: []tensor.Features{{"x": ramp(1)}}, Out: []tensor.Features{nil}}); err != nil {
		t.Error(err)
	}
	if n := backend.Footprint(p); n <= 0 || n > most {
		t.Errorf("%d bytes after it was renewed", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := p.Run(ctx, &backend.Job{In: []tensor.Features{{"fault": "hang"}}, Out: []tensor.Features{nil}}); err == nil {
		t.Error("nothing hung")
	}
	start := time.Now()
	backend.Footprint(p)
	if took := time.Since(start); took > time.Second {
		t.Errorf("measuring took %v", took)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if n := backend.Footprint(p); n != 0 {
		t.Errorf("%d bytes of a child that is gone", n)
	}
}

// TestQueueIsTheWaitForAChild: the time until a new child is up is told apart from the work.
func TestQueueIsTheWaitForAChild(t *testing.T) {
	const slow = 200 * time.Millisecond
	t.Setenv(slowStart, slow.String())
	var ran []telemetry.Event
	see := telemetry.Func(func(e telemetry.Event) {
		if e.Type == telemetry.Ran {
			ran = append(ran, e)
		}
	})
	same := func(next backend.Predict) backend.Predict { return next }
	b := backend.Observe(backend.Wrap(backend.Isolate(faulty{}, guards.Isolation{}), same), telemetry.Key{}, see)
	p, err := b.Load(context.Background(), openModel(t, anyModel), backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	echo(t, p, ramp(1))
	if err := p.Run(context.Background(), &backend.Job{In: []tensor.Features{{"fault": "kill"}}, Out: []tensor.Features{nil}}); !errors.Is(err, fault.Killed) {
		t.Fatalf("%v, want %v", err, fault.Killed)
	}
	start := time.Now()
	echo(t, p, ramp(1))
	took := time.Since(start)
	if len(ran) != 3 || ran[0].Queue != 0 || ran[1].Queue != 0 {
		t.Fatalf("without a wait: %+v", ran)
	}
	if e := ran[2]; e.Queue < slow/2 || e.Queue+e.Duration > took || e.Duration > took-slow/2 {
		t.Errorf("queue %v and duration %v of %v, want at least %v in the queue", e.Queue, e.Duration, took, slow/2)
	}
}
