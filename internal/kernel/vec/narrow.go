//go:build amd64 && !noasm

package vec

import "unsafe"

// Adapters of conversions. The kernels take whole vectors; generic, which gives the same bits,
// does the rest.

type converter func(dst, src unsafe.Pointer, n int, s0, s1 float32)

func convert[D, S any](lanes int, k converter, generic func(dst []D, src []S)) func(dst []D, src []S) {
	return func(dst []D, src []S) {
		src = src[:len(dst)]
		done := convertWhole(lanes, k, dst, src, 0, 0)
		generic(dst[done:], src[done:])
	}
}

func convertScaled[D, S any](lanes int, k converter, generic func(dst []D, src []S, scale, zero float32)) func(dst []D, src []S, scale, zero float32) {
	return func(dst []D, src []S, scale, zero float32) {
		src = src[:len(dst)]
		done := convertWhole(lanes, k, dst, src, scale, zero)
		generic(dst[done:], src[done:], scale, zero)
	}
}

// convertWhole converts whole vectors and returns how many elements that were.
func convertWhole[D, S any](lanes int, k converter, dst []D, src []S, scale, zero float32) int {
	whole := len(dst) / lanes * lanes
	for lo := 0; lo < whole; lo += chunk {
		convertChunk(k, dst[lo:min(lo+chunk, whole)], src[lo:], scale, zero)
	}
	return whole
}

//go:noinline
func convertChunk[D, S any](k converter, dst []D, src []S, scale, zero float32) {
	k(ptr(dst), ptr(src), len(dst), scale, zero)
}
