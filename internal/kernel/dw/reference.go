package dw

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// generic is the reference in plain Go: the specification of every other kernel.
var generic = Kernel{Level: cpu.Generic, Lanes: 8, rows: 8}

const maxLanes = 16

// Reference is the kernel in plain Go for a given number of lanes.
func Reference(lanes int) Kernel {
	k := generic
	k.Lanes = lanes
	return k
}

// reference is one call of a tile: products are rounded before they are added.
func reference(lanes int, op Op, r int, a *Args) {
	var store [maxLanes]float32
	acc := store[:lanes]
	taps := unsafe.Slice((*Tap)(a.Taps), a.N)
	for ; a.Tiles > 0; a.Tiles-- {
		for row := range r {
			c := a.COff + row*a.CRow
			a.start(acc, c)
			for _, t := range taps {
				x := floats(a.A, int(t.A)+a.AOff+row*a.RowStride, lanes)
				if op == Max {
					maximum(acc, x)
				} else {
					addProducts(acc, x, floats(a.W, int(t.W), lanes))
				}
			}
			a.finish(acc[:a.NMask], c)
		}
		a.AOff += a.AStep
		a.COff += a.CStep
	}
}

// floats views n floats at p plus off bytes.
func floats(p unsafe.Pointer, off, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(p, off)), n)
}

func maximum(acc, x []float32) {
	for i, v := range x {
		if v > acc[i] {
			acc[i] = v
		}
	}
}

func addProducts(acc, x, w []float32) {
	for i, v := range x {
		acc[i] += float32(v * w[i])
	}
}

func (a *Args) start(acc []float32, c int) {
	switch {
	case a.Flags&Accumulate != 0:
		copy(acc, floats(a.C, c, a.NMask))
	case a.Bias != nil:
		copy(acc, floats(a.Bias, 0, a.NMask))
	default:
		clear(acc)
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
