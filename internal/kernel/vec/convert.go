package vec

import "math"

// widenF16 is the float32 of float16 bits.
func widenF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	magnitude := uint32(h & 0x7fff)
	if magnitude >= 0x7c00 { // infinite or NaN, made quiet
		b := sign | 0x7f800000 | magnitude<<13&0x7fffff
		if magnitude > 0x7c00 {
			b |= 1 << 22
		}
		return math.Float32frombits(b)
	}
	// As the low bits of a float32 the number is too small by 2^(127-15), subnormal or not.
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(magnitude<<13)*0x1p112))
}

// narrowF16 rounds to the nearest float16, ties to even; NaN keeps its sign and top bits, made quiet.
func narrowF16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b >> 16 & 0x8000)
	b &= 1<<31 - 1
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13&0x1ff)
	case b >= 0x477ff000: // 65520 and above
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: adding 1/2 leaves the rounded units of 2^-24 in the low bits
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5))
	}
	b += 0xfff + b>>13&1
	return sign | uint16(b>>13-(127-15)<<10)
}

func widenBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

func narrowBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if isNaN(x) {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func roundF16(x float32) float32 { return widenF16(narrowF16(x)) }

func fromF16(dst []float32, src []uint16) {
	for i, h := range src[:len(dst)] {
		dst[i] = widenF16(h)
	}
}

func toF16(dst []uint16, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = narrowF16(x)
	}
}

func fromBF16(dst []float32, src []uint16) {
	for i, h := range src[:len(dst)] {
		dst[i] = widenBF16(h)
	}
}

func toBF16(dst []uint16, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = narrowBF16(x)
	}
}

func dequantize[T int8 | uint8](dst []float32, src []T, scale, zero float32) {
	for i, q := range src[:len(dst)] {
		dst[i] = (float32(q) - zero) * scale
	}
}

func quantize[T int8 | uint8](dst []T, src []float32, scale, zero, lo, hi float32) {
	for i, x := range src[:len(dst)] {
		q := round(x / scale)
		if isNaN(q) {
			q = 0
		}
		dst[i] = T(int32(clip(q+zero, lo, hi)))
	}
}

func toInt8(dst []int8, src []float32, scale, zero float32) {
	quantize(dst, src, scale, zero, -128, 127)
}

func toUint8(dst []uint8, src []float32, scale, zero float32) {
	quantize(dst, src, scale, zero, 0, 255)
}
