//go:build !amd64 || noasm

package wino

import "coreml/internal/kernel/cpu"

var kernels = []Kernel{generic}

func transform(cpu.Level, *Args, bool) { panic("BUG: wino: no assembly in this build") }
