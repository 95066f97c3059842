package graph

import (
	"encoding/binary"

	"coreml/tensor"
)

// decodeBits reads the little-endian bit-packed integers lo … lo+len(dst), of 1 to 6 bits. It is tensor.Unpack for
// weights, which are decoded whenever they are packed: 4096 of 4 bits in 2.4 µs instead of 6.6, of 2 bits in 3.9.
func decodeBits(dst []float32, d []byte, lo int, dt tensor.DType) {
	switch dt {
	case tensor.Int4:
		decodeNibbles(dst, d, lo, &signedNibbles)
		return
	case tensor.UInt4:
		decodeNibbles(dst, d, lo, &nibbles)
		return
	}
	bits := dt.Bits()
	mask := uint64(1)<<bits - 1
	for len(dst) > 0 {
		at := lo * bits
		w := window(d[at/8:]) >> (at % 8) // at least 57 bits
		n := min(57/bits, len(dst))
		for i := range dst[:n] {
			dst[i] = float32(int32(w & mask))
			w >>= bits
		}
		dst, lo = dst[n:], lo+n
	}
}

// window is the first 64 bits of d; bits that d does not have are zero.
func window(d []byte) uint64 {
	if len(d) >= 8 {
		return binary.LittleEndian.Uint64(d)
	}
	var w uint64
	for i, b := range d {
		w |= uint64(b) << (8 * i)
	}
	return w
}

var (
	nibbles       = [16]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	signedNibbles = [16]float32{0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1}
)

// decodeNibbles reads integers of 4 bits, two to a byte, the lower half first.
func decodeNibbles(dst []float32, d []byte, lo int, value *[16]float32) {
	d = d[lo/2:]
	if lo%2 == 1 && len(dst) > 0 {
		dst[0] = value[d[0]>>4]
		dst, d = dst[1:], d[1:]
	}
	pairs := len(dst) / 2
	for i, b := range d[:pairs] {
		dst[2*i], dst[2*i+1] = value[b&15], value[b>>4]
	}
	if len(dst)%2 == 1 {
		dst[2*pairs] = value[d[pairs]&15]
	}
}
