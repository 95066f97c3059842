package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Convert returns t's values as elements of d, and t itself if d is its dtype.
// It converts as Core ML does for a model's inputs:
//
//   - a float becomes an integer by truncation toward zero; NaN and a value
//     out of the integer's range are errors that name index and value,
//   - everything becomes a float by rounding once, to nearest even;
//     what is too large becomes infinite,
//   - everything becomes a Bool by comparison with 0; NaN is true.
//
// The 8-bit floats and String are no targets, and String no source.
func (t *Tensor) Convert(d DType) (*Tensor, error) {
	if d == t.dtype {
		return t, nil
	}
	if !t.isNumeric() || !d.IsTarget() {
		return nil, fmt.Errorf("tensor: Convert: %v to %v: want numeric types and no 8-bit float as target", t, d)
	}
	out, err := Make(d, t.shape)
	if err != nil {
		return nil, err
	}
	switch {
	case t.dtype == Float32 && d == Float16:
		F16Slice(Data[uint16](out), Data[float32](t))
	case t.dtype == Float16 && d == Float32:
		F32Slice(Data[float32](out), Data[uint16](t))
	case t.dtype.IsFloat():
		err = convertFloats(out, t)
	default:
		err = convertInts(out, t)
	}
	if err != nil {
		return nil, fmt.Errorf("tensor: Convert: %v to %v: %w", t, d, err)
	}
	return out, nil
}

// Float32s returns t's values as float32, each rounded once. For a Float32
// tensor it is a view of its memory, for other numeric types a copy. It is nil
// if t's type is not numeric.
func (t *Tensor) Float32s() []float32 {
	if !t.isNumeric() {
		return nil
	}
	out, err := t.Convert(Float32)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return Data[float32](out)
}

func (t *Tensor) isNumeric() bool { return t.dtype.Bits() > 0 }

// IsTarget reports whether Convert makes tensors of the type.
func (d DType) IsTarget() bool {
	return d == Bool || d.IsInt() || d.IsFloat() && d.Size() > 1
}

// chunk is how many elements are converted at once, through a buffer on the
// stack. A multiple of 8, so that packed elements start at a byte.
const chunk = 256

func convertFloats(out, t *Tensor) error {
	var buf [chunk]float64
	for start := 0; start < t.n; start += chunk {
		part := buf[:min(chunk, t.n-start)]
		t.loadFloats(part, start)
		if out.dtype.IsInt() {
			if err := out.storeTruncated(start, part); err != nil {
				return err
			}
			continue
		}
		out.storeFloats(start, part)
	}
	return nil
}

func convertInts(out, t *Tensor) error {
	var buf [chunk]int64
	unsigned := t.dtype == UInt64
	for start := 0; start < t.n; start += chunk {
		part := buf[:min(chunk, t.n-start)]
		t.loadInts(part, start)
		if out.dtype.IsInt() {
			if err := checkInts(part, unsigned, out.dtype, start); err != nil {
				return err
			}
		}
		switch {
		case out.dtype.IsFloat():
			out.storeIntsAsFloats(start, part, unsigned)
		default:
			out.storeInts(start, part)
		}
	}
	return nil
}

// loadFloats sets dst to the elements of a floating-point t from start on.
func (t *Tensor) loadFloats(dst []float64, start int) {
	src := t.data[start*t.dtype.Size():]
	switch t.dtype {
	case Float16:
		for i := range dst {
			dst[i] = float64(F32(binary.LittleEndian.Uint16(src[2*i:])))
		}
	case BFloat16:
		for i := range dst {
			dst[i] = float64(BF32(binary.LittleEndian.Uint16(src[2*i:])))
		}
	case Float32:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
		}
	case Float64:
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		}
	case Float8E4M3FN:
		for i := range dst {
			dst[i] = float64(F8E4M3ToF32(src[i]))
		}
	case Float8E5M2:
		for i := range dst {
			dst[i] = float64(F8E5M2ToF32(src[i]))
		}
	}
}

// storeFloats writes src to elements of t, of type Bool or float, from start on.
func (t *Tensor) storeFloats(start int, src []float64) {
	dst := t.data[start*t.dtype.Size():]
	switch t.dtype {
	case Bool:
		for i, f := range src {
			dst[i] = truth(f != 0)
		}
	case Float16:
		for i, f := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F16(oddF32(f)))
		}
	case BFloat16:
		for i, f := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], BF16(oddF32(f)))
		}
	case Float32:
		for i, f := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(float32(f)))
		}
	case Float64:
		for i, f := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(f))
		}
	}
}

// storeTruncated writes src, truncated toward zero, to elements of an integer t.
func (t *Tensor) storeTruncated(start int, src []float64) error {
	var ints [chunk]int64
	lo, hi := intRange(t.dtype)
	// Below is exclusive, and exact in float64 where hi itself is not.
	least, below := float64(lo), float64(hi/2+1)*2
	for i, f := range src {
		whole := math.Trunc(f)
		if !(whole >= least && whole < below) {
			return fmt.Errorf("element %d: %v: want %d to %d", start+i, f, lo, hi)
		}
		if whole >= 0x1p63 {
			ints[i] = int64(uint64(whole))
		} else {
			ints[i] = int64(whole)
		}
	}
	t.storeInts(start, ints[:len(src)])
	return nil
}
