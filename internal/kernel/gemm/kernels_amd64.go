//go:build !noasm

package gemm

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// kernels is the variant table.
var kernels = []Kernel{
	generic,
	{Level: cpu.AVX2, Lanes: 8, rows: taps_avx2_limits, few: half_avx2_limits},
	{Level: cpu.AVX512, Lanes: 16, rows: taps_avx512_limits, few: half_avx512_limits},
}

func tile(level cpu.Level, v, r int, a *Args) {
	if level == cpu.AVX512 {
		taps_avx512(v, r, a)
		return
	}
	taps_avx2(v, r, a)
}

// compressedTile runs one tile of m rows by v vectors over a piece of a compressed weight.
func compressedTile(level cpu.Level, form Form, m, v int, a *Args) {
	switch {
	case level == cpu.AVX512 && form == Half:
		half_avx512(m, v, a)
	case level == cpu.AVX512 && form == Int8:
		int8_avx512(m, v, a)
	case level == cpu.AVX512:
		lut4_avx512(m, v, a)
	case form == Half:
		half_avx2(m, v, a)
	case form == Int8:
		int8_avx2(m, v, a)
	default:
		lut4_avx2(m, v, a)
	}
}

// expandPanel writes a piece of one panel to a.C as float32.
//
//go:noinline
func expandPanel(level cpu.Level, form Form, a *Args) {
	switch {
	case level == cpu.AVX512 && form == Half:
		expand_half_avx512(a)
	case level == cpu.AVX512 && form == Int8:
		expand_int8_avx512(a)
	case level == cpu.AVX512:
		expand_lut4_avx512(a)
	case form == Half:
		expand_half_avx2(a)
	case form == Int8:
		expand_int8_avx2(a)
	default:
		expand_lut4_avx2(a)
	}
}

func packColumns(level cpu.Level, dst, src []float32, stride, depth, n int) {
	for ; depth > 0; depth -= packSteps {
		packCall(level, unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), 4*stride, min(depth, packSteps), n)
		if depth > packSteps {
			dst, src = dst[packSteps*level.Lanes():], src[packSteps*stride:]
		}
	}
}

//go:noinline
func packCall(level cpu.Level, dst, src unsafe.Pointer, stride, depth, n int) {
	if level == cpu.AVX512 {
		packCols_avx512(dst, src, stride, depth, n)
		return
	}
	packCols_avx2(dst, src, stride, depth, n)
}

//go:noinline
func packTransposed(level cpu.Level, dst, src []float32, stride, quads int) {
	if level == cpu.AVX512 {
		packRows_avx512(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), 4*stride, quads)
		return
	}
	packRows_avx2(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), 4*stride, quads)
}
