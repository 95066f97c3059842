package emit

// Arithmetic on vectors of float32, and on the same registers as vectors of 32-bit words.
// The destination comes first; b may be a Vec or a Mem where its type is any.

// Add, Sub, Mul and Div are d = a op b.
func (f *Func) Add(d, a Vec, b any) { f.Raw("VADDPS", b, a, d) }
func (f *Func) Sub(d, a Vec, b any) { f.Raw("VSUBPS", b, a, d) }
func (f *Func) Mul(d, a Vec, b any) { f.Raw("VMULPS", b, a, d) }
func (f *Func) Div(d, a Vec, b any) { f.Raw("VDIVPS", b, a, d) }

// Max is d = a > b ? a : b, and Min d = a < b ? a : b: where one is NaN, or both
// are zeros, the answer is b.
func (f *Func) Max(d, a Vec, b any) { f.Raw("VMAXPS", b, a, d) }
func (f *Func) Min(d, a Vec, b any) { f.Raw("VMINPS", b, a, d) }

// Sqrt is d = √a.
func (f *Func) Sqrt(d Vec, a any) { f.Raw("VSQRTPS", a, d) }

// FMA is acc += a*b with one rounding, FNMA acc -= a*b.
func (f *Func) FMA(acc, a Vec, b any)  { f.Raw("VFMADD231PS", b, a, acc) }
func (f *Func) FNMA(acc, a Vec, b any) { f.Raw("VFNMADD231PS", b, a, acc) }

// MulAdd is d = d*a + b with one rounding: a step of Horner's rule.
func (f *Func) MulAdd(d, a Vec, b any) { f.Raw("VFMADD213PS", b, a, d) }

// FMALane is acc += a * lane, lane being one float32 in memory. Without an embedded
// broadcast, t is overwritten.
func (f *Func) FMALane(acc, a Vec, lane Mem, t Vec) {
	if f.T.Masks {
		f.Raw("VFMADD231PS.BCST", lane, a, acc)
		return
	}
	f.Splat(t, lane)
	f.FMA(acc, a, t)
}

// Rounding modes of Round.
const (
	Nearest = 0 // ties to even
	Floor   = 1
	Ceil    = 2
	Trunc   = 3
)

// Round rounds to an integral float32 without raising the inexact flag.
func (f *Func) Round(d Vec, a any, mode int) {
	if f.T.Lanes == 16 {
		f.Raw("VRNDSCALEPS", Imm(mode|8), a, d)
		return
	}
	f.Raw("VROUNDPS", Imm(mode|8), a, d)
}

// ToInt rounds to the nearest int32 (ties to even), TruncInt toward zero, ToFloat converts back.
func (f *Func) ToInt(d Vec, a any)    { f.Raw("VCVTPS2DQ", a, d) }
func (f *Func) TruncInt(d Vec, a any) { f.Raw("VCVTTPS2DQ", a, d) }
func (f *Func) ToFloat(d Vec, a any)  { f.Raw("VCVTDQ2PS", a, d) }

// AddInt, SubInt and MulInt work on 32-bit words.
func (f *Func) AddInt(d, a Vec, b any) { f.Raw("VPADDD", b, a, d) }
func (f *Func) SubInt(d, a Vec, b any) { f.Raw("VPSUBD", b, a, d) }
func (f *Func) MulInt(d, a Vec, b any) { f.Raw("VPMULLD", b, a, d) }

// Shl, Shr and Sar shift 32-bit words by n: left, right with zeros, right with the sign.
func (f *Func) Shl(d, a Vec, n int) { f.Raw("VPSLLD", Imm(n), a, d) }
func (f *Func) Shr(d, a Vec, n int) { f.Raw("VPSRLD", Imm(n), a, d) }
func (f *Func) Sar(d, a Vec, n int) { f.Raw("VPSRAD", Imm(n), a, d) }

// And, Or, Xor combine bits; AndNot is d = ^a & b.
func (f *Func) And(d, a Vec, b any)    { f.bits("VPAND", d, a, b) }
func (f *Func) Or(d, a Vec, b any)     { f.bits("VPOR", d, a, b) }
func (f *Func) Xor(d, a Vec, b any)    { f.bits("VPXOR", d, a, b) }
func (f *Func) AndNot(d, a Vec, b any) { f.bits("VPANDN", d, a, b) }

func (f *Func) bits(mnemonic string, d, a Vec, b any) {
	if f.T.Masks {
		mnemonic += "D"
	}
	f.Raw(mnemonic, b, a, d)
}

// Pred is a comparison of floats; all but NotLess, NotLessEqual and Unordered are false on NaN.
type Pred int

// The predicates, with the processor's numbers (quiet forms where they exist).
const (
	Equal        Pred = 0x00
	Less         Pred = 0x11
	LessEqual    Pred = 0x12
	Unordered    Pred = 0x03
	NotEqual     Pred = 0x04
	NotLess      Pred = 0x15
	NotLessEqual Pred = 0x16
	GreaterEqual Pred = 0x1d
	Greater      Pred = 0x1e
)

// Cmp allocates the mask of the lanes where a p b holds.
func (f *Func) Cmp(p Pred, a Vec, b any) Mask {
	m := f.mask()
	f.Raw("VCMPPS", Imm(p), b, a, m)
	return m
}

// Select is d = k ? b : a.
func (f *Func) Select(d, a Vec, b any, k Mask) {
	if f.T.Masks {
		f.Raw("VBLENDMPS", b, a, k, d)
		return
	}
	f.Raw("VBLENDVPS", k, b, a, d)
}

// Widen16 converts float16 in memory, a half vector, to float32; Narrow16 rounds (ties to
// even) and stores a half vector.
func (f *Func) Widen16(d Vec, m Mem)  { f.Raw("VCVTPH2PS", m, d) }
func (f *Func) Narrow16(m Mem, a Vec) { f.Raw("VCVTPS2PH", Imm(0), a, m) }

// SumLanes leaves the sum of all lanes of a in every path's lane 0; a and t are overwritten.
// The order is that of halving: lane i is added to lane i + n/2.
func (f *Func) SumLanes(a, t Vec) { f.reduce("VADDPS", a, t) }

// MaxLanes leaves the maximum of all lanes in lane 0 of a; NaN is not propagated reliably.
func (f *Func) MaxLanes(a, t Vec) { f.reduce("VMAXPS", a, t) }

// MinLanes is MaxLanes of the minimum.
func (f *Func) MinLanes(a, t Vec) { f.reduce("VMINPS", a, t) }

func (f *Func) reduce(mnemonic string, a, t Vec) {
	if f.T.Lanes == 16 {
		f.Raw("VEXTRACTF64X4", Imm(1), a, Ymm(t))
		f.Raw(mnemonic, Ymm(t), Ymm(a), Ymm(a))
	}
	if f.T.Masks {
		f.Raw("VEXTRACTF32X4", Imm(1), Ymm(a), Xmm(t))
	} else {
		f.Raw("VEXTRACTF128", Imm(1), Ymm(a), Xmm(t))
	}
	f.Raw(mnemonic, Xmm(t), Xmm(a), Xmm(a))
	f.Raw("VPERMILPS", Imm(0x0e), Xmm(a), Xmm(t))
	f.Raw(mnemonic, Xmm(t), Xmm(a), Xmm(a))
	f.Raw("VPERMILPS", Imm(0x01), Xmm(a), Xmm(t))
	f.Raw(mnemonic, Xmm(t), Xmm(a), Xmm(a))
}

// StoreLane0 writes lane 0 of a.
func (f *Func) StoreLane0(m Mem, a Vec) { f.Raw("VMOVSS", Xmm(a), m) }

// SplatLane0 fills d with lane 0 of a.
func (f *Func) SplatLane0(d, a Vec) { f.Raw("VBROADCASTSS", Xmm(a), d) }
