package wino

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/cpu/guard"
)

func pointer(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func random(rng *rand.Rand, x []float32) []float32 {
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func eachKernel(t *testing.T, f func(t *testing.T, k Kernel)) {
	for _, k := range kernels {
		t.Run(k.Level.String(), func(t *testing.T) {
			if !cpu.Has(k.Level) {
				t.Skipf("this machine has no %v", k.Level)
			}
			f(t, k)
		})
	}
}

// same fails unless got is want within tol. NaN is what was not written.
func same(t *testing.T, got, want []float32, tol float64) {
	t.Helper()
	for i := range want {
		if got[i] != got[i] && want[i] != want[i] {
			continue
		}
		if d := math.Abs(float64(got[i] - want[i])); !(d <= tol) {
			t.Fatalf("element %d of %d: %g, want %g", i, len(want), got[i], want[i])
		}
	}
}

func TestInputMatchesReference(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(1, uint64(k.Level)))
		for i := range 40 {
			side, tiles := guard.Where(i%2), 1+rng.IntN(5)
			if i == 0 {
				tiles = 2*maxTiles + 3
			}
			width, step := (tiles*Out+2+rng.IntN(3))*k.Lanes, (tiles+rng.IntN(3))*k.Lanes
			image := guard.Copy(random(rng, make([]float32, (In-1)*width+(tiles*Out+2)*k.Lanes)), side, t)
			matrix := guard.Floats((Elements-1)*step+tiles*k.Lanes, side, t)
			a := Args{Image: pointer(image), ImageLine: 4 * width, Matrix: pointer(matrix), MatrixStep: 4 * step,
				Tmp: pointer(guard.Floats(Elements*k.Lanes, side, t)), Tiles: tiles}
			k.Input(&a)
			if a.Tiles != 0 {
				t.Fatalf("Tiles = %d after the call, want 0", a.Tiles)
			}
			want := nans(len(matrix))
			a.Tiles, a.Matrix = tiles, pointer(want)
			Reference(k.Lanes).Input(&a)
			same(t, matrix, want, 3e-5)
		}
	})
}

func nans(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.NaN())
	}
	return x
}

func TestOutputMatchesReference(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		rng := rand.New(rand.NewPCG(2, uint64(k.Level)))
		for i := range 120 {
			side, tiles := guard.Where(i%2), 1+rng.IntN(5)
			if i == 0 {
				tiles = 2*maxTiles + 3
			}
			a := Args{Lines: 1 + rng.IntN(Out), Pixels: Out}
			if rng.IntN(2) == 0 {
				a.Pixels, tiles = 1+rng.IntN(Out), 1
			}
			used := ((tiles-1)*Out + a.Pixels) * k.Lanes
			width, step := used+rng.IntN(3)*k.Lanes, (tiles+rng.IntN(3))*k.Lanes
			matrix := guard.Copy(random(rng, make([]float32, (Elements-1)*step+tiles*k.Lanes)), side, t)
			image := guard.Floats((a.Lines-1)*width+used, side, t)
			a.Lo, a.Hi = NoLimit()
			if rng.IntN(2) == 0 {
				a.Lo, a.Hi = -1, 2
			}
			if rng.IntN(2) == 0 {
				a.Bias = pointer(guard.Copy(random(rng, make([]float32, k.Lanes)), side, t))
			}
			if rng.IntN(2) == 0 {
				a.Add = pointer(guard.Copy(random(rng, make([]float32, len(image))), side, t))
			}
			a.ImageLine, a.Matrix, a.MatrixStep = 4*width, pointer(matrix), 4*step
			a.Tmp = pointer(guard.Floats(Elements*k.Lanes, side, t))
			a.Image, a.Tiles = pointer(image), tiles
			k.Output(&a)
			want := nans(len(image))
			a.Image, a.Tiles = pointer(want), tiles
			Reference(k.Lanes).Output(&a)
			same(t, image, want, 1e-4)
		}
	})
}

// convolve is one tile by the transforms and the definition, with its inputs x, taps w and channels c.
func convolve(k Kernel, x, w []float32, c int) (got, want []float64) {
	lanes := k.Lanes
	var sums [Elements]float32
	matrix, tmp := make([]float32, Elements*lanes), make([]float32, Elements*lanes)
	image, taps := make([]float32, In*In*lanes), make([]float32, Elements)
	want = make([]float64, Out*Out)
	for i := range c {
		xi, wi := x[i*In*In:], w[i*9:]
		for p := range In * In {
			image[p*lanes] = xi[p]
		}
		k.Input(&Args{Image: pointer(image), ImageLine: 4 * In * lanes, Matrix: pointer(matrix), MatrixStep: 4 * lanes, Tmp: pointer(tmp), Tiles: 1})
		Weights(taps, 1, wi, 0, 1)
		for e := range sums {
			sums[e] += float32(matrix[e*lanes] * taps[e])
		}
		for o := range want {
			for t := range 9 {
				want[o] += float64(xi[(o/Out+t/3)*In+o%Out+t%3]) * float64(wi[t])
			}
		}
	}
	for e, s := range sums {
		matrix[e*lanes] = s
	}
	out := make([]float32, Out*Out*lanes)
	a := Args{Image: pointer(out), ImageLine: 4 * Out * lanes, Matrix: pointer(matrix), MatrixStep: 4 * lanes, Tmp: pointer(tmp), Tiles: 1, Lines: Out, Pixels: Out}
	a.Lo, a.Hi = NoLimit()
	k.Output(&a)
	for o := range want {
		got = append(got, float64(out[o*lanes]))
	}
	return got, want
}

// TestErrorIsSmall holds the transforms to the stated bound, on data that changes sign, that does not, and whose
// alternating signs make the transformed values large beside the outputs.
func TestErrorIsSmall(t *testing.T) {
	signs := func(p int) float32 { return float32(1 - 2*((p%In/2+p/In/2)%2)) }
	data := map[string]func(rng *rand.Rand, p int) float32{
		"normal":      func(rng *rand.Rand, p int) float32 { return float32(rng.NormFloat64()) },
		"positive":    func(rng *rand.Rand, p int) float32 { return float32(max(rng.NormFloat64(), 0)) },
		"alternating": func(rng *rand.Rand, p int) float32 { return signs(p) * (1 + rng.Float32()/8) },
		"offset":      func(rng *rand.Rand, p int) float32 { return 10 + rng.Float32() },
	}
	eachKernel(t, func(t *testing.T, k Kernel) {
		for name, draw := range data {
			rng := rand.New(rand.NewPCG(3, 3))
			const c, runs = 64, 50
			x, w := make([]float32, c*In*In), make([]float32, c*9)
			mean, most := 0.0, 0.0
			for range runs {
				for i := range x {
					x[i] = draw(rng, i%(In*In))
				}
				got, want := convolve(k, x, random(rng, w), c)
				off, top := 0.0, 0.0
				for i := range want {
					off, top = max(off, math.Abs(got[i]-want[i])), max(top, math.Abs(want[i]))
				}
				mean, most = mean+off/top/runs, max(most, off/top)
			}
			t.Logf("%s: of the largest output %.1e on average, %.1e at most", name, mean, most)
			if mean > 4e-6 || most > 2e-5 {
				t.Errorf("%s: error %.1e on average, %.1e at most", name, mean, most)
			}
		}
	})
}

func TestCollectorIsNotDelayed(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		const tiles = 4096
		image, matrix := make([]float32, In*(tiles*Out+2)*k.Lanes), make([]float32, Elements*tiles*k.Lanes)
		a := Args{Image: pointer(image), ImageLine: 4 * (tiles*Out + 2) * k.Lanes, Matrix: pointer(matrix), MatrixStep: 4 * tiles * k.Lanes,
			Tmp: pointer(make([]float32, Elements*k.Lanes)), Lines: Out, Pixels: Out}
		for i, transform := range []func(*Args){k.Input, k.Output} {
			run := func() { a.Tiles = tiles; transform(&a) }
			if got := guard.StopTime(run); got > 50*time.Millisecond {
				t.Errorf("transform %d: a collection beside it takes %v, want at most 50ms", i, got)
			}
		}
	})
}

func BenchmarkTransforms(b *testing.B) {
	for _, k := range kernels {
		if k.Level == cpu.Generic || !cpu.Has(k.Level) {
			continue
		}
		const tiles = 14
		image, matrix := make([]float32, In*(tiles*Out+2)*k.Lanes), make([]float32, Elements*(tiles+1)*k.Lanes)
		a := Args{Image: pointer(image), ImageLine: 4 * (tiles*Out + 2) * k.Lanes, Matrix: pointer(matrix), MatrixStep: 4 * (tiles + 1) * k.Lanes,
			Tmp: pointer(make([]float32, Elements*k.Lanes)), Lines: Out, Pixels: Out}
		for i, transform := range []func(*Args){k.Input, k.Output} {
			b.Run(fmt.Sprint(k.Level, []string{" input", " output"}[i]), func(b *testing.B) {
				for b.Loop() {
					a.Tiles = tiles
					transform(&a)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/tiles, "ns/tile")
			})
		}
	}
}

func BenchmarkWeights(b *testing.B) {
	const lanes = 16
	w, dst := make([]float32, lanes*9), make([]float32, Elements*lanes)
	for b.Loop() {
		Weights(dst, lanes, w, 9, lanes)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lanes, "ns/filter")
}
