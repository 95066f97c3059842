package tensor

import "math"

// Conversions between float32 and the shorter floats. Narrowing rounds to
// nearest even; widening is exact. A NaN stays a NaN of the same sign, made
// quiet, and keeps the leading bits of its payload, as the machines'
// instructions do.

const (
	f32Inf   = 0x7f800000 // exponent bits of float32
	f32Quiet = 0x00400000 // leading fraction bit of float32: a quiet NaN

	f16Normal = 0x38800000 // float32 2^-14: below it binary16 is subnormal
	f16Over   = 0x47800000 // float32 2^16: too large, or no number
)

// F16 returns the IEEE binary16 nearest to f; from 65520 on, infinity.
func F16(f float32) uint16 {
	b := math.Float32bits(f)
	sign, a := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case a > f32Inf:
		return sign | 0x7e00 | uint16(a>>13&0x3ff)
	case a >= f16Over:
		return sign | 0x7c00
	case a < f16Normal:
		// 0.5 has its last fraction bit at 2^-24, the subnormals' unit:
		// the addition does the rounding.
		return sign | uint16(math.Float32bits(math.Float32frombits(a)+0.5)-0x3f000000)
	}
	return sign | roundNormal(a)
}

// roundNormal returns the binary16 nearest to the float32 with bits a, which is
// in [2^-14, 2^16).
func roundNormal(a uint32) uint16 {
	return uint16((a + 0xfff + a>>13&1 - 112<<23) >> 13)
}

// F32 returns the value of an IEEE binary16.
func F32(h uint16) float32 {
	sign, a := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<13
	if a >= 0x7c00<<13 {
		return math.Float32frombits(sign | f32Inf | quiet(a&0x007fffff))
	}
	// Read as a float32 the exponent is too small by 112, in subnormals too.
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(a)*0x1p112))
}

// BF16 returns the bfloat16 nearest to f.
func BF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > f32Inf {
		return uint16((b | f32Quiet) >> 16)
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// BF32 returns the value of a bfloat16.
func BF32(h uint16) float32 {
	b := uint32(h) << 16
	if b&0x7fffffff > f32Inf {
		b |= f32Quiet
	}
	return math.Float32frombits(b)
}

// F8E4M3ToF32 returns the value of a float8 of 4 exponent and 3 fraction bits:
// no infinities, one NaN of each sign, largest value 448.
func F8E4M3ToF32(b byte) float32 {
	sign, a := uint32(b&0x80)<<24, uint32(b&0x7f)<<20
	if a == 0x7f<<20 {
		return math.Float32frombits(sign | f32Inf | f32Quiet)
	}
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(a)*0x1p120))
}

// F8E5M2ToF32 returns the value of a float8 of 5 exponent and 2 fraction bits,
// which is the upper half of an IEEE binary16.
func F8E5M2ToF32(b byte) float32 { return F32(uint16(b) << 8) }

// F16Slice sets dst[i] to F16(src[i]). Dst is at least as long as src.
func F16Slice(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, f := range src {
		b := math.Float32bits(f)
		if a := b & 0x7fffffff; a-f16Normal < f16Over-f16Normal {
			dst[i] = uint16(b>>16&0x8000) | roundNormal(a)
		} else {
			dst[i] = F16(f)
		}
	}
}

// F32Slice sets dst[i] to F32(src[i]). Dst is at least as long as src.
func F32Slice(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = F32(h)
	}
}

// quiet makes a NaN's fraction quiet and leaves an infinity's alone.
func quiet(fraction uint32) uint32 {
	if fraction != 0 {
		fraction |= f32Quiet
	}
	return fraction
}

// oddF32 returns f rounded to float32 such that rounding the result to a float
// of at most 22 bits of precision equals rounding f to it at once: an inexact
// result is the one of f's two neighbours whose last bit is set.
func oddF32(f float64) float32 {
	r := float32(f)
	wide := float64(r)
	b := math.Float32bits(r)
	if wide == f || f != f || b&1 == 1 {
		return r
	}
	if math.Abs(wide) < math.Abs(f) {
		return math.Float32frombits(b + 1)
	}
	return math.Float32frombits(b - 1)
}
