package vec

import (
	"math"
	"strconv"
	"testing"
)

// TestRows compares kernels of many rows with those of one row, for every length up to 200 and some longer.
func TestRows(t *testing.T) {
	lengths := []int{257, 384, 1000, chunk, chunk + 5}
	for n := 1; n <= 200; n++ {
		lengths = append(lengths, n)
	}
	for _, f := range levels {
		for _, n := range lengths {
			count := 3 + 40/n
			src, gamma, beta := row(count*n, 0), row(n, 1), row(n, 2)
			src[0] += 50
			want, got := make([]float32, count*n), make([]float32, count*n)
			check := func(name string, g, b []float32) {
				t.Helper()
				for lo := 0; lo < len(want); lo += n {
					if name == "Softmax" {
						levels[0].Softmax(want[lo:lo+n], src[lo:lo+n])
					} else {
						levels[0].LayerNorm(want[lo:lo+n], src[lo:lo+n], g, b, 1e-3)
					}
				}
				for i := range want {
					if d := math.Abs(float64(got[i] - want[i])); !(d <= 4e-6*(1+math.Abs(float64(want[i])))) {
						t.Fatalf("%v %s of rows of %d, element %d: %g, want %g", f.Level, name, n, i, got[i], want[i])
					}
				}
			}
			f.SoftmaxRows(got, src, n)
			check("Softmax", nil, nil)
			f.LayerNormRows(got, src, gamma, beta, n, 1e-3)
			check("LayerNorm", gamma, beta)
			f.LayerNormRows(got, src, gamma, nil, n, 1e-3)
			check("LayerNorm", gamma, nil)
			copy(got, src)
			f.LayerNormRows(got, got, gamma, beta, n, 1e-3)
			check("LayerNorm", gamma, beta)
			copy(got, src)
			f.SoftmaxRows(got, got, n)
			check("Softmax", nil, nil)
		}
	}
}

// TestRowsStandAlone: a row's result has the same bits whatever is beside it.
func TestRowsStandAlone(t *testing.T) {
	for _, f := range levels {
		for _, n := range []int{1, 15, 49, 64, 197} {
			src, g := row(5*n, 0), row(n, 1)
			all, one := make([]float32, 5*n), make([]float32, n)
			f.SoftmaxRows(all, src, n)
			f.SoftmaxRows(one, src[3*n:4*n], n)
			sameBits(t, f, one, all[3*n:4*n])
			f.LayerNormRows(all, src, g, g, n, 1)
			f.LayerNormRows(one, src[3*n:4*n], g, g, n, 1)
			sameBits(t, f, one, all[3*n:4*n])
		}
	}
}

func sameBits(t *testing.T, f *Funcs, a, b []float32) {
	t.Helper()
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			t.Fatalf("%v: element %d: %g and %g", f.Level, i, a[i], b[i])
		}
	}
}

func TestSoftmaxRowsOfSpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, f := range levels {
		for _, tt := range []struct{ src, want []float32 }{
			{[]float32{-inf, 0, -inf}, []float32{0, 1, 0}},
			{[]float32{-inf, -inf}, []float32{nan, nan}},
			{[]float32{nan, 1}, []float32{nan, nan}},
			{[]float32{1, nan}, []float32{nan, nan}},
			{[]float32{-1e30, 1e30}, []float32{0, 1}},
			{[]float32{7}, []float32{1}},
		} {
			got := make([]float32, len(tt.src))
			f.SoftmaxRows(got, tt.src, len(tt.src))
			for i, w := range tt.want {
				if got[i] != w && !(isNaN(w) && isNaN(got[i])) {
					t.Errorf("%v: softmax of %v: %v, want %v", f.Level, tt.src, got, tt.want)
				}
			}
		}
	}
}

// BenchmarkRows gives the time of a row.
func BenchmarkRows(b *testing.B) {
	for _, f := range levels {
		for _, n := range []int{16, 49, 64, 197, 384, 768} {
			count := 4096 / n
			x, d, g := row(count*n, 0), make([]float32, count*n), row(n, 1)
			run := func(name string, k func()) {
				b.Run(f.Level.String()+"/"+name, func(b *testing.B) {
					for b.Loop() {
						k()
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/row")
				})
			}
			run("LayerNorm"+strconv.Itoa(n), func() { f.LayerNormRows(d, x, g, g, n, 1e-5) })
			run("Softmax"+strconv.Itoa(n), func() { f.SoftmaxRows(d, x, n) })
		}
	}
}
