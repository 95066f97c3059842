//go:build !noasm

package cpu

import "unsafe"

//go:noinline
func fmaLoop(l Level, n int) bool {
	switch l {
	case AVX2:
		fmaLoop_avx2(n)
	case AVX512:
		fmaLoop_avx512(n)
	default:
		return false
	}
	return true
}

//go:noinline
func readLoop(l Level, p unsafe.Pointer, n int) bool {
	switch l {
	case AVX2:
		readLoop_avx2(p, n)
	case AVX512:
		readLoop_avx512(p, n)
	default:
		return false
	}
	return true
}
