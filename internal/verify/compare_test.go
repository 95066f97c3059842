package verify

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"coreml/internal/record"
	"coreml/schema"
	"coreml/tensor"
)

// TestNotFinite: an expected infinity or NaN is matched by itself alone, by every
// metric and however large the tolerance, and is no noise.
func TestNotFinite(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	snr := 20.0
	ways := map[string]func(got, want float64) *Mismatch{
		"dictionary": func(got, want float64) *Mismatch {
			w := Want{Value: record.Value{Kind: "dict", Items: [][2]any{{"a", 1.0}, {"b", want}}}, Atol: 1, Rtol: 1}
			return w.compare(map[string]float64{"a": 1, "b": got}, nil, false, false)
		},
		"double": func(got, want float64) *Mismatch {
			w := Want{Value: record.Value{Kind: "double", Data: fmt.Appendf(nil, "%q", fmt.Sprint(want))}, Atol: 1, Rtol: 1}
			return w.compare(got, nil, false, false)
		},
	}
	for metric, w := range map[string]Want{"absolute": {Atol: 1}, "relative": {Rtol: 1}, "rel_max1": {Metric: "rel_max1", Atol: 1}, "snr": {Metric: "snr", SNR: &snr}} {
		ways[metric] = func(got, want float64) *Mismatch {
			w.Kind, w.NPZ = "array", "y"
			arrays := map[string]*tensor.Tensor{"y": tensor.Of([]float64{1, 2, want}, 3)}
			return w.compare(tensor.Of([]float64{1, 2, got}, 3), arrays, false, false)
		}
	}
	for name, compare := range ways {
		for _, c := range []struct {
			got, want float64
			same      bool
		}{{inf, inf, true}, {-inf, -inf, true}, {nan, nan, true}, {2.5, 2.5, true}, {3, inf, false}, {3, -inf, false}, {-inf, inf, false}, {inf, -inf, false},
			{nan, inf, false}, {inf, nan, false}, {3, nan, false}, {inf, 3, false}, {-inf, 3, false}, {nan, 3, false}} {
			m := compare(c.got, c.want)
			if (m == nil) != c.same {
				t.Errorf("%s: %v for %v: %v, want it to agree: %v", name, c.got, c.want, m, c.same)
			}
			if m == nil {
				continue
			}
			if b, err := json.Marshal(m); err != nil || m.Error != schema.Number(inf) {
				t.Errorf("%s: %v for %v: error %v, %s, %v; want an infinite one that is JSON", name, c.got, c.want, m.Error, b, err)
			}
		}
	}
}

// TestNoiseBesideInfinity: values that are not finite hide no noise.
func TestNoiseBesideInfinity(t *testing.T) {
	snr := 20.0
	w := Want{Value: record.Value{Kind: "array", NPZ: "y"}, Metric: "snr", SNR: &snr}
	arrays := map[string]*tensor.Tensor{"y": tensor.Of([]float32{1, float32(math.Inf(1)), 2}, 3)}
	if m := w.compare(tensor.Of([]float32{2, float32(math.Inf(1)), 4}, 3), arrays, false, false); m == nil || !strings.Contains(m.What, "SNR -0.0 dB") && !strings.Contains(m.What, "SNR 0.0 dB") {
		t.Errorf("twice the signal: %v, want a ratio of 0 dB", m)
	}
	all := map[string]*tensor.Tensor{"y": tensor.Of([]float32{float32(math.Inf(-1))}, 1)}
	if m := w.compare(all["y"], all, false, false); m != nil {
		t.Errorf("nothing finite: %v, want it to agree", m)
	}
}

// TestLargestMismatch: what is reported is the worst value by the metric, not the first.
func TestLargestMismatch(t *testing.T) {
	arrays := map[string]*tensor.Tensor{"y": tensor.Of([]float64{1, 1000, 2}, 3)}
	got := tensor.Of([]float64{1.5, 1200, 5}, 3)
	for metric, at := range map[string]int{"": 1, "rel_max1": 2} { // off by 0.5, 200 and 3; relatively by 0.5, 0.2 and 1.5
		w := Want{Value: record.Value{Kind: "array", NPZ: "y"}, Metric: metric, Atol: 1e-3}
		m := w.compare(got, arrays, false, false)
		if m == nil || len(m.At) != 1 || m.At[0] != at || !strings.HasPrefix(m.What, "3 of 3 values differ") {
			t.Errorf("metric %q: %+v, want the mismatch at %d", metric, m, at)
		}
	}
}
