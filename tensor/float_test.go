package tensor

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// minifloat is a reference for the short floats: what their bits mean, written
// down from the definition.
type minifloat struct {
	name           string
	exponent, frac int
	infinite       bool // the greatest exponent means infinity and NaN
	widen          func(uint16) float32
	narrow         func(float32) uint16
}

var minifloats = []minifloat{
	{"fp16", 5, 10, true, F32, F16},
	{"bf16", 8, 7, true, BF32, BF16},
	{"fp8e4m3fn", 4, 3, false, func(h uint16) float32 { return F8E4M3ToF32(byte(h)) }, nil},
	{"fp8e5m2", 5, 2, true, func(h uint16) float32 { return F8E5M2ToF32(byte(h)) }, nil},
}

func (m minifloat) bits() int { return 1 + m.exponent + m.frac }

// value returns what bits mean, by the definition of a binary float.
func (m minifloat) value(bits int) float64 {
	sign := 1.0
	if bits>>(m.exponent+m.frac) == 1 {
		sign = -1
	}
	bias := 1<<(m.exponent-1) - 1
	last := 1<<m.exponent - 1
	e, f := bits>>m.frac&last, bits&(1<<m.frac-1)
	switch {
	case m.infinite && e == last && f == 0:
		return sign * math.Inf(1)
	case m.infinite && e == last, e == last && f == 1<<m.frac-1:
		return math.NaN()
	case e == 0:
		return sign * math.Ldexp(float64(f), 1-bias-m.frac)
	}
	return sign * math.Ldexp(float64(f+1<<m.frac), e-bias-m.frac)
}

func TestWidenAllShortFloats(t *testing.T) {
	for _, m := range minifloats {
		for b := range 1 << m.bits() {
			got, want := float64(m.widen(uint16(b))), m.value(b)
			if got != want && !(got != got && want != want) || math.Signbit(got) != (b>>(m.bits()-1) == 1) {
				t.Fatalf("%s %#x: %v, want %v", m.name, b, got, want)
			}
		}
	}
}

func TestNarrowKeepsAllShortFloats(t *testing.T) {
	for _, m := range minifloats[:2] {
		quiet := uint16(1) << (m.frac - 1)
		for b := range uint16(math.MaxUint16) {
			want := b
			if f := m.widen(b); f != f {
				want |= quiet
			}
			if got := m.narrow(m.widen(b)); got != want {
				t.Fatalf("%s %#x: back as %#x, want %#x", m.name, b, got, want)
			}
		}
	}
}

// The midpoint of two neighbours goes to the even one, and the float32s next to
// the midpoint go to the nearer one: with monotony that is all of rounding.
func TestNarrowRoundsToNearestEven(t *testing.T) {
	for _, m := range minifloats[:2] {
		infinity := uint16(1<<m.exponent-1) << m.frac
		for low := range infinity {
			high, even := low+1, low+low&1
			top := m.value(int(high))
			if high == infinity { // as if the exponent went on
				top = math.Ldexp(1, 1<<(m.exponent-1))
			}
			mid := float32((m.value(int(low)) + top) / 2)
			for _, c := range []struct {
				f    float32
				want uint16
			}{
				{math.Nextafter32(mid, 0), low}, {mid, even}, {math.Nextafter32(mid, math.MaxFloat32), high},
			} {
				for _, sign := range []uint16{0, 0x8000} {
					f := c.f
					if sign != 0 {
						f = -f
					}
					if got := m.narrow(f); got != c.want|sign {
						t.Fatalf("%s(%v) = %#x, want %#x", m.name, f, got, c.want|sign)
					}
				}
			}
		}
	}
}

func TestNarrowIsMonotone(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, m := range minifloats[:2] {
		for range 1_000_000 {
			a := rng.Uint32N(f32Inf)
			b := a + 1 + rng.Uint32N(f32Inf-a)>>rng.Uint32N(24)
			ha, hb := m.narrow(math.Float32frombits(a)), m.narrow(math.Float32frombits(min(b, f32Inf)))
			if ha > hb {
				t.Fatalf("%s of bits %#x is %#x, of %#x is %#x", m.name, a, ha, b, hb)
			}
		}
	}
}

func TestNarrowSpecialValues(t *testing.T) {
	for _, c := range []struct {
		bits     uint32
		f16, b16 uint16
	}{
		{0x7f800000, 0x7c00, 0x7f80},
		{0xff800000, 0xfc00, 0xff80},
		{0x7f7fffff, 0x7c00, 0x7f80}, // greatest float32
		{0x7f800001, 0x7e00, 0x7fc0}, // signalling NaN
		{0xffc02000, 0xfe01, 0xffc0},
		{0x7fffffff, 0x7fff, 0x7fff},
		{0x80000001, 0x8000, 0x8000}, // least subnormal
	} {
		f := math.Float32frombits(c.bits)
		if F16(f) != c.f16 || BF16(f) != c.b16 {
			t.Errorf("%#x: fp16 %#x, bf16 %#x, want %#x, %#x", c.bits, F16(f), BF16(f), c.f16, c.b16)
		}
	}
}

func TestFloatSlicesMatchSingleConversions(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	wide := make([]float32, len(all)+1)
	F32Slice(wide, all)
	back := make([]uint16, len(all)+1)
	F16Slice(back, wide[:len(all)])
	for i, h := range all {
		if math.Float32bits(wide[i]) != math.Float32bits(F32(h)) || back[i] != F16(wide[i]) {
			t.Fatalf("%#x: %#x, back %#x", h, math.Float32bits(wide[i]), back[i])
		}
	}
	if wide[len(all)] != 0 || back[len(all)] != 0 {
		t.Error("wrote past the source's length")
	}
}

// Rounding to odd first makes the second rounding right; big.Float rounds once.
func TestOddF32AvoidsDoubleRounding(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const frac = 7 // of bf16
	wrong := 0
	for range 200_000 {
		// Close to a midpoint between two bf16.
		f := math.Ldexp(1+float64(rng.IntN(1<<(frac+1)))/(1<<(frac+1)), rng.IntN(60)-30)
		f *= 1 + float64(rng.IntN(5)-2)*0x1p-40
		once, _ := new(big.Float).SetPrec(frac + 1).SetFloat64(f).Float32()
		if got := BF32(BF16(oddF32(f))); got != once {
			t.Fatalf("%v: %v, want %v", f, got, once)
		}
		if BF32(BF16(float32(f))) != once {
			wrong++
		}
	}
	if wrong == 0 {
		t.Error("no case in which plain rounding is wrong: the test shows nothing")
	}
	for _, f := range []float64{math.Inf(1), math.MaxFloat64, -math.MaxFloat64, 5e-324, -5e-324} {
		if got, want := F16(oddF32(f)), F16(float32(f)); got != want {
			t.Errorf("%v: %#x, want %#x", f, got, want)
		}
	}
	if f := oddF32(math.NaN()); f == f {
		t.Errorf("NaN: %v", f)
	}
}

func BenchmarkF16Slice(b *testing.B) {
	src, dst := make([]float32, 4096), make([]uint16, 4096)
	for i := range src {
		src[i] = float32(i) - 2000.3
	}
	b.SetBytes(4 * 4096)
	for b.Loop() {
		F16Slice(dst, src)
	}
}

func BenchmarkF32Slice(b *testing.B) {
	src, dst := make([]uint16, 4096), make([]float32, 4096)
	for i := range src {
		src[i] = uint16(i * 7)
	}
	b.SetBytes(4 * 4096)
	for b.Loop() {
		F32Slice(dst, src)
	}
}
