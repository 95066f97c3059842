//go:build !noasm

package dw

import "coreml/internal/kernel/cpu"

// kernels is the variant table.
var kernels = []Kernel{
	generic,
	{Level: cpu.AVX2, Lanes: 8, rows: sum_avx2_limits[1]},
	{Level: cpu.AVX512, Lanes: 16, rows: sum_avx512_limits[1]},
}

func tile(level cpu.Level, op Op, r int, a *Args) {
	switch {
	case level == cpu.AVX512 && op == Max:
		max_avx512(1, r, a)
	case level == cpu.AVX512:
		sum_avx512(1, r, a)
	case op == Max:
		max_avx2(1, r, a)
	default:
		sum_avx2(1, r, a)
	}
}
