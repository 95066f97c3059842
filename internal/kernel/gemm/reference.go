package gemm

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// generic is the reference in plain Go: the specification of every other kernel.
var generic = Kernel{Level: cpu.Generic, Lanes: 8, rows: [...]int{0, 4, 4, 4, 4}, few: [...]int{0, 4, 4, 4, 4}}

const maxLanes = 16

// Reference is the kernel in plain Go for a given number of lanes.
func Reference(lanes int) Kernel {
	k := generic
	k.Lanes = lanes
	return k
}

// reference is one call of a tile: products are rounded before they are added.
func reference(lanes, v, r int, a *Args) {
	var store [maxLanes]float32
	acc := store[:lanes]
	for ; a.Tiles > 0; a.Tiles-- {
		for row := range r {
			for vec := range v {
				n := lanes
				if vec == v-1 {
					n = a.NMask
				}
				c := a.COff + row*a.CRow + vec*a.CVec
				a.start(acc[:n], c, vec*lanes)
				a.sum(acc, row, vec)
				a.finish(acc[:n], c)
			}
		}
		a.AOff += a.AStep
		a.COff += a.CStep
	}
}

// floats views n floats at p plus off bytes.
func floats(p unsafe.Pointer, off, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(p, off)), n)
}

func (a *Args) start(acc []float32, c, column int) {
	switch {
	case a.Flags&Accumulate != 0:
		copy(acc, floats(a.C, c, len(acc)))
	case a.Bias != nil:
		copy(acc, floats(a.Bias, 4*column, len(acc)))
	default:
		clear(acc)
	}
}

func (a *Args) sum(acc []float32, row, vec int) {
	lanes := len(acc)
	step := func(t Tap, l int) {
		x := *(*float32)(unsafe.Add(a.A, a.AOff+int(t.A)+row*a.RowStride+4*l))
		w := floats(a.W, int(t.W)+vec*a.WStride+4*l*lanes, lanes)
		for i, y := range w {
			acc[i] += float32(x * y)
		}
	}
	for _, t := range unsafe.Slice((*Tap)(a.TapsV), a.NV) {
		for l := range lanes {
			step(t, l)
		}
	}
	for _, t := range unsafe.Slice((*Tap)(a.Taps1), a.N1) {
		step(t, 0)
	}
}

func (a *Args) finish(acc []float32, c int) {
	out := floats(a.C, c, len(acc))
	for i, x := range acc {
		if a.Add != nil {
			x += floats(a.Add, c, len(acc))[i]
		}
		if a.Flags&AtLeast != 0 && a.Lo > x {
			x = a.Lo
		}
		if a.Flags&AtMost != 0 && a.Hi < x {
			x = a.Hi
		}
		out[i] = x
	}
}
