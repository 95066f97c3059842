package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// intRange returns the least and the greatest value of an integer type.
func intRange(d DType) (lo int64, hi uint64) {
	if d.IsSigned() {
		return -1 << (d.Bits() - 1), 1<<(d.Bits()-1) - 1
	}
	return 0, math.MaxUint64 >> (64 - d.Bits())
}

// checkInts reports the first of values that d cannot hold. If unsigned, values
// are the bits of uint64s. Start is the index of values[0] for the message.
func checkInts(values []int64, unsigned bool, d DType, start int) error {
	lo, hi := intRange(d)
	for i, v := range values {
		switch {
		case v < 0 && unsigned, v >= 0:
			if uint64(v) > hi {
				return fmt.Errorf("element %d: %d: want %d to %d", start+i, uint64(v), lo, hi)
			}
		case v < lo:
			return fmt.Errorf("element %d: %d: want %d to %d", start+i, v, lo, hi)
		}
	}
	return nil
}

// loadInts sets dst to the elements of t, of type Bool or integer, from start
// on; those of a UInt64 keep their bits. Start is a multiple of 8.
func (t *Tensor) loadInts(dst []int64, start int) {
	switch t.dtype {
	case Bool, UInt8:
		widen[uint8](dst, t, start)
	case Int8:
		widen[int8](dst, t, start)
	case Int16:
		widen[int16](dst, t, start)
	case UInt16:
		widen[uint16](dst, t, start)
	case Int32:
		widen[int32](dst, t, start)
	case UInt32:
		widen[uint32](dst, t, start)
	case Int64, UInt64:
		widen[int64](dst, t, start)
	default:
		Unpack(dst, t.data, t.dtype.Bits(), t.dtype.IsSigned(), start)
	}
}

// storeInts writes the low bits of src to elements of t, of type Bool (then
// src != 0) or integer, from start on. Start is a multiple of 8.
func (t *Tensor) storeInts(start int, src []int64) {
	switch t.dtype {
	case Bool:
		for i, v := range src {
			t.data[start+i] = truth(v != 0)
		}
	case Int8, UInt8:
		narrow[int8](t, start, src)
	case Int16, UInt16:
		narrow[int16](t, start, src)
	case Int32, UInt32:
		narrow[int32](t, start, src)
	case Int64, UInt64:
		narrow[int64](t, start, src)
	default:
		Pack(t.data, src, t.dtype.Bits(), start)
	}
}

// storeIntsAsFloats writes src, bits of uint64s if unsigned, to elements of a
// floating-point t from start on, each rounded once.
func (t *Tensor) storeIntsAsFloats(start int, src []int64, unsigned bool) {
	dst := t.data[start*t.dtype.Size():]
	for i, v := range src {
		magnitude, sign := uint64(v), 1.0
		if v < 0 && !unsigned {
			magnitude, sign = -magnitude, -1
		}
		switch t.dtype {
		case Float32:
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(float32(sign)*float32(magnitude)))
		case Float64:
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(sign*float64(magnitude)))
		case Float16:
			binary.LittleEndian.PutUint16(dst[2*i:], F16(oddF32(sign*sticky(magnitude))))
		case BFloat16:
			binary.LittleEndian.PutUint16(dst[2*i:], BF16(oddF32(sign*sticky(magnitude))))
		}
	}
}

// sticky returns v in float64; where that is inexact, a neighbour that rounds
// to any shorter float as v does.
func sticky(v uint64) float64 {
	if low := v & 0x7ff; v >= 1<<53 && low != 0 {
		v = v&^0x7ff | 0x800
	}
	return float64(v)
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

type integer interface {
	int8 | uint8 | int16 | uint16 | int32 | uint32 | int64
}

func widen[T integer](dst []int64, t *Tensor, start int) {
	for i, v := range View[T](t.data)[start:][:len(dst)] {
		dst[i] = int64(v)
	}
}

func narrow[T integer](t *Tensor, start int, src []int64) {
	dst := View[T](t.data)[start:][:len(src)]
	for i, v := range src {
		dst[i] = T(v)
	}
}
