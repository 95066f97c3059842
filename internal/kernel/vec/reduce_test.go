package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var rowLengths = func() []int {
	var ns []int
	for n := range 258 {
		ns = append(ns, n)
	}
	return append(ns, 384, 768, 1000, chunk-1, chunk, chunk+1, 2*chunk+77)
}()

// row is n numbers around offset.
func row(n int, offset float64) []float32 {
	r := rand.New(rand.NewPCG(uint64(n), 3))
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(r.NormFloat64() + offset)
	}
	return s
}

// near reports whether got is want up to eps, in relation to the sum of magnitudes.
func near(got float32, want, magnitude, eps float64) bool {
	return math.Abs(float64(got)-want) <= eps*magnitude+1e-30
}

// sumError bounds the relative error of a sum of n: 64 partial sums, their fold, and chunks.
func sumError(n int) float64 {
	return (float64(min(n, chunk))/stripes + 8 + float64(n/chunk)) * 0x1p-24
}

func TestSums(t *testing.T) {
	for _, f := range levels {
		for _, n := range rowLengths {
			x, y := row(n, 0.5), row(n+1, -1)[:n]
			var sum, square, magnitude, dot, dotMagnitude float64
			for i := range x {
				p := float64(x[i]) * float64(y[i])
				sum, magnitude, square = sum+float64(x[i]), magnitude+math.Abs(float64(x[i])), square+float64(x[i])*float64(x[i])
				dot, dotMagnitude = dot+p, dotMagnitude+math.Abs(p)
			}
			eps := sumError(n)
			check := func(name string, got float32, want, magnitude float64) {
				t.Helper()
				if !near(got, want, magnitude, eps) {
					t.Errorf("%v %s of %d: %g, want %g", f.Level, name, n, got, want)
				}
			}
			check("Sum", f.Sum(x), sum, magnitude)
			check("SumAbs", f.SumAbs(x), magnitude, magnitude)
			check("SumSquare", f.SumSquare(x), square, square)
			check("Dot", f.Dot(x, y), dot, dotMagnitude)
			if g := levels[0]; f.Sum(x) != g.Sum(x) || f.SumAbs(x) != g.SumAbs(x) {
				t.Errorf("%v sums of %d differ from the generic ones", f.Level, n)
			}
		}
	}
}

func TestExtremes(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, f := range levels {
		if f.ReduceMax(nil) != -inf || f.ReduceMin(nil) != inf || f.ArgMax(nil) != -1 || f.ArgMin(nil) != -1 {
			t.Errorf("%v: wrong extremes of nothing", f.Level)
		}
		for _, n := range rowLengths[1:] {
			for _, offset := range []float64{-100, 0, 100} {
				x := row(n, offset)
				at := n * 2 / 3
				x[at] = 1000
				if f.ReduceMax(x) != 1000 || f.ArgMax(x) != at {
					t.Errorf("%v maximum of %d: %g at %d", f.Level, n, f.ReduceMax(x), f.ArgMax(x))
				}
				x[at] = -1000
				x[n-1] = -1000
				if f.ReduceMin(x) != -1000 || f.ArgMin(x) != at {
					t.Errorf("%v minimum of %d: %g at %d", f.Level, n, f.ReduceMin(x), f.ArgMin(x))
				}
				x[at] = nan
				if !isNaN(f.ReduceMax(x)) || !isNaN(f.ReduceMin(x)) || f.ArgMax(x) != at || f.ArgMin(x) != at {
					t.Errorf("%v extremes of %d numbers and a NaN at %d: %g, %g", f.Level, n, at, f.ReduceMax(x), f.ReduceMin(x))
				}
			}
		}
	}
}

func TestSoftmax(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, f := range levels {
		for _, n := range rowLengths {
			for _, offset := range []float64{-90, 0, 1e4} {
				x := row(n, offset)
				if n > 3 {
					x[n/2] = -inf
				}
				sum, top := 0.0, math.Inf(-1)
				for _, v := range x {
					top = max(top, float64(v))
				}
				for _, v := range x {
					sum += math.Exp(float64(v) - top)
				}
				dst := make([]float32, n)
				f.Softmax(dst, x)
				for i, v := range x {
					want := math.Exp(float64(v)-top) / sum
					if math.Abs(float64(dst[i])-want) > want*(6*0x1p-23+sumError(n)) {
						t.Fatalf("%v softmax of %d, element %d: %g, want %g", f.Level, n, i, dst[i], want)
					}
				}
				f.Softmax(x, x)
				equal(t, fmt.Sprintf("%v softmax of %d in place", f.Level, n), x, dst)
			}
		}
		x := []float32{-inf, -inf}
		if f.Softmax(x, x); !isNaN(x[0]) || !isNaN(x[1]) {
			t.Errorf("%v: softmax of -Inf only: %v, want NaN", f.Level, x)
		}
	}
}

func TestExpSum(t *testing.T) {
	for _, f := range levels {
		for _, n := range rowLengths {
			x := row(n, 1)
			dst, plain := make([]float32, n), make([]float32, n)
			got := f.ExpSum(dst, x, 0.5)
			f.SubS(plain, x, 0.5)
			f.Exp(plain, plain)
			equal(t, fmt.Sprintf("%v ExpSum of %d", f.Level, n), dst, plain)
			if got != f.Sum(dst) {
				t.Errorf("%v ExpSum of %d = %g, want the sum %g", f.Level, n, got, f.Sum(dst))
			}
		}
	}
}

func TestNorms(t *testing.T) {
	const eps = 1e-5
	for _, f := range levels {
		for _, n := range rowLengths[1:] {
			x, gamma, beta := row(n, 3), row(n+1, 1)[:n], row(n+2, 0)[:n]
			mean, variance, square := moments(x)
			m, v := f.MeanVar(x)
			if !near(m, mean, math.Abs(mean)+1, sumError(n)) || !near(v, variance, variance, 4*sumError(n)) && n > 1 {
				t.Errorf("%v MeanVar of %d: %g, %g, want %g, %g", f.Level, n, m, v, mean, variance)
			}
			for _, g := range [][]float32{nil, gamma} {
				for _, b := range [][]float32{nil, beta} {
					dst := make([]float32, n)
					f.LayerNorm(dst, x, g, b, eps)
					checkRow(t, fmt.Sprintf("%v LayerNorm of %d", f.Level, n), dst, x, mean, 1/math.Sqrt(variance+eps), g, b)
				}
				dst := make([]float32, n)
				f.RMSNorm(dst, x, g, eps)
				checkRow(t, fmt.Sprintf("%v RMSNorm of %d", f.Level, n), dst, x, 0, 1/math.Sqrt(square+eps), g, nil)
			}
		}
	}
}

func moments(x []float32) (mean, variance, square float64) {
	n := float64(len(x))
	for _, v := range x {
		mean += float64(v) / n
		square += float64(v) * float64(v) / n
	}
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean) / n
	}
	return mean, variance, square
}

func checkRow(t *testing.T, what string, got, x []float32, mean, scale float64, gamma, beta []float32) {
	t.Helper()
	for i, v := range x {
		g, b := 1.0, 0.0
		if gamma != nil {
			g = float64(gamma[i])
		}
		if beta != nil {
			b = float64(beta[i])
		}
		want := (float64(v)-mean)*scale*g + b
		bound := (math.Abs(float64(v))+math.Abs(mean))*scale*math.Abs(g)*(4*sumError(len(x))+4e-7) + 4e-7*math.Abs(b)
		if math.Abs(float64(got[i])-want) > bound+1e-7 {
			t.Fatalf("%s, element %d: %g, want %g", what, i, got[i], want)
		}
	}
}
