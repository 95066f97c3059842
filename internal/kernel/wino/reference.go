package wino

import (
	"unsafe"

	"coreml/internal/kernel/cpu"
)

// generic is the reference in plain Go: the specification of every other kernel.
var generic = Kernel{cpu.Generic, 8}

// Reference is the kernel in plain Go for a given number of lanes.
func Reference(lanes int) Kernel { return Kernel{cpu.Generic, lanes} }

// Exact in float32.
const (
	aa, bb   = a * a, b * b
	aaa, bbb = a * aa, b * bb
)

// floats views n floats at p plus off bytes.
func floats(p unsafe.Pointer, off, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(p, off)), n)
}

// referenceInput transforms lines, then columns, lane by lane.
func referenceInput(lanes int, k *Args) {
	size := 4 * lanes
	for tile := 0; k.Tiles > 0; tile, k.Tiles = tile+1, k.Tiles-1 {
		for l := range lanes {
			var t [In][In]float32
			for y := range In {
				for x := range In {
					t[y][x] = floats(k.Image, y*k.ImageLine+(tile*Out+x)*size, lanes)[l]
				}
				t[y] = forward(t[y])
			}
			for x := range In {
				column := forward([In]float32{t[0][x], t[1][x], t[2][x], t[3][x], t[4][x], t[5][x]})
				for y, v := range column {
					floats(k.Matrix, (x*In+y)*k.MatrixStep+tile*size, lanes)[l] = v
				}
			}
		}
	}
}

// forward is Bᵀ·d.
func forward(d [In]float32) [In]float32 {
	evenA, oddA := d[4]-float32(bb*d[2]), d[3]-float32(bb*d[1])
	evenB, oddB := d[4]-float32(aa*d[2]), d[3]-float32(aa*d[1])
	return [In]float32{
		float32(aa*bb*d[0]) + d[4] - float32((aa+bb)*d[2]),
		evenA + float32(a*oddA), evenA - float32(a*oddA),
		evenB + float32(b*oddB), evenB - float32(b*oddB),
		d[5] - float32((aa+bb)*d[3]) + float32(aa*bb*d[1]),
	}
}

// referenceOutput transforms columns, then lines, lane by lane.
func referenceOutput(lanes int, k *Args) {
	size := 4 * lanes
	for tile := 0; k.Tiles > 0; tile, k.Tiles = tile+1, k.Tiles-1 {
		for l := range lanes {
			var t [Out][In]float32
			for x := range In {
				var m [In]float32
				for y := range m {
					m[y] = floats(k.Matrix, (x*In+y)*k.MatrixStep+tile*size, lanes)[l]
				}
				for y, v := range back(m) {
					t[y][x] = v
				}
			}
			for y := range k.Lines {
				line := back(t[y])
				for x := range k.Pixels {
					k.finish(line[x], y*k.ImageLine+(tile*Out+x)*size, l, lanes)
				}
			}
		}
	}
}

// back is Aᵀ·m.
func back(m [In]float32) [Out]float32 {
	sumA, difA, sumB, difB := m[1]+m[2], m[1]-m[2], m[3]+m[4], m[3]-m[4]
	return [Out]float32{
		m[0] + sumA + sumB,
		float32(a*difA) + float32(b*difB),
		float32(aa*sumA) + float32(bb*sumB),
		float32(aaa*difA) + float32(bbb*difB) + m[5],
	}
}

// finish stores a result at byte off of lane l.
func (k *Args) finish(v float32, off, l, lanes int) {
	v += floats(k.Bias, 0, lanes)[l]
	if k.Add != nil {
		v += floats(k.Add, off, lanes)[l]
	}
	if v < k.Lo {
		v = k.Lo
	}
	if v > k.Hi {
		v = k.Hi
	}
	floats(k.Image, off, lanes)[l] = v
}
