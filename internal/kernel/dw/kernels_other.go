//go:build !amd64 || noasm

package dw

import "coreml/internal/kernel/cpu"

var kernels = []Kernel{generic}

func tile(cpu.Level, Op, int, *Args) { panic("BUG: dw: no assembly in this build") }
