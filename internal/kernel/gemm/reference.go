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

// sum adds the products of one row and vector to acc, tap by tap and lane by lane.
func (a *Args) sum(acc []float32, row, vec int) {
	lanes := len(acc)
	base, w := a.AOff+row*a.RowStride, vec*a.WStride
	for _, t := range taps(a.TapsV, a.NV) {
		addSteps(acc, floats(a.A, base+int(t.A), lanes), floats(a.W, w+int(t.W), lanes*lanes))
	}
	for _, t := range taps(a.Taps1, a.N1) {
		addSteps(acc, floats(a.A, base+int(t.A), 1), floats(a.W, w+int(t.W), lanes))
	}
}

// addSteps adds x[l] times row l of w to acc.
func addSteps(acc, x, w []float32) {
	if len(acc) == 8 {
		addSteps8(acc, x, w)
		return
	}
	for l, y := range x {
		for i, z := range w[l*len(acc) : (l+1)*len(acc)] {
			acc[i] += float32(y * z)
		}
	}
}

// addSteps8 is addSteps for eight lanes with the sums in registers: the generic level's speed,
// about twice the plain loop.
func addSteps8(acc, x, w []float32) {
	s := (*[8]float32)(acc)
	a, b, c, d, e, f, g, h := s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]
	for _, y := range x {
		r := (*[8]float32)(w)
		w = w[8:]
		a += float32(y * r[0])
		b += float32(y * r[1])
		c += float32(y * r[2])
		d += float32(y * r[3])
		e += float32(y * r[4])
		f += float32(y * r[5])
		g += float32(y * r[6])
		h += float32(y * r[7])
	}
	*s = [8]float32{a, b, c, d, e, f, g, h}
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
