//go:build !amd64 || noasm

package gemm

import "coreml/internal/kernel/cpu"

var kernels = []Kernel{generic}

func tile(cpu.Level, int, int, *Args) { panic("BUG: gemm: no assembly in this build") }

func compressedTile(cpu.Level, Form, int, int, *Args) { panic("BUG: gemm: no assembly in this build") }

func expandPanel(cpu.Level, Form, *Args) { panic("BUG: gemm: no assembly in this build") }

func packColumns(cpu.Level, []float32, []float32, int, int, int) {
	panic("BUG: gemm: no assembly in this build")
}

func packTransposed(cpu.Level, []float32, []float32, int, int) {
	panic("BUG: gemm: no assembly in this build")
}
