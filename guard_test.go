package coreml_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coreml"
	"coreml/internal/status"
	"coreml/telemetry"
	"coreml/tensor"
)

const classifier = "testdata/cases/tiny_classifier/model.mlpackage"

func open(t *testing.T, path string, o coreml.Options) *coreml.Model {
	t.Helper()
	m, err := coreml.Open(path, o)
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

// ask wants the right answer by a backend; "": by whoever should give it.
func ask(t *testing.T, m *coreml.Model, by string) coreml.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := m.PredictWith(ctx, coreml.Request{In: coreml.Features{"image": redSquare()}})
	if err != nil {
		t.Fatal(err)
	}
	if by == "" && !r.Fallback {
		by = r.Requested
	} else if by == "" {
		by = "cpu"
	}
	if r.Out["classLabel"] != "red" || r.Backend != by {
		t.Errorf("%v by %+v, want red by %s", r.Out["classLabel"], r.Dispatch, by)
	}
	return r
}

func TestModelWithoutOptionsCounts(t *testing.T) {
	m := open(t, classifier, coreml.Options{})
	for range 3 {
		if d := ask(t, m, "cpu").Dispatch; d.Fallback {
			t.Errorf("%+v", d)
		}
	}
	s := m.Telemetry()
	if len(s.Series) != 1 || s.Series[0].Inference.Succeeded != 3 || s.Series[0].Load.Succeeded != 1 || s.Series[0].Model != "model.mlpackage" {
		t.Errorf("%+v", s.Series)
	}
	if err := m.Trip("no reason"); !errors.Is(err, coreml.ErrUnsupported) || m.Breakers() != nil {
		t.Errorf("tripping what has no breaker: %v", err)
	}
}

// fragile is a backend that fails while it is told to.
func fragile(broken *atomic.Bool) func(coreml.Predictor) coreml.Predictor {
	return func(next coreml.Predictor) coreml.Predictor {
		return func(ctx context.Context, in coreml.Features) (coreml.Features, error) {
			if broken.Load() {
				return nil, errors.New("the device is gone")
			}
			return next(ctx, in)
		}
	}
}

func TestFallbackByOptions(t *testing.T) {
	var broken atomic.Bool
	log := filepath.Join(t.TempDir(), "events.jsonl")
	m, err := coreml.Open(classifier, coreml.Options{Wrap: fragile(&broken), Fallback: &coreml.Fallback{}, EventLog: log,
		Breaker: coreml.Breaker{Backoff: 50 * time.Millisecond, Probes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, m, "")
	broken.Store(true)
	for range 20 {
		if d := ask(t, m, "").Dispatch; !d.Fallback || d.Requested != "cpu-wrapped" || d.Reason == "" {
			t.Errorf("%+v", d)
		}
	}
	if b := m.Breakers(); b[0].Trips == 0 {
		t.Errorf("%+v", b)
	}
	broken.Store(false)
	for end := time.Now().Add(10 * time.Second); ask(t, m, "").Fallback; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come back: %+v", m.Breakers())
		}
	}
	if err := m.Hold("for an hour"); err != nil {
		t.Fatal(err)
	}
	if d := ask(t, m, "").Dispatch; !strings.Contains(d.Reason, "for an hour") {
		t.Errorf("%+v", d)
	}
	if err := m.Reset("it is over"); err != nil || ask(t, m, "").Fallback {
		t.Errorf("reset: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(b), "the device is gone") || !strings.Contains(string(b), "breaker") {
		t.Errorf("%v, event log:\n%.500s", err, b)
	}
}

func TestShadowByOptions(t *testing.T) {
	drifts := make(chan coreml.Drift, 10)
	m := open(t, classifier, coreml.Options{
		Fallback: &coreml.Fallback{},
		Shadow:   &coreml.Shadow{Share: 1, OnDrift: func(d coreml.Drift) { drifts <- d }},
		Wrap: func(next coreml.Predictor) coreml.Predictor {
			return func(ctx context.Context, in coreml.Features) (coreml.Features, error) {
				out, err := next(ctx, in)
				out["classLabel"] = "green"
				return out, err
			}
		},
	})
	_, err := m.Predict(ctx, coreml.Features{"image": redSquare()})
	if err != nil {
		t.Fatal(err)
	}
	if d := <-drifts; !errors.Is(d.Err, coreml.ErrDrift) || d.Got["classLabel"] != "green" || d.Want["classLabel"] != "red" {
		t.Errorf("%+v", d)
	}
	if d := ask(t, m, "").Dispatch; !d.Fallback || !strings.Contains(d.Reason, "drift") {
		t.Errorf("%+v", d)
	}
}

// spoilt adds to every tensor of the answers, and changes labels, while it is told to.
func spoilt(wrong *atomic.Bool, by float32) func(coreml.Predictor) coreml.Predictor {
	return func(next coreml.Predictor) coreml.Predictor {
		return func(ctx context.Context, in coreml.Features) (coreml.Features, error) {
			out, err := next(ctx, in)
			if err != nil || !wrong.Load() {
				return out, err
			}
			for name, v := range out {
				switch v := v.(type) {
				case string:
					out[name] = "green"
				case *tensor.Tensor:
					for i := range tensor.Data[float32](v) {
						tensor.Data[float32](v)[i] += by
					}
				}
			}
			return out, err
		}
	}
}

// TestHoldByOptions: of answers that wait for their comparison, no wrong one is given.
func TestHoldByOptions(t *testing.T) {
	var wrong atomic.Bool
	hold := &coreml.Shadow{Share: 1, Hold: true}
	m := open(t, classifier, coreml.Options{Fallback: &coreml.Fallback{}, Shadow: hold, Wrap: spoilt(&wrong, 1),
		Breaker: coreml.Breaker{Backoff: 20 * time.Millisecond}})
	var callers sync.WaitGroup
	var byFirst atomic.Int64
	for range 4 {
		callers.Go(func() {
			for i := range 60 {
				wrong.Store(i >= 20 && i < 40)
				if !ask(t, m, "").Fallback {
					byFirst.Add(1)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	callers.Wait()
	if b := m.Breakers()[0]; b.Trips == 0 || byFirst.Load() < 40 {
		t.Errorf("%+v; the first answered %d times", b, byFirst.Load())
	}
	alone := open(t, classifier, coreml.Options{Shadow: hold, Wrap: spoilt(&wrong, 1)})
	ask(t, alone, "cpu-wrapped")
	wrong.Store(true)
	if r, err := alone.PredictWith(ctx, coreml.Request{In: coreml.Features{"image": redSquare()}}); !errors.Is(err, coreml.ErrDrift) || r.Out != nil {
		t.Errorf("without fallback: %v, %v", r, err)
	}
}

// TestHoldKeepsStates: a sequence stays right while the backend is wrong, and a caller
// without fallback can go on from before the wrong answer.
func TestHoldKeepsStates(t *testing.T) {
	const path = "testdata/cases/sta_accumulators/model.mlpackage"
	var wrong atomic.Bool
	hold := &coreml.Shadow{Share: 1, Hold: true}
	plain := open(t, path, coreml.Options{})
	for name, m := range map[string]*coreml.Model{
		"fallback": open(t, path, coreml.Options{Fallback: &coreml.Fallback{}, Shadow: hold, Wrap: spoilt(&wrong, float32(math.NaN()))}),
		"alone":    open(t, path, coreml.Options{Shadow: hold, Wrap: spoilt(&wrong, 1)}),
	} {
		want, err := plain.NewState()
		if err != nil {
			t.Fatal(err)
		}
		st, err := m.NewState()
		if err != nil {
			t.Fatal(err)
		}
		for i := range 8 {
			x := tensor.New(tensor.Float32, 3, 4)
			tensor.Data[float32](x)[i] = float32(i + 1)
			in := coreml.Features{"x": x, "slot": tensor.Of([]int32{0})}
			w := coreml.Features{}
			if err := plain.PredictInto(ctx, in, w, want); err != nil {
				t.Fatal(err)
			}
			wrong.Store(i%3 == 1)
			g := coreml.Features{}
			err := m.PredictInto(ctx, in, g, st)
			if name == "alone" && wrong.Load() {
				if !errors.Is(err, coreml.ErrDrift) {
					t.Errorf("%s, step %d: %v", name, i, err)
				}
				wrong.Store(false)
				g = coreml.Features{}
				err = m.PredictInto(ctx, in, g, st)
			}
			if err != nil {
				t.Fatal(err)
			}
			for out, v := range w {
				if string(g[out].(*tensor.Tensor).Bytes()) != string(v.(*tensor.Tensor).Bytes()) {
					t.Errorf("%s, step %d, %s: %v, want %v", name, i, out, g[out].(*tensor.Tensor).Float32s(), v.(*tensor.Tensor).Float32s())
				}
			}
		}
		if err := errors.Join(st.Close(), want.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestEvidenceIsBounded, and a folder that cannot be written is told of and nothing else.
func TestEvidenceIsBounded(t *testing.T) {
	var wrong atomic.Bool
	wrong.Store(true)
	predict := func(dir string, n int) (written, failed int) {
		var mu sync.Mutex
		m, err := coreml.Open(classifier, coreml.Options{Wrap: spoilt(&wrong, 1), Shadow: &coreml.Shadow{Share: 1, Hold: true, Evidence: dir},
			Observer: telemetry.Func(func(e coreml.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Type == telemetry.Recorded && e.Err == nil {
					written++
				} else if e.Type == telemetry.Recorded {
					failed++
				}
			})})
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := m.Predict(ctx, coreml.Features{"image": redSquare()}); !errors.Is(err, coreml.ErrDrift) {
				t.Error(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		return written, failed
	}
	dir := t.TempDir()
	if w, f := predict(dir, 10); w != 10 || f != 0 {
		t.Errorf("%d written, %d failed, want 10 written", w, f)
	}
	if w, f := predict(dir, 10); w != 6 || f != 0 {
		t.Errorf("then %d written, %d failed, want 6 written", w, f)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 16 {
		t.Errorf("the folder holds %d, want 16: %v", len(all), err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if w, f := predict(file, 3); w != 0 || f != 3 {
		t.Errorf("into a file: %d written, %d failed, want 3 failed", w, f)
	}
}

func TestShadowWithoutFallback(t *testing.T) {
	m := open(t, classifier, coreml.Options{Shadow: &coreml.Shadow{Share: 1}})
	ask(t, m, "cpu")
	for end := time.Now().Add(10 * time.Second); m.Telemetry().Series[0].Shadow.Compared == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is compared")
		}
	}
	if s := m.Telemetry().Series[0].Shadow; s.Drifted != 0 {
		t.Errorf("%+v", s)
	}
}

func TestIsolatedWithWarmStart(t *testing.T) {
	m := open(t, classifier, coreml.Options{Isolate: &coreml.Isolation{}, WarmStart: true})
	if d := ask(t, m, "").Dispatch; !d.Fallback || d.Requested != "cpu-isolated" {
		t.Errorf("the first answer: %+v", d)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r, err := m.PredictWith(ctx, coreml.Request{In: coreml.Features{"image": redSquare()}})
		if err != nil || r.Out["classLabel"] != "red" {
			t.Fatal(r, err)
		}
		if !r.Fallback {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("traffic does not move: %+v", r.Dispatch)
		}
	}
	for _, s := range m.Telemetry().Series {
		if s.Backend == "cpu-isolated" && runtime.GOOS == "linux" && (s.Memory.Now < 1<<20 || s.Memory.Peak < s.Memory.Now) {
			t.Errorf("the child's memory: %+v", s.Memory)
		}
	}
}

func TestGuardedState(t *testing.T) {
	var broken atomic.Bool
	m := open(t, "testdata/cases/sta_accumulators/model.mlpackage", coreml.Options{Wrap: fragile(&broken), Fallback: &coreml.Fallback{}})
	plain := open(t, "testdata/cases/sta_accumulators/model.mlpackage", coreml.Options{})
	var states [2]*coreml.State
	for i, m := range []*coreml.Model{m, plain} {
		st, err := m.NewState()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		states[i] = st
	}
	for i := range 6 {
		broken.Store(i%3 == 1)
		x := tensor.New(tensor.Float32, 3, 4)
		tensor.Data[float32](x)[i] = float32(i + 1)
		in := coreml.Features{"x": x, "slot": tensor.Of([]int32{0})}
		got, want := coreml.Features{}, coreml.Features{}
		if err := errors.Join(m.PredictInto(ctx, in, got, states[0]), plain.PredictInto(ctx, in, want, states[1])); err != nil {
			t.Fatal(err)
		}
		for name, w := range want {
			if g := got[name].(*tensor.Tensor); string(g.Bytes()) != string(w.(*tensor.Tensor).Bytes()) {
				t.Errorf("step %d, output %q: %v, want %v", i, name, g.Float32s(), w.(*tensor.Tensor).Float32s())
			}
		}
	}
}

func TestTimeoutByOptions(t *testing.T) {
	m := open(t, classifier, coreml.Options{Timeout: 20 * time.Millisecond, Wrap: func(coreml.Predictor) coreml.Predictor {
		return func(ctx context.Context, _ coreml.Features) (coreml.Features, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}})
	if _, err := m.Predict(ctx, coreml.Features{"image": redSquare()}); !errors.Is(err, coreml.ErrTimeout) {
		t.Error(err)
	}
}

func TestStatusIsServedWhileAModelIsOpen(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	dir, err := status.Dir()
	if err != nil {
		t.Skip("this system has no folder for caches: ", err)
	}
	m, err := coreml.Open(classifier, coreml.Options{Status: true})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, m, "cpu")
	all, err := status.List(dir)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	b, err := status.Get(all[0])
	var s coreml.Status
	if err := errors.Join(err, json.Unmarshal(b, &s)); err != nil {
		t.Fatal(err)
	}
	if len(s.Models) != 1 || s.Models[0].Name != "model.mlpackage" || s.Models[0].Telemetry.Series[0].Inference.Succeeded != 1 {
		t.Errorf("%s", b)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if all, err := status.List(dir); err != nil || len(all) != 0 {
		t.Errorf("afterwards: %+v, %v", all, err)
	}
}

func TestCanaryByOptions(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	t.Setenv("LocalAppData", cache)
	m := open(t, classifier, coreml.Options{Canary: true})
	ask(t, m, "cpu")
	verdicts := 0
	err := filepath.WalkDir(cache, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(name, "canary") {
			verdicts++
		}
		return err
	})
	if err != nil || verdicts != 1 {
		t.Errorf("%d verdicts are kept, want 1: %v", verdicts, err)
	}
}
