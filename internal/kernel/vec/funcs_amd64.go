//go:build !noasm

package vec

import "coreml/internal/kernel/cpu"

// assembly lists the kernels of the levels that this machine has, beginning with the least.
func assembly() []*Funcs {
	var fs []*Funcs
	if cpu.Has(cpu.AVX2) {
		fs = append(fs, newLevel(cpu.AVX2, fillExp_avx2, fillArith_avx2, fillReduce_avx2, fillConvert_avx2, rows8, tile8))
	}
	if cpu.Has(cpu.AVX512) {
		fs = append(fs, newLevel(cpu.AVX512, fillExp_avx512, fillArith_avx512, fillReduce_avx512, fillConvert_avx512, rows16, tile16))
	}
	return fs
}

// newLevel starts from the generic kernels and replaces those that there is assembly for.
func newLevel(l cpu.Level, fill ...func(*Funcs)) *Funcs {
	f := newGeneric()
	f.Level = l
	for _, fill := range fill {
		fill(f)
	}
	f.derive()
	return f
}

func rows8(f *Funcs) {
	f.layerNormRows, f.softmaxRows = normRows(layerNormRows_avx2), expRows(softmaxRows_avx2)
}

func rows16(f *Funcs) {
	f.layerNormRows, f.softmaxRows = normRows(layerNormRows_avx512), expRows(softmaxRows_avx512)
}

func tile8(f *Funcs) { f.Transpose = transposer(tiling{8, transpose_avx2}) }

func tile16(f *Funcs) {
	f.Transpose = transposer(tiling{16, transpose_avx512}, tiling{8, transpose_avx2})
}
