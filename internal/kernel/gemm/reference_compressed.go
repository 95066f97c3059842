package gemm

import (
	"math"
	"unsafe"
)

// decodeReference is one call of a tile over a compressed weight in plain Go.
func decodeReference(lanes int, form Form, m, v int, a *Args) {
	panel := make([]float32, a.Blocks*a.BlockK*lanes)
	acc := make([]float32, lanes)
	for vec := range v {
		a.values(panel, lanes, form, vec)
		for row := range m {
			n := lanes
			if vec == v-1 {
				n = a.NMask
			}
			c := a.COff + row*a.CRow + vec*a.CVec
			clear(acc)
			a.start(acc[:n], c, vec*lanes)
			for b := range a.Blocks {
				a.block(acc, panel[b*a.BlockK*lanes:], lanes, row, vec, b)
			}
			a.finish(acc[:n], c)
		}
	}
}

// block adds one block of steps to acc.
func (a *Args) block(acc, panel []float32, lanes, row, vec, b int) {
	part := make([]float32, lanes)
	for s, x := range floats(a.A, row*a.RowStride+4*b*a.BlockK, a.BlockK) {
		for i := range part {
			part[i] += float32(x * panel[s*lanes+i])
		}
	}
	scale, shift := a.scales(lanes, vec, b)
	for i, y := range part {
		acc[i] += float32(y * scale[i])
	}
	if a.Shift != nil {
		sum := floats(a.ASum, a.ASumOff+16*b+4*row, 1)[0]
		for i, y := range shift {
			acc[i] += float32(sum * y)
		}
	}
}

// expandReference writes the weights of one panel to C in plain Go.
func expandReference(lanes int, form Form, a *Args) {
	dst := floats(a.C, 0, a.Blocks*a.BlockK*lanes)
	a.values(dst, lanes, form, 0)
	for b := range a.Blocks {
		scale, shift := a.scales(lanes, 0, b)
		for i := range a.BlockK * lanes {
			d := &dst[b*a.BlockK*lanes+i]
			*d = float32(*d*scale[i%lanes]) + shift[i%lanes]
			if a.Flags&roundHalf != 0 {
				*d = nearestHalf(*d)
			}
		}
	}
}

// values decodes a panel without scales.
func (a *Args) values(dst []float32, lanes int, form Form, vec int) {
	w := unsafe.Slice((*byte)(unsafe.Add(a.W, vec*a.WStride)), form.PanelBytes(a.Blocks*a.BlockK, lanes))
	for i := range dst {
		switch form {
		case Half:
			dst[i] = widen(uint16(w[2*i]) | uint16(w[2*i+1])<<8)
		case Int8:
			dst[i] = float32(int8(w[i]))
		case Lut4:
			k, lane := i/lanes, i%lanes
			index := w[4*(k/8*lanes+lane)+k%8/2] >> (4 * (k % 2)) & 15
			dst[i] = floats(a.Lut, 64*vec+4*int(index), 1)[0]
		}
	}
}

// scales are the scale and the shift of a block, 1 and 0 where there are none.
func (a *Args) scales(lanes, vec, b int) (scale, shift []float32) {
	scale, shift = make([]float32, lanes), make([]float32, lanes)
	at := a.ScaleOff + vec*a.ScalePanel + b*a.ScaleBlock
	for i := range scale {
		scale[i] = 1
		if a.Scale != nil {
			scale[i] = a.number(a.Scale, at, i)
		}
		if a.Shift != nil {
			shift[i] = a.number(a.Shift, at, i)
		}
	}
	return scale, shift
}

func (a *Args) number(table unsafe.Pointer, at, i int) float32 {
	if a.Flags&halfScale != 0 {
		return widen(*(*uint16)(unsafe.Add(table, at+2*i)))
	}
	return floats(table, at+4*i, 1)[0]
}

// widen converts float16 to float32.
func widen(h uint16) float32 {
	sign, exp, frac := uint32(h)>>15<<31, int(h>>10&31), uint32(h&1023)
	switch exp {
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	}
	return math.Float32frombits(sign | uint32(exp-15+127)<<23 | frac<<13)
}

// nearestHalf rounds to float16, ties to even.
func nearestHalf(x float32) float32 {
	switch abs := math.Abs(float64(x)); {
	case abs >= 65520:
		return float32(math.Copysign(math.Inf(1), float64(x)))
	case abs < 0x1p-14:
		return float32(math.RoundToEven(float64(x)*0x1p24) * 0x1p-24)
	case x != x:
		return x
	}
	b := math.Float32bits(x)
	return math.Float32frombits((b + 0xfff + b>>13&1) &^ 0x1fff)
}
