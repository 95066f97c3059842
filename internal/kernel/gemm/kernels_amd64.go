//go:build !noasm

package gemm

import "coreml/internal/kernel/cpu"

// kernels is the variant table.
var kernels = []Kernel{
	generic,
	{Level: cpu.AVX2, Lanes: 8, rows: taps_avx2_rows},
	{Level: cpu.AVX512, Lanes: 16, rows: taps_avx512_rows},
}

func tile(level cpu.Level, v, r int, a *Args) {
	if level == cpu.AVX512 {
		taps_avx512(v, r, a)
		return
	}
	taps_avx2(v, r, a)
}
