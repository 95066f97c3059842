package gemm

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

// coded is a compressed weight and what it means.
type coded struct {
	Compressed
	value, size [][]float32 // [N][K]; size is |value·scale| + |shift|
}

var formNames = map[Form]string{Half: "half", Int8: "int8", Lut4: "lut4"}

// newCoded draws a weight; guarded on one side.
func newCoded(t testing.TB, rng *rand.Rand, form Form, n, k, block, lanes int, scaled, shifted, half bool, tables int, side guard.Where) *coded {
	w := &coded{Compressed: Compressed{Form: form, N: n, K: k, Block: block, HalfScale: half}}
	panels, blocks := (n+lanes-1)/lanes, w.Blocks()
	w.Data = guard.Bytes(panels*form.PanelBytes(k, lanes), side, t)
	for range tables * 16 {
		w.Lut = append(w.Lut, float32(rng.NormFloat64()))
	}
	raw := make([][]float32, n)
	codes := make([][]byte, n)
	for i := range raw {
		raw[i], codes[i] = make([]float32, k), make([]byte, k)
		for s := range k {
			codes[i][s] = byte(rng.IntN(256))
			raw[i][s] = decoded(w, codes[i][s], i/lanes, s)
		}
	}
	pack(w, codes, lanes, panels)
	scale, shift := constant(n, blocks, 1), constant(n, blocks, 0)
	if scaled {
		w.Scale = numbers(t, rng, scale, n, blocks, lanes, half, side)
	}
	if shifted {
		w.Shift = numbers(t, rng, shift, n, blocks, lanes, half, side)
	}
	w.value, w.size = raw, constant(n, k, 0)
	for i := range raw {
		for s := range k {
			p, q := raw[i][s]*scale[i][s/block], shift[i][s/block]
			w.size[i][s] = float32(math.Abs(float64(p)) + math.Abs(float64(q)))
			raw[i][s] = p + q
		}
	}
	return w
}

// halves are a few exact float16 and their values.
var halves = map[uint16]float32{0x3c00: 1, 0xbc00: -1, 0x3800: 0.5, 0x0001: 0x1p-24, 0x8400: -0x1p-14, 0x4100: 2.5, 0x35ab: 0.3542480468750}

var halfCodes = []uint16{0x3c00, 0xbc00, 0x3800, 0x0001, 0x8400, 0x4100, 0x35ab}

func decoded(w *coded, code byte, panel, s int) float32 {
	switch w.Form {
	case Half:
		return halves[halfCodes[int(code)%len(halfCodes)]]
	case Int8:
		return float32(int8(code))
	}
	table := w.Lut
	if len(table) > 16 {
		table = table[(panel*w.Blocks()+s/w.Block)*16:]
	}
	return table[code&15]
}

func pack(w *coded, codes [][]byte, lanes, panels int) {
	switch w.Form {
	case Half:
		PackHalf(w.Data, w.N, w.K, lanes, func(i int) []uint16 {
			x := make([]uint16, w.K)
			for s, c := range codes[i] {
				x[s] = halfCodes[int(c)%len(halfCodes)]
			}
			return x
		}, 0, panels)
	case Int8:
		PackInt8(w.Data, w.N, w.K, lanes, func(i int) []int8 {
			return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(codes[i]))), w.K)
		}, 0, panels)
	case Lut4:
		PackLut4(w.Data, w.N, w.K, lanes, func(i int) []byte {
			x := make([]byte, w.K/2)
			for s, c := range codes[i] {
				x[s/2] |= c & 15 << (s % 2 * 4)
			}
			return x
		}, 0, panels)
	}
}

func constant(n, k int, x float32) [][]float32 {
	c := make([][]float32, n)
	for i := range c {
		c[i] = make([]float32, k)
		for j := range c[i] {
			c[i][j] = x
		}
	}
	return c
}

// numbers draws scales into x and packs them.
func numbers(t testing.TB, rng *rand.Rand, x [][]float32, n, blocks, lanes int, half bool, side guard.Where) []byte {
	panels := (n + lanes - 1) / lanes
	codes := make([][]uint16, n)
	for i := range x {
		codes[i] = make([]uint16, blocks)
		for b := range x[i] {
			codes[i][b] = halfCodes[rng.IntN(len(halfCodes))]
			x[i][b] = halves[codes[i][b]]
		}
	}
	if half {
		dst := guard.Bytes(2*panels*blocks*lanes, side, t)
		PackScales(dst, n, blocks, lanes, func(i int) []uint16 { return codes[i] }, 0, panels)
		return dst
	}
	dst := guard.Bytes(4*panels*blocks*lanes, side, t)
	PackScales(dst, n, blocks, lanes, func(i int) []uint32 {
		bits := make([]uint32, blocks)
		for b, v := range x[i] {
			bits[b] = math.Float32bits(v)
		}
		return bits
	}, 0, panels)
	return dst
}

// check multiplies m rows and compares with float64, within a few roundings of a random walk.
func (w *coded) check(t *testing.T, rng *rand.Rand, k Kernel, m int, side guard.Where) []float32 {
	t.Helper()
	x := guard.Copy(random(rng, make([]float32, m*w.K)), side, t)
	bias := guard.Copy(random(rng, make([]float32, w.N)), side, t)
	c := guard.Floats(m*w.N, side, t)
	panels := (w.N + k.Lanes - 1) / k.Lanes
	a := Args{A: pointer(x), RowStride: 4 * w.K, C: pointer(c), CRow: 4 * w.N, CVec: 4 * k.Lanes, Bias: pointer(bias), Lo: -9, Flags: AtLeast}
	cut := rng.IntN(panels + 1)
	scratch := make([]float32, k.ScratchSize(&w.Compressed, m))
	k.Compressed(&w.Compressed, 0, cut, m, &a, scratch)
	k.Compressed(&w.Compressed, cut, panels, m, &a, scratch)
	for r := range m {
		for i := range w.N {
			sum, size := float64(bias[i]), 1.0
			for s := range w.K {
				y := float64(x[r*w.K+s])
				sum, size = sum+y*float64(w.value[i][s]), size+math.Abs(y)*float64(w.size[i][s])
			}
			if d := math.Abs(max(sum, -9) - float64(c[r*w.N+i])); !(d <= 1e-6*size+2e-7*size*math.Sqrt(float64(w.K))) {
				t.Fatalf("%s [%d][%d] block %d, %d rows: c[%d][%d] = %g, want %g", formNames[w.Form], w.N, w.K, w.Block, m, r, i, c[r*w.N+i], sum)
			}
		}
	}
	return c
}

func TestCompressed(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		for form, name := range formNames {
			t.Run(name, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(6, uint64(k.Level)))
				for i := range 120 {
					n, steps := 1+rng.IntN(100), 1+rng.IntN(90)
					block := 1 + rng.IntN(steps)
					if i%10 == 0 {
						steps = chunkSteps + rng.IntN(chunkSteps)
						block = steps >> rng.IntN(3)
					}
					tables := 0
					if form == Lut4 {
						steps, block, tables = (steps+7)&^7, (block+7)&^7, 1
					}
					block = min(block, steps)
					if form == Lut4 && rng.IntN(3) == 0 {
						tables = (n + k.Lanes - 1) / k.Lanes * ((steps + block - 1) / block)
					}
					scaled := rng.IntN(3) > 0
					side := guard.Where(i % 2)
					w := newCoded(t, rng, form, n, steps, block, k.Lanes, scaled, scaled && rng.IntN(2) == 0, rng.IntN(2) == 0, tables, side)
					w.check(t, rng, k, 1+rng.IntN(7), side)
				}
			})
		}
	})
}

// Rows must not influence one another, nor the number of panels in a call.
// TestExpandedWeightsAreRounded multiplies by the unit matrix, which gives the weights back.
func TestExpandedWeightsAreRounded(t *testing.T) {
	for _, k := range kernels {
		if !cpu.Has(k.Level) {
			continue
		}
		for form := range formNames {
			n, depth := 2*k.Lanes+3, 24
			w := newCoded(t, rand.New(rand.NewPCG(5, 6)), form, n, depth, 8, k.Lanes, true, true, false, 1, guard.After)
			w.Round = true
			unit := make([]float32, depth*depth)
			for i := range depth {
				unit[i*depth+i] = 1
			}
			c := make([]float32, depth*n)
			a := Args{A: pointer(unit), RowStride: 4 * depth, C: pointer(c), CRow: 4 * n, CVec: 4 * k.Lanes}
			k.Compressed(&w.Compressed, 0, (n+k.Lanes-1)/k.Lanes, depth, &a, make([]float32, k.ScratchSize(&w.Compressed, depth)))
			for s := range depth {
				for i := range n {
					if got, want := c[s*n+i], nearestHalf(w.value[i][s]); got != want {
						t.Fatalf("%v %s: weight %d of column %d is %g, want %g", k.Level, formNames[form], s, i, got, want)
					}
				}
			}
		}
	}
}

func TestCompressedSplitsChangeNoBit(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		for form, name := range formNames {
			rng := rand.New(rand.NewPCG(7, uint64(k.Level)))
			tables := 0
			if form == Lut4 {
				tables = 1
			}
			w := newCoded(t, rng, form, 9*k.Lanes-3, 2*chunkSteps+24, 32, k.Lanes, true, true, true, tables, guard.After)
			x := random(rng, make([]float32, FewRows*w.K))
			run := func(m, lo, hi int, c []float32) {
				a := Args{A: pointer(x), RowStride: 4 * w.K, C: pointer(c), CRow: 4 * w.N, CVec: 4 * k.Lanes}
				k.Compressed(&w.Compressed, lo, hi, m, &a, make([]float32, k.ScratchSize(&w.Compressed, m)))
			}
			want := make([]float32, FewRows*w.N)
			run(FewRows, 0, 9, want)
			for m := 1; m <= FewRows; m++ {
				got := make([]float32, m*w.N)
				for p := range 9 {
					run(m, p, p+1, got)
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("%s: %d rows, panel by panel: c[%d] = %g, want %g", name, m, i, got[i], want[i])
					}
				}
			}
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	eachKernel(t, func(t *testing.T, k Kernel) {
		if k.Level == cpu.Generic {
			t.Skip("the reference of compressed weights allocates")
		}
		rng := rand.New(rand.NewPCG(11, 11))
		d := newDense(rng, 20, 40, 30, k.Lanes)
		if n := testing.AllocsPerRun(10, func() { d.run(k, 0, d.m, d.c) }); n != 0 {
			t.Errorf("Run: %g allocations, want none", n)
		}
		w := newCoded(t, rng, Lut4, 40, 64, 32, k.Lanes, true, true, true, 1, guard.After)
		for _, m := range []int{1, 9} {
			x, c := make([]float32, m*w.K), make([]float32, m*w.N)
			scratch := make([]float32, k.ScratchSize(&w.Compressed, m))
			n := testing.AllocsPerRun(10, func() {
				a := Args{A: pointer(x), RowStride: 4 * w.K, C: pointer(c), CRow: 4 * w.N, CVec: 4 * k.Lanes}
				k.Compressed(&w.Compressed, 0, (w.N+k.Lanes-1)/k.Lanes, m, &a, scratch)
			})
			if n != 0 {
				t.Errorf("Compressed, %d rows: %g allocations, want none", m, n)
			}
		}
	})
}

func BenchmarkCompressed(b *testing.B) {
	for _, k := range kernels[1:] {
		if !cpu.Has(k.Level) {
			continue
		}
		for _, form := range []Form{Half, Int8, Lut4} {
			for _, m := range []int{1, 4, 16, 128} {
				b.Run(fmt.Sprintf("%v/%s/m=%d", k.Level, formNames[form], m), func(b *testing.B) { benchCompressed(b, k, form, m) })
			}
		}
	}
}

func benchCompressed(b *testing.B, k Kernel, form Form, m int) {
	const n, steps = 1024, 1024
	w := Compressed{Form: form, N: n, K: steps, Block: 32, HalfScale: true}
	w.Data = make([]byte, n/k.Lanes*form.PanelBytes(steps, k.Lanes))
	w.Scale = make([]byte, 2*n*w.Blocks())
	w.Lut = make([]float32, 16)
	x, c := make([]float32, m*steps), make([]float32, m*n)
	a := Args{A: pointer(x), RowStride: 4 * steps, C: pointer(c), CRow: 4 * n, CVec: 4 * k.Lanes}
	scratch := make([]float32, k.ScratchSize(&w, m))
	best := time.Duration(1 << 62)
	for b.Loop() {
		start := time.Now()
		k.Compressed(&w, 0, n/k.Lanes, m, &a, scratch)
		best = min(best, time.Since(start))
	}
	b.ReportMetric(2*float64(m)*n*steps/float64(best.Nanoseconds()), "GFLOP/s")
	b.ReportMetric(float64(len(w.Data)+len(w.Scale))/float64(best.Nanoseconds()), "GB/s")
	b.ReportMetric(float64(best.Microseconds()), "µs")
}
