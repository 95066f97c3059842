//go:build !noasm

package cpu

import "golang.org/x/sys/cpu"

// detect trusts x/sys/cpu, which asks the processor and whether the system saves the registers.
func detect() []Level {
	x := &cpu.X86
	if !x.HasAVX2 || !x.HasFMA || !x.HasF16C || !x.HasBMI1 || !x.HasBMI2 {
		return nil
	}
	if !x.HasAVX512F || !x.HasAVX512VL || !x.HasAVX512BW || !x.HasAVX512DQ {
		return []Level{AVX2}
	}
	return []Level{AVX2, AVX512}
}
