package gemm

import (
	"fmt"
	"math"
	"testing"
	"time"
	"unsafe"

	"coreml/internal/kernel/cpu"
)

func BenchmarkTile(b *testing.B) {
	for _, k := range kernels[1:] {
		if !cpu.Has(k.Level) {
			continue
		}
		peak := cpu.Peak(k.Level)
		for v := 1; v <= MaxVectors; v++ {
			for _, r := range []int{k.rows[v], k.rows[v]/2 + 1} {
				for _, steps := range []int{64, 256} {
					b.Run(fmt.Sprintf("%v/v=%d/r=%d/k=%d", k.Level, v, r, steps), func(b *testing.B) {
						benchRun(b, k, peak, r*8, v*k.Lanes, steps, v)
					})
				}
			}
		}
	}
}

func BenchmarkRun(b *testing.B) {
	for _, k := range kernels[1:] {
		if !cpu.Has(k.Level) {
			continue
		}
		peak := cpu.Peak(k.Level)
		for _, s := range [][3]int{{3136, 64, 64}, {784, 128, 128}, {49, 512, 512}, {196, 256, 1024}, {128, 768, 768}, {128, 1024, 1024}, {128, 3072, 768}, {1, 1024, 1024}, {4, 1024, 1024}} {
			b.Run(fmt.Sprintf("%v/%dx%dx%d", k.Level, s[0], s[1], s[2]), func(b *testing.B) {
				benchRun(b, k, peak, s[0], s[1], s[2], 0)
			})
		}
	}
}

// The generic level is what machines without kernels of their own run.
func BenchmarkGeneric(b *testing.B) { benchRun(b, generic, math.Inf(1), 64, 64, 256, 0) }

func aligned(n int) []float32 {
	x := make([]float32, n+16)
	skip := (64 - int(uintptr(unsafe.Pointer(&x[0])))&63) & 63 / 4
	return x[skip : skip+n]
}

func benchRun(b *testing.B, k Kernel, peak float64, m, n, steps, v int) {
	x, w, c := aligned(m*steps), aligned(Panels(n, steps, k.Lanes)), aligned(m*n)
	tv, t1 := DenseTaps(steps, k.Lanes)
	a := Args{A: unsafe.Pointer(&x[0]), RowStride: 4 * steps, W: unsafe.Pointer(&w[0]), WStride: 4 * steps * k.Lanes,
		C: unsafe.Pointer(&c[0]), CRow: 4 * n, CVec: 4 * k.Lanes, TapsV: unsafe.Pointer(unsafe.SliceData(tv)), NV: len(tv),
		Taps1: unsafe.Pointer(unsafe.SliceData(t1)), N1: len(t1), NMask: k.Lanes}
	best := time.Duration(1 << 62) // of single runs: other work on the machine only ever adds
	for b.Loop() {
		start := time.Now()
		if v > 0 {
			k.part(1, m, v, &a)
		} else {
			k.Run(m, n, &a)
		}
		best = min(best, time.Since(start))
	}
	g := 2 * float64(m) * float64(n) * float64(steps) / float64(best.Nanoseconds())
	b.ReportMetric(g, "GFLOP/s")
	b.ReportMetric(100*g/peak, "%peak")
}
