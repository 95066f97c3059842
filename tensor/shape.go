package tensor

import (
	"math"
	"slices"
)

// maxElements bounds every shape, so that byte sizes and strides of any shape
// that Elements accepts fit an int.
const maxElements = min(1<<40, math.MaxInt/8)

// Elements returns the number of elements of a shape; 1 for rank 0.
// It reports false for a negative dimension and for more than 2^40 elements,
// dimensions of 0 being counted as 1 for that limit.
func Elements(shape []int) (n int, ok bool) {
	bound, n := 1, 1
	for _, d := range shape {
		if d < 0 || max(d, 1) > maxElements/bound {
			return 0, false
		}
		bound *= max(d, 1)
		n *= d
	}
	return n, true
}

// ByteSize returns the bytes that n elements of d take; sub-byte elements are
// packed and the last byte is rounded up. It reports false for a negative or
// excessive n and for a dtype whose elements have no fixed size.
func ByteSize(d DType, n int) (bytes int, ok bool) {
	bits := d.Bits()
	if n < 0 || n > maxElements || bits == 0 {
		return 0, false
	}
	if d.IsSubByte() {
		return n/8*bits + (n%8*bits+7)/8, true
	}
	return n * (bits / 8), true
}

// EqualShape reports whether a and b have the same rank and dimensions.
func EqualShape(a, b []int) bool { return slices.Equal(a, b) }
