//go:build amd64 && !noasm

package vec

import (
	"math"
	"unsafe"
)

// kernel is an elementwise kernel in assembly, for at most chunk elements. One signature serves
// all: a kernel ignores the operands that it does not have.
type kernel func(dst, a, b, c unsafe.Pointer, n int, s0, s1 float32)

// checkedKernel leaves elements beyond its range as they are, and returns nonzero if there was one.
type checkedKernel func(dst, a, b, c unsafe.Pointer, n int, s0, s1 float32) int

func ptr[T any](s []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(s)) }

// call is not inlined: the garbage collector cannot stop a goroutine inside assembly, nor in a
// loop over assembly that passes through no function with a frame.
//
//go:noinline
func (k kernel) call(dst, a, b, c []float32, s0, s1 float32) {
	k(ptr(dst), ptr(a), ptr(b), ptr(c), len(dst), s0, s1)
}

// split calls the kernel chunk by chunk.
func (k kernel) split(dst, a, b, c []float32, s0, s1 float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	for len(dst) > chunk {
		k.call(dst[:chunk], a, b, c, s0, s1)
		dst, a, b, c = dst[chunk:], a[chunk:], b[chunk:], c[chunk:]
	}
	k.call(dst, a, b, c, s0, s1)
}

// Adapters to the fields of Funcs: ofMN for M sources and N scalars.

func of10(k kernel) Unary {
	return func(dst, src []float32) { k.split(dst, src, dst, dst, 0, 0) }
}

func of11(k kernel) UnaryScalar {
	return func(dst, src []float32, s float32) { k.split(dst, src, dst, dst, s, 0) }
}

func of12(k kernel) UnaryScalar2 {
	return func(dst, src []float32, s0, s1 float32) { k.split(dst, src, dst, dst, s0, s1) }
}

func of20(k kernel) Binary {
	return func(dst, a, b []float32) { k.split(dst, a, b, dst, 0, 0) }
}

func of21(k kernel) func(dst, a, b []float32, s float32) {
	return func(dst, a, b []float32, s float32) { k.split(dst, a, b, dst, s, 0) }
}

func of30(k kernel) Ternary {
	return func(dst, a, b, c []float32) { k.split(dst, a, b, c, 0, 0) }
}

func of32(k kernel) func(dst, a, b, c []float32, s0, s1 float32) {
	return func(dst, a, b, c []float32, s0, s1 float32) { k.split(dst, a, b, c, s0, s1) }
}

// channels calls a kernel whose operands b and c are one vector each, repeated.
func (k kernel) channels(dst, a, b, c []float32) {
	a = a[:len(dst)]
	for len(dst) > chunk {
		k.call(dst[:chunk], a, b, c, 0, 0)
		dst, a = dst[chunk:], a[chunk:]
	}
	k.call(dst, a, b, c, 0, 0)
}

// perChannel1 uses the kernel where the channel vector is as long as a vector register.
func perChannel1(lanes int, k kernel, other func(dst, src, channel []float32)) func(dst, src, channel []float32) {
	return func(dst, src, channel []float32) {
		if len(channel) != lanes {
			other(dst, src, channel)
			return
		}
		k.channels(dst, src, channel, channel)
	}
}

func perChannel2(lanes int, k kernel, other func(dst, src, scale, shift []float32)) func(dst, src, scale, shift []float32) {
	return func(dst, src, scale, shift []float32) {
		if len(scale) != lanes {
			other(dst, src, scale, shift)
			return
		}
		k.channels(dst, src, scale, shift[:lanes])
	}
}

// checked replaces what the kernel left with other; a result of the kernel is at most 1 in magnitude.
func checked(k checkedKernel, other func(float32) float32) Unary {
	return func(dst, src []float32) {
		src = src[:len(dst)]
		for len(dst) > 0 {
			n := min(len(dst), chunk)
			k.call(other, dst[:n], src)
			dst, src = dst[n:], src[n:]
		}
	}
}

//go:noinline
func (k checkedKernel) call(other func(float32) float32, dst, src []float32) {
	p := ptr(dst)
	if k(p, ptr(src), p, p, len(dst), 0, 0) == 0 {
		return
	}
	for i, x := range dst {
		if !(math.Abs(float64(x)) <= 1) {
			dst[i] = other(x)
		}
	}
}

func checkedSin(k checkedKernel) Unary { return checked(k, sin) }
func checkedCos(k checkedKernel) Unary { return checked(k, cos) }

// reducer is a reduction in assembly, for at most chunk elements, with one signature like kernel.
type reducer func(dst, a, b unsafe.Pointer, n int, s float32) float32

// Adapters to the fields of chunks, by number of sources, scalar, and whether dst is written.

func reduce1(k reducer) Reduction {
	return func(src []float32) float32 { return k(nil, ptr(src), nil, len(src), 0) }
}

func reduce1s(k reducer) func(src []float32, s float32) float32 {
	return func(src []float32, s float32) float32 { return k(nil, ptr(src), nil, len(src), s) }
}

func reduce1sStore(k reducer) func(dst, src []float32, s float32) float32 {
	return func(dst, src []float32, s float32) float32 { return k(ptr(dst), ptr(src[:len(dst)]), nil, len(dst), s) }
}

func reduce2(k reducer) func(a, b []float32) float32 {
	return func(a, b []float32) float32 { return k(nil, ptr(a), ptr(b[:len(a)]), len(a), 0) }
}

// rowNorm and rowExp are kernels of count rows of n elements, at most chunk elements in all.
type (
	rowNorm func(dst, src, gamma, beta unsafe.Pointer, count, n int, eps, inverse float32)
	rowExp  func(dst, src unsafe.Pointer, count, n int)
)

func normRows(k rowNorm) func(dst, src, gamma, beta []float32, n int, eps float32) { return k.call }

//go:noinline
func (k rowNorm) call(dst, src, gamma, beta []float32, n int, eps float32) {
	k(ptr(dst), ptr(src), ptr(gamma), ptr(beta), len(dst)/n, n, eps, 1/float32(n))
}

func expRows(k rowExp) func(dst, src []float32, n int) { return k.call }

//go:noinline
func (k rowExp) call(dst, src []float32, n int) { k(ptr(dst), ptr(src), len(dst)/n, n) }
