package window_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/dw"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/window"
)

func pointer(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

func taps(t []window.Tap) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(t)) }

func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func axis(rng *rand.Rand) window.Axis {
	a := window.Axis{In: 1 + rng.IntN(20), Kernel: 1 + rng.IntN(7), Stride: 1 + rng.IntN(3), Dilation: 1 + rng.IntN(3), Before: rng.IntN(5)}
	after := rng.IntN(5)
	a.Out = (a.In+a.Before+after-(a.Kernel-1)*a.Dilation-1)/a.Stride + 1
	if a.In+a.Before+after < (a.Kernel-1)*a.Dilation+1 {
		return axis(rng)
	}
	return a
}

// image is a window over an image of several channel blocks.
type image struct {
	y, x                  window.Axis
	in                    []float32 // [block][y][x][lanes]
	lanes, blocks, output int       // channel blocks of input and output
}

func (m image) strides() window.Strides {
	return window.Strides{Pixel: 4 * m.lanes, Line: 4 * m.lanes * m.x.In, Block: 4 * m.lanes * m.x.In * m.y.In,
		Tap: 4 * m.lanes * m.blocks * m.lanes, TapBlock: 4 * m.lanes * m.lanes}
}

// at is the input of channel c for output (oy, ox) and tap (ky, kx).
func (m image) at(c, oy, ox, ky, kx int) float64 {
	iy, ix := oy*m.y.Stride-m.y.Before+ky*m.y.Dilation, ox*m.x.Stride-m.x.Before+kx*m.x.Dilation
	if iy < 0 || iy >= m.y.In || ix < 0 || ix >= m.x.In {
		return 0
	}
	return float64(m.in[((c/m.lanes*m.y.In+iy)*m.x.In+ix)*m.lanes+c%m.lanes])
}

// eachOutput compares got [block][y][x][lanes] with the sum of term over taps and, for a dense
// convolution, input channels.
func (m image) compare(t *testing.T, got []float32, term func(o, oy, ox, ky, kx int) float64) {
	t.Helper()
	for o := range m.output * m.lanes {
		for oy := range m.y.Out {
			for ox := range m.x.Out {
				sum := 0.0
				for ky := range m.y.Kernel {
					for kx := range m.x.Kernel {
						sum += term(o, oy, ox, ky, kx)
					}
				}
				g := got[((o/m.lanes*m.y.Out+oy)*m.x.Out+ox)*m.lanes+o%m.lanes]
				if d := math.Abs(sum - float64(g)); !(d <= 1e-4) {
					t.Fatalf("%+v %+v: channel %d (%d, %d) = %g, want %g", m.y, m.x, o, oy, ox, g, sum)
				}
			}
		}
	}
}

// sizeOf is the number of lines of a region, and of outputs in each.
func sizeOf(r window.Region) (lines, columns int) { return r.Y.Hi - r.Y.Lo, r.X.Hi - r.X.Lo }

// depthwise runs one channel block by regions.
func depthwise(k dw.Kernel, y, x window.Axis, in, w, out []float32) {
	s := window.Strides{Pixel: 4 * k.Lanes, Line: 4 * k.Lanes * x.In, Tap: 4 * k.Lanes}
	for _, r := range window.Regions(y, x, 0, y.Out) {
		list := r.Taps(y, x, 1, s)
		lines, columns := sizeOf(r)
		k.Grid(dw.Sum, lines, columns, &dw.Args{A: pointer(in), Taps: taps(list), N: len(list), W: pointer(w),
			RowStride: x.Stride * s.Pixel, AStep: y.Stride * s.Line,
			C: pointer(out[(r.Y.Lo*x.Out+r.X.Lo)*k.Lanes:]), CRow: 4 * k.Lanes, CStep: 4 * k.Lanes * x.Out})
	}
}

func TestDepthwise(t *testing.T) {
	for _, level := range cpu.Levels() {
		k := dw.For(level)
		rng := rand.New(rand.NewPCG(1, uint64(level)))
		for range 60 {
			m := image{y: axis(rng), x: axis(rng), lanes: k.Lanes, blocks: 1, output: 1}
			n := m.y.Kernel * m.x.Kernel
			m.in = random(rng, m.y.In*m.x.In*k.Lanes)
			w := random(rng, n*k.Lanes)
			want := func(o, oy, ox, ky, kx int) float64 {
				return float64(w[(ky*m.x.Kernel+kx)*k.Lanes+o]) * m.at(o, oy, ox, ky, kx)
			}
			out := make([]float32, m.y.Out*m.x.Out*k.Lanes)
			depthwise(k, m.y, m.x, m.in, w, out)
			m.compare(t, out, want)

			padded := random(rng, window.PaddedSize(m.y, m.x, k.Lanes, 0, m.y.Out))
			window.Pad(padded, m.in, m.y, m.x, k.Lanes, 0, m.y.Out, 0)
			py, px := m.y.Padded(), m.x.Padded()
			if n := len(window.Regions(py, px, 0, py.Out)); n != 1 {
				t.Fatalf("%+v %+v padded: %d regions, want 1", py, px, n)
			}
			clear(out)
			depthwise(k, py, px, padded, w, out)
			m.compare(t, out, want)
		}
	}
}

// convolutionParts are the regions of a convolution whose outputs are blocked too.
func convolutionParts(y, x window.Axis, blocks int, s window.Strides, lanes int) []gemm.Part {
	var parts []gemm.Part
	for _, r := range window.Regions(y, x, 0, y.Out) {
		lines, columns := sizeOf(r)
		parts = append(parts, gemm.Part{Lines: lines, Rows: columns, TapsV: r.Taps(y, x, blocks, s), C: 4 * lanes * (r.Y.Lo*x.Out + r.X.Lo)})
	}
	return parts
}

// A dense convolution in blocked layout is gemm over the taps of each region.
func TestConvolution(t *testing.T) {
	for _, level := range cpu.Levels() {
		k := gemm.For(level)
		rng := rand.New(rand.NewPCG(2, uint64(level)))
		for range 15 {
			m := image{y: axis(rng), x: axis(rng), lanes: k.Lanes, blocks: 1 + rng.IntN(2), output: 1 + rng.IntN(3)}
			channels, outputs := m.blocks*k.Lanes, m.output*k.Lanes
			m.in = random(rng, m.y.In*m.x.In*channels)
			depth := m.y.Kernel * m.x.Kernel * channels // (ky, kx, channel)
			w := random(rng, outputs*depth)
			packed := make([]float32, gemm.Panels(outputs, depth, k.Lanes))
			gemm.PackRows(packed, outputs, depth, k.Lanes, func(i int) []float32 { return w[i*depth : (i+1)*depth] }, nil, 0, m.output)
			out := make([]float32, m.y.Out*m.x.Out*outputs)
			s := m.strides()
			parts := convolutionParts(m.y, m.x, m.blocks, s, k.Lanes)
			args := gemm.Args{A: pointer(m.in), RowStride: m.x.Stride * s.Pixel, AStep: m.y.Stride * s.Line, W: pointer(packed),
				WStride: 4 * depth * k.Lanes, C: pointer(out), CRow: 4 * k.Lanes, CStep: 4 * k.Lanes * m.x.Out, CVec: 4 * k.Lanes * m.x.Out * m.y.Out}
			cut := rng.IntN(m.output + 1)
			k.Parts(parts, 0, cut, outputs, &args)
			k.Parts(parts, cut, m.output, outputs, &args)
			m.compare(t, out, func(o, oy, ox, ky, kx int) float64 {
				sum := 0.0
				for c := range channels {
					sum += float64(w[o*depth+(ky*m.x.Kernel+kx)*channels+c]) * m.at(c, oy, ox, ky, kx)
				}
				return sum
			})
		}
	}
}

func BenchmarkDepthwise(b *testing.B) {
	for _, level := range cpu.Levels()[1:] {
		k := dw.For(level)
		peak := cpu.Peak(level)
		for _, c := range [][3]int{{112, 3, 1}, {56, 3, 1}, {56, 3, 2}, {14, 3, 1}, {7, 3, 1}, {56, 7, 1}, {14, 7, 1}, {7, 7, 1}} {
			b.Run(fmt.Sprintf("%v/%dx%d/k=%d/s=%d", level, c[0], c[0], c[1], c[2]), func(b *testing.B) {
				benchDepthwise(b, k, peak, c[0], c[1], c[2])
			})
		}
	}
}

func benchDepthwise(b *testing.B, k dw.Kernel, peak float64, size, kernel, stride int) {
	a := window.Axis{In: size, Kernel: kernel, Stride: stride, Dilation: 1, Before: kernel / 2, Out: (size-1)/stride + 1}
	in, out := make([]float32, size*size*k.Lanes), make([]float32, a.Out*a.Out*k.Lanes)
	w := make([]float32, kernel*kernel*k.Lanes)
	pad := window.PreferPadded(a, a, 1)
	ax, src := a, in
	if pad {
		ax, src = a.Padded(), make([]float32, window.PaddedSize(a, a, k.Lanes, 0, a.Out))
	}
	s := window.Strides{Pixel: 4 * k.Lanes, Line: 4 * k.Lanes * ax.In, Tap: 4 * k.Lanes}
	var args []dw.Args
	regions := window.Regions(ax, ax, 0, ax.Out)
	for _, r := range regions {
		list := r.Taps(ax, ax, 1, s)
		args = append(args, dw.Args{A: pointer(src), Taps: taps(list), N: len(list), W: pointer(w), RowStride: stride * s.Pixel,
			AStep: stride * s.Line, C: pointer(out[(r.Y.Lo*a.Out+r.X.Lo)*k.Lanes:]), CRow: 4 * k.Lanes, CStep: 4 * k.Lanes * a.Out})
	}
	best := time.Duration(1 << 62) // of single runs: other work on the machine only ever adds
	for b.Loop() {
		start := time.Now()
		if pad {
			window.Pad(src, in, a, a, k.Lanes, 0, a.Out, 0)
		}
		for i, r := range regions {
			lines, columns := sizeOf(r)
			k.Grid(dw.Sum, lines, columns, &args[i])
		}
		best = min(best, time.Since(start))
	}
	g := 2 * float64(a.Out*a.Out*kernel*kernel*k.Lanes) / float64(best.Nanoseconds())
	b.ReportMetric(g, "GFLOP/s")
	b.ReportMetric(100*g/peak, "%peak")
	b.ReportMetric(map[bool]float64{true: 1}[pad], "padded")
}
