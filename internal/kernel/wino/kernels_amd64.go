//go:build !noasm

package wino

import "coreml/internal/kernel/cpu"

// kernels is the variant table.
var kernels = []Kernel{generic, {cpu.AVX2, 8}, {cpu.AVX512, 16}}

// transform has a frame, hence is a point where the goroutine can be stopped.
//
//go:noinline
func transform(level cpu.Level, a *Args, back bool) {
	switch {
	case level == cpu.AVX512 && back:
		output_avx512(a)
	case level == cpu.AVX512:
		input_avx512(a)
	case back:
		output_avx2(a)
	default:
		input_avx2(a)
	}
}
