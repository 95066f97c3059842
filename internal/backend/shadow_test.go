package backend_test

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/telemetry"
	"coreml/tensor"
)

func TestShadowComparesItsShare(t *testing.T) {
	for _, c := range []struct {
		share    float64
		compared int
	}{{1, 100}, {0.25, 25}, {0.03, 3}, {0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			p, ref := &summing{name: "p"}, &summing{name: "ref"}
			events := 0
			s := backend.Shadow(p, ref, backend.ShadowOptions{Share: c.share, Observer: telemetry.Func(func(e telemetry.Event) {
				if e.Type != telemetry.Compared || e.Err != nil {
					t.Errorf("event %+v", e)
				}
				events++
			})})
			for i := range 100 {
				run(t, s, context.Background(), float32(i))
				synctest.Wait()
			}
			if events != c.compared || int(ref.runs.Load()) != c.compared {
				t.Errorf("share %v: %d compared, want %d", c.share, events, c.compared)
			}
			if err := s.Close(); err != nil || !p.closed.Load() || ref.closed.Load() {
				t.Errorf("closing: %v", err)
			}
		})
	}
}

func TestShadowFindsDriftAndKeepsTheEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ref := &summing{name: "p", offset: 1}, &summing{name: "ref"}
		var got []guards.Drift
		s := backend.Shadow(p, ref, backend.ShadowOptions{Share: 1, Drift: func(d guards.Drift) { got = append(got, d) }})
		defer s.Close()
		st, err := s.NewState()
		if err != nil {
			t.Fatal(err)
		}
		in := x(2)
		for range 2 {
			j := &backend.Job{In: in, Out: make([]tensor.Features, 1), State: st}
			if err := s.Run(context.Background(), j); err != nil {
				t.Fatal(err)
			}
			tensor.Data[float32](j.Out[0]["y"].(*tensor.Tensor))[0] = -1 // it is the caller's
			synctest.Wait()
		}
		value := func(f tensor.Features, name string) float32 { return tensor.Data[float32](f[name].(*tensor.Tensor))[0] }
		if len(got) != 2 {
			t.Fatalf("%d drifts, want 2", len(got))
		}
		d := got[1]
		if value(d.Before, "n") != 2 || value(d.After, "n") != 4 || value(d.In, "x") != 2 || value(d.Got, "y") != 5 || value(d.Want, "y") != 4 {
			t.Errorf("evidence %+v", d)
		}
		if !errors.Is(d.Err, fault.Drift) || d.By != "p" || d.Reference != "ref" || d.Held {
			t.Errorf("evidence %+v", d)
		}
		if value(d.Left, "n") != 4 || len(d.Differences) != 2 || d.Differences[0].Output != "state n" || d.Differences[1].MaxError != 1 {
			t.Errorf("evidence %+v", d)
		}
	})
}

func TestShadowNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p, ref := &summing{name: "p"}, &summing{name: "ref"}
		ref.meddle = func(ctx context.Context) error { <-release; return nil }
		dropped := 0
		s := backend.Shadow(p, ref, backend.ShadowOptions{Share: 1, Queue: 4, Observer: telemetry.Func(func(e telemetry.Event) {
			if e.Reason == "dropped" {
				dropped++
			}
		})})
		run(t, s, context.Background(), 0)
		synctest.Wait() // the first is taken from the queue
		for range 20 {
			run(t, s, context.Background(), 0)
		}
		if dropped != 16 {
			t.Errorf("%d dropped, want 16", dropped)
		}
		close(release)
		s.Close()
	})
}

func floats(v ...float32) *tensor.Tensor { return tensor.Of(v) }

func TestCompareMeasures(t *testing.T) {
	want := make([]float32, 1000)
	noisy := make([]float32, 1000)
	for i := range want {
		want[i] = rand.Float32()*2 - 1
		noisy[i] = want[i] * 1.01
	}
	d := backend.Compare(tensor.Features{"y": floats(noisy...)}, tensor.Features{"y": floats(want...)}, func(string) int { return 10 })[0]
	if math.Abs(d.SNR-40) > 0.01 || d.Cosine < 0.99999 || d.Agreement != 1 || d.Elements != 1000 || d.MaxError > 0.0101 || d.MaxError < 0.0099 {
		t.Errorf("%+v", d)
	}
	rms := 0.0
	for _, x := range want {
		rms += float64(x) * float64(x)
	}
	if want := math.Sqrt(rms/1000) * 0.01; math.Abs(d.RMSE/want-1) > 1e-3 {
		t.Errorf("RMSE %v, want %v", d.RMSE, want)
	}
	d = backend.Compare(tensor.Features{"y": floats(1, 5, 3, 2, 4)}, tensor.Features{"y": floats(5, 1, 3, 2, 4)}, func(string) int { return 2 })[0]
	if d.Agreement != 0.5 {
		t.Errorf("top 2 agreement %v, want 0.5", d.Agreement)
	}
}

func TestCheckJudges(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	gray := func(v uint8) image.Image {
		m := image.NewGray(image.Rect(0, 0, 2, 1))
		m.Pix[0], m.Pix[1] = v, 200
		return m
	}
	half := func(v float32) *tensor.Tensor { return tensor.Float16Of([]uint16{tensor.F16(1), tensor.F16(v)}) }
	for _, c := range []struct {
		name      string
		got, want any
		limits    map[string]guards.Limits
		ok        bool
	}{
		{"equal", floats(1, 2), floats(1, 2), nil, true},
		{"float16 arithmetic", floats(1.001, 2), floats(1, 2), nil, true},
		{"5 % off", floats(1.05, 2.1), floats(1, 2), nil, false},
		{"5 % off in float16", half(1.05), half(1), nil, true},
		{"20 % off in float16", half(1.2), half(1), nil, false},
		{"zeros", floats(0, 0), floats(0, 0), nil, true},
		{"silence", floats(1e-9, 0), floats(0, 0), nil, true},
		{"noise for silence", floats(0.1, 0), floats(0, 0), nil, false},
		{"NaN", floats(nan, 2), floats(1, 2), nil, false},
		{"NaN of both", floats(nan, 2), floats(nan, 2), nil, true},
		{"infinite of both", floats(inf, 2), floats(inf, 2), nil, true},
		{"other infinity", floats(-inf, 2), floats(inf, 2), nil, false},
		{"shape", tensor.Of([]float32{1, 2}, 2, 1), floats(1, 2), nil, false},
		{"integers", tensor.Of([]int32{1, 2}), tensor.Of([]int32{1, 2}), nil, true},
		{"other integers", tensor.Of([]int32{1, 3}), tensor.Of([]int32{1, 2}), nil, false},
		{"label", "cat", "cat", nil, true},
		{"other label", "cat", "dog", nil, false},
		{"type", "cat", floats(1), nil, false},
		{"scores", map[string]float64{"a": 0.9, "b": 0.1}, map[string]float64{"a": 0.901, "b": 0.099}, nil, true},
		{"other scores", map[string]float64{"a": 0.1, "b": 0.9}, map[string]float64{"a": 0.9, "b": 0.1}, nil, false},
		{"picture", gray(100), gray(101), nil, true},
		{"other picture", gray(20), gray(200), nil, false},
		{"within its limit", floats(1.05, 2.1), floats(1, 2), map[string]guards.Limits{"y": {MaxError: 0.2}}, true},
		{"over its limit", floats(1.05, 2.3), floats(1, 2), map[string]guards.Limits{"y": {MaxError: 0.2}}, false},
		{"over its RMSE", floats(1.05, 2.3), floats(1, 2), map[string]guards.Limits{"y": {RMSE: 0.2}}, false},
		{"over its cosine", floats(1, -2), floats(1, 2), map[string]guards.Limits{"y": {Cosine: 0.9}}, false},
		{"huge", 1e200, 1.0, nil, false},
		{"huge, by cosine", map[string]float64{"a": 1e200, "b": -1e200}, map[string]float64{"a": 1e200, "b": 1e200}, map[string]guards.Limits{"y": {Cosine: 0.9}}, false},
		{"order", floats(1, 2, 3), floats(3, 2, 1), map[string]guards.Limits{"y": {TopK: 1, Agreement: 1}}, false},
	} {
		err := backend.Check(c.limits)(tensor.Features{"y": c.got}, tensor.Features{"y": c.want})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.Drift) {
			t.Errorf("%s: %v", c.name, err)
		}
		d := backend.Compare(tensor.Features{"y": c.got}, tensor.Features{"y": c.want}, func(string) int { return 0 })
		if _, err := json.Marshal(d); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCheckExcusesATie: a label that flips because two scores are all but equal is no drift.
func TestCheckExcusesATie(t *testing.T) {
	answer := func(a, b float64, label string) tensor.Features {
		return tensor.Features{"label": label, "scores": map[string]float64{"a": a, "b": b}}
	}
	check := backend.Check(nil)
	if err := check(answer(0.501, 0.499, "a"), answer(0.499, 0.501, "b")); err != nil {
		t.Error(err)
	}
	if err := check(answer(0.302, 0.698, "a"), answer(0.301, 0.699, "b")); err == nil {
		t.Error("a wrong label is excused")
	}
}
