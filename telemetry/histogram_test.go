package telemetry

import (
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func TestBucketsFollowEachOther(t *testing.T) {
	for b := range buckets {
		low, end := floor(b), floor(b+1)
		if bucket(low) != b || bucket(end-1) != b {
			t.Fatalf("bucket %d: [%d, %d) falls into %d and %d", b, low, end, bucket(low), bucket(end-1))
		}
		mid := float64(low + (end-low)/2)
		if e := max(mid-float64(low), float64(end-1)-mid) / max(float64(low), 1); e > RelativeError {
			t.Fatalf("bucket %d: error %g, want at most %g", b, e, RelativeError)
		}
	}
	if bucket(math.MaxInt64) != buckets-1 {
		t.Error("the longest is not in the last bucket")
	}
}

// latencies are distributions as they are met: of one peak, of two, with a long tail.
var latencies = map[string]func(r *rand.Rand) float64{
	"uniform":     func(r *rand.Rand) float64 { return 1e5 + 9e5*r.Float64() },
	"normal":      func(r *rand.Rand) float64 { return max(0, 5e6+1e6*r.NormFloat64()) },
	"exponential": func(r *rand.Rand) float64 { return 2e6 * r.ExpFloat64() },
	"lognormal":   func(r *rand.Rand) float64 { return 1e6 * math.Exp(1.5*r.NormFloat64()) },
	"two peaks": func(r *rand.Rand) float64 {
		if r.Float64() < 0.9 {
			return 8e5 + 1e4*r.NormFloat64()
		}
		return 3e8 + 1e8*r.ExpFloat64()
	},
}

// TestQuantiles compares with exact ones; COREML_LONG makes it 10 million samples of each.
func TestQuantiles(t *testing.T) {
	n := 300_000
	if os.Getenv("COREML_LONG") != "" {
		n = 10_000_000
	}
	for name, draw := range latencies {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			h := newHistogram(4)
			exact := make([]time.Duration, n)
			sum := time.Duration(0)
			for i := range exact {
				exact[i] = time.Duration(draw(r))
				sum += exact[i]
				h.record(exact[i], r.Uint32())
			}
			slices.Sort(exact)
			d := h.snapshot()
			if d.Count != uint64(n) || d.Max != exact[n-1] || d.Sum() != sum || d.Mean != sum/time.Duration(n) {
				t.Errorf("count %d, maximum %v, sum %v, want %d, %v, %v", d.Count, d.Max, d.Sum(), n, exact[n-1], sum)
			}
			worst := 0.0
			for _, q := range []float64{0.001, 0.01, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1} {
				want := exact[int(math.Ceil(q*float64(n)))-1]
				worst = max(worst, math.Abs(float64(d.Quantile(q)-want))/float64(want))
			}
			if p := exact[n*95/100-1]; math.Abs(float64(d.P95-p)) > 0.01*float64(p) {
				t.Errorf("p95 %v, want %v", d.P95, p)
			}
			t.Logf("worst error of a quantile %.3f %%", 100*worst)
			if worst > RelativeError || RelativeError > 0.01 {
				t.Errorf("a quantile is off by %g, want at most %g", worst, RelativeError)
			}
			for _, limit := range []time.Duration{exact[n/10], exact[n/2], exact[n-1]} {
				low, _ := slices.BinarySearch(exact, time.Duration(0.99*float64(limit)))
				high, _ := slices.BinarySearch(exact, time.Duration(1.01*float64(limit)))
				if got := int(d.Within(limit)); got < low || got > high {
					t.Errorf("%d within %v, want %d to %d", got, limit, low, high)
				}
			}
		})
	}
}

func TestQuantilesOfFew(t *testing.T) {
	h := newHistogram(1)
	if d := h.snapshot(); d.P50 != 0 || d.Max != 0 || d.Mean != 0 {
		t.Errorf("none: %+v", d)
	}
	h.record(-time.Second, 0) // a clock that was set back
	if d := h.snapshot(); d.Count != 1 || d.P99 != 0 {
		t.Errorf("negative: %+v", d)
	}
	h.record(100*time.Hour, 0)
	if d := h.snapshot(); d.P99 != 100*time.Hour || d.Max != 100*time.Hour || d.P50 != 0 {
		t.Errorf("beyond the range: %v %v %v", d.P50, d.P99, d.Max)
	}
	if d := (*histogram)(nil).snapshot(); d.Count != 0 || d.Quantile(0.5) != 0 {
		t.Errorf("nil: %+v", d)
	}
}
