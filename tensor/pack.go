package tensor

import (
	"encoding/binary"
	"fmt"
)

// Number is what Unpack and Pack take for elements.
type Number interface {
	~int8 | ~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64 | ~float32 | ~float64
}

// Unpack reads the len(dst) elements from number start on out of bit-packed
// bytes: element i is the bits [i*bits, (i+1)*bits) of src, taking each byte's
// least significant bit first, so that an element of 3 or 6 bits may straddle
// two bytes. This is how Core ML's weight files pack them. Bits is 1 to 8;
// signed elements are sign-extended. It panics if src has no such elements.
func Unpack[T Number](dst []T, src []byte, bits int, signed bool, start int) {
	checkPacked("Unpack", len(dst), len(src), bits, start)
	mask, sign := uint64(1)<<bits-1, uint64(0)
	if signed {
		sign = 1 << (bits - 1)
	}
	for i := 0; i < len(dst); {
		// Eight elements fill bits bytes: a group starts at a byte.
		group, lane := (start+i)/8, (start+i)%8
		w := loadWord(src[group*bits:]) >> (lane * bits)
		if lane != 0 || len(dst)-i < 8 {
			for ; lane < 8 && i < len(dst); lane, i = lane+1, i+1 {
				dst[i] = T(int64(w&mask^sign) - int64(sign))
				w >>= bits
			}
			continue
		}
		for j := range 8 {
			dst[i+j] = T(int64(w&mask^sign) - int64(sign))
			w >>= bits
		}
		i += 8
	}
}

// Pack is the inverse of Unpack: it writes the low bits of the elements of src
// to dst as its elements from number start on and leaves all other bits alone.
func Pack[T Number](dst []byte, src []T, bits int, start int) {
	checkPacked("Pack", len(src), len(dst), bits, start)
	for i, v := range src {
		at := (start + i) * bits
		mask, word := uint16(1)<<bits-1, uint16(int64(v))
		mask, word = mask<<(at%8), word&mask<<(at%8)
		dst[at/8] = dst[at/8]&^byte(mask) | byte(word)
		if mask > 0xff {
			dst[at/8+1] = dst[at/8+1]&^byte(mask>>8) | byte(word>>8)
		}
	}
}

func checkPacked(who string, n, bytes, bits, start int) {
	if bits < 1 || bits > 8 || start < 0 || start > maxElements || (start+n)*bits > bytes*8 {
		panic(fmt.Sprintf("BUG: tensor: %s: %d elements of %d bits from %d in %d bytes", who, n, bits, start, bytes))
	}
}

// loadWord returns the first 8 bytes of src, least significant first; missing
// ones are 0.
func loadWord(src []byte) uint64 {
	if len(src) >= 8 {
		return binary.LittleEndian.Uint64(src)
	}
	var w uint64
	for i, b := range src {
		w |= uint64(b) << (8 * i)
	}
	return w
}
