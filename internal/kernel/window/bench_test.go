package window_test

import (
	"fmt"
	"testing"
	"time"

	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/window"
)

func BenchmarkConvolution(b *testing.B) {
	for _, level := range cpu.Levels()[1:] {
		k := gemm.For(level)
		peak := cpu.Peak(level)
		for _, c := range [][5]int{{56, 64, 64, 3, 1}, {56, 128, 128, 3, 2}, {14, 256, 256, 3, 1}, {7, 512, 512, 3, 1}, {28, 128, 128, 1, 1}, {28, 64, 64, 5, 1}} {
			b.Run(fmt.Sprintf("%v/%dx%d/%d-%d/k=%d/s=%d", level, c[0], c[0], c[1], c[2], c[3], c[4]), func(b *testing.B) {
				benchConvolution(b, k, peak, c[0], c[1], c[2], c[3], c[4])
			})
		}
	}
}

func benchConvolution(b *testing.B, k gemm.Kernel, peak float64, size, channels, outputs, kernel, stride int) {
	a := window.Axis{In: size, Kernel: kernel, Stride: stride, Dilation: 1, Before: kernel / 2, Out: (size-1)/stride + 1}
	depth := kernel * kernel * channels
	in, out := make([]float32, size*size*channels), make([]float32, a.Out*a.Out*outputs)
	w := make([]float32, depth*outputs)
	s := image{y: a, x: a, lanes: k.Lanes, blocks: channels / k.Lanes}.strides()
	parts := convolutionParts(a, a, channels/k.Lanes, s, k.Lanes)
	args := gemm.Args{A: pointer(in), RowStride: stride * s.Pixel, AStep: stride * s.Line, W: pointer(w), WStride: 4 * depth * k.Lanes,
		C: pointer(out), CRow: 4 * k.Lanes, CStep: 4 * k.Lanes * a.Out, CVec: 4 * k.Lanes * a.Out * a.Out}
	best := time.Duration(1 << 62) // of single runs: other work on the machine only ever adds
	for b.Loop() {
		start := time.Now()
		k.Parts(parts, 0, outputs/k.Lanes, outputs, &args)
		best = min(best, time.Since(start))
	}
	inside := 0
	for _, p := range parts {
		inside += p.Lines * p.Rows * len(p.TapsV) * k.Lanes / channels
	}
	g := 2 * float64(inside*channels*outputs) / float64(best.Nanoseconds())
	b.ReportMetric(g, "GFLOP/s")
	b.ReportMetric(100*g/peak, "%peak")
	b.ReportMetric(float64(a.Out*a.Out*kernel*kernel)/float64(inside), "all/inside")
}
