package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// half is the value of float16 bits by the definition of the format.
func half(h uint16) float64 {
	sign := 1.0
	if h>>15 != 0 {
		sign = -1
	}
	e, m := int(h>>10&31), float64(h&1023)
	switch e {
	case 0:
		return sign * math.Ldexp(m, -24)
	case 31:
		if m != 0 {
			return math.NaN()
		}
		return sign * math.Inf(1)
	}
	return sign * math.Ldexp(1024+m, e-25)
}

func TestFromF16(t *testing.T) {
	src := make([]uint16, 1<<16+5)
	for i := range src {
		src[i] = uint16(i)
	}
	dst := make([]float32, len(src))
	for _, f := range levels {
		f.FromF16(dst, src)
		for i, h := range src {
			want := half(h)
			if got := float64(dst[i]); got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (h>>15 != 0) {
				t.Fatalf("%v FromF16(%#04x) = %g, want %g", f.Level, h, got, want)
			}
		}
		f.FromBF16(dst, src)
		for i, h := range src {
			if math.Float32bits(dst[i]) != uint32(h)<<16 {
				t.Fatalf("%v FromBF16(%#04x) = %g", f.Level, h, dst[i])
			}
		}
	}
}

// TestToF16: every float16, and the neighbours of every midpoint between two, rounds to the nearest, ties to even.
func TestToF16(t *testing.T) {
	var src []float32
	var want []uint16
	add := func(x float32, h uint16) {
		src, want = append(src, x, -x), append(want, h, h|0x8000)
	}
	for h := range uint16(0x7c00) {
		add(float32(half(h)), h)
		next := half(h + 1)
		if h == 0x7bff {
			next = 65536
		}
		mid := float32((half(h) + next) / 2)
		add(math.Nextafter32(mid, 0), h)
		add(mid, h+h&1)
		add(math.Nextafter32(mid, 1e9), h+1)
	}
	add(float32(math.Inf(1)), 0x7c00)
	add(math.MaxFloat32, 0x7c00)
	add(math.SmallestNonzeroFloat32, 0)
	dst, rounded := make([]uint16, len(src)), make([]float32, len(src))
	for _, f := range levels {
		f.ToF16(dst, src)
		f.RoundF16(rounded, src)
		for i, x := range src {
			if dst[i] != want[i] {
				t.Fatalf("%v ToF16(%g) = %#04x, want %#04x", f.Level, x, dst[i], want[i])
			}
			if float64(rounded[i]) != half(want[i]) {
				t.Fatalf("%v RoundF16(%g) = %g, want %g", f.Level, x, rounded[i], half(want[i]))
			}
		}
	}
}

// TestNaNPayloads: levels agree on the bits of NaN in float16.
func TestNaNPayloads(t *testing.T) {
	src := make([]float32, 1000)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range src {
		src[i] = math.Float32frombits(0x7f800000 | r.Uint32()&0x807fffff | 1<<(r.Uint32()%23))
	}
	want, got := make([]uint16, len(src)), make([]uint16, len(src))
	levels[0].ToF16(want, src)
	for _, f := range levels {
		f.ToF16(got, src)
		for i := range got {
			if got[i] != want[i] || !math.IsNaN(half(got[i])) {
				t.Fatalf("%v ToF16(%#08x) = %#04x, want %#04x", f.Level, math.Float32bits(src[i]), got[i], want[i])
			}
		}
	}
}

func TestToBF16(t *testing.T) {
	src := samples(10_000)
	dst := make([]uint16, len(src))
	for _, f := range levels {
		f.ToBF16(dst, src)
		for i, x := range src {
			got := math.Float32frombits(uint32(dst[i]) << 16)
			if isNaN(x) != isNaN(got) {
				t.Fatalf("%v ToBF16(%g) = %g", f.Level, x, got)
			}
			below := math.Float32frombits(math.Float32bits(x) &^ 0xffff)
			above := math.Float32frombits(math.Float32bits(x)&^0xffff + 0x10000)
			d := math.Abs(float64(got) - float64(x))
			if !isNaN(x) && !math.IsInf(float64(above), 0) && !math.IsInf(float64(x), 0) &&
				d > min(math.Abs(float64(below)-float64(x)), math.Abs(float64(above)-float64(x))) {
				t.Fatalf("%v ToBF16(%g) = %g, between %g and %g", f.Level, x, got, below, above)
			}
		}
	}
}

func TestQuantize(t *testing.T) {
	for _, f := range levels {
		for n := range 80 {
			x := row(n, 0)
			if n > 4 {
				x[0], x[1], x[2], x[3] = float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0.25
			}
			s8, u8, back := make([]int8, n), make([]uint8, n), make([]float32, n)
			f.ToInt8(s8, x, 0.1, -3)
			f.ToUint8(u8, x, 0.1, 128)
			for i, v := range x {
				q := math.RoundToEven(float64(v / 0.1))
				if isNaN(v) {
					q = 0
				}
				if want := min(max(q-3, -128), 127); float64(s8[i]) != want {
					t.Fatalf("%v ToInt8(%g) = %d, want %g", f.Level, v, s8[i], want)
				}
				if want := min(max(q+128, 0), 255); float64(u8[i]) != want {
					t.Fatalf("%v ToUint8(%g) = %d, want %g", f.Level, v, u8[i], want)
				}
			}
			f.FromInt8(back, s8, 0.1, -3)
			for i, q := range s8 {
				if want := (float32(q) + 3) * 0.1; back[i] != want {
					t.Fatalf("%v FromInt8(%d) = %g, want %g", f.Level, q, back[i], want)
				}
			}
			f.FromUint8(back, u8, 0.1, 128)
			for i, q := range u8 {
				if want := (float32(q) - 128) * 0.1; back[i] != want {
					t.Fatalf("%v FromUint8(%d) = %g, want %g", f.Level, q, back[i], want)
				}
			}
		}
	}
}

func TestTranspose(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, f := range levels {
		for range 400 {
			rows, cols := r.IntN(70), r.IntN(70)
			dstStride, srcStride := rows+r.IntN(5), cols+r.IntN(5)
			src, dst := row(rows*srcStride, 0), make([]float32, cols*dstStride)
			for i := range dst {
				dst[i] = 42
			}
			f.Transpose(dst, dstStride, src, srcStride, rows, cols)
			for i, got := range dst {
				want := float32(42)
				if c, r := i/dstStride, i%dstStride; r < rows {
					want = src[r*srcStride+c]
				}
				if got != want {
					t.Fatalf("%v Transpose %d × %d: element %d is %g, want %g", f.Level, rows, cols, i, got, want)
				}
			}
		}
		f.Transpose(nil, 1, nil, 1, 0, 5)
		f.Transpose(nil, 1, nil, 1, 5, 0)
	}
}

func TestBlocked(t *testing.T) {
	for _, f := range levels {
		for _, lanes := range []int{1, 4, 8, 16} {
			for _, channels := range []int{1, 3, 8, 16, 17, 40} {
				for _, pixels := range []int{1, 7, 16, 49, 130} {
					blocks := (channels + lanes - 1) / lanes
					src, back := row(channels*pixels, 0), make([]float32, channels*pixels)
					dst := make([]float32, blocks*lanes*pixels)
					for i := range dst {
						dst[i] = float32(math.NaN())
					}
					what := fmt.Sprintf("%v block %d of %d × %d", f.Level, lanes, channels, pixels)
					f.ToBlocked(dst, src, channels, pixels, lanes)
					for i, got := range dst {
						c, p := i/(pixels*lanes)*lanes+i%lanes, i/lanes%pixels
						want := float32(0)
						if c < channels {
							want = src[c*pixels+p]
						}
						if got != want {
							t.Fatalf("%s: channel %d, pixel %d is %g, want %g", what, c, p, got, want)
						}
					}
					f.FromBlocked(back, dst, channels, pixels, lanes)
					equal(t, what, back, src)
				}
			}
		}
	}
}
