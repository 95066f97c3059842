package tensor

import "unsafe"

// View returns the elements that b holds as a slice of T over the same memory.
// Trailing bytes that make no whole element are left out. On machines that
// cannot load unaligned words, b has to be aligned. Viewed as bool,
// b must hold nothing but 0 and 1: other bytes break Go's memory safety.
func View[T Element](b []byte) []T {
	var t T
	n := len(b) / int(unsafe.Sizeof(t))
	if n == 0 {
		return []T{}
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// BytesOf returns the memory of v as bytes.
func BytesOf[T Element](v []T) []byte {
	var t T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(t)))
}

// Aligned returns n zero bytes that start on a cache line.
func Aligned(n int) []byte { return alloc(n) }
