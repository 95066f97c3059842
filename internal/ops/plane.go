package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

// plane resizes images of h × w pixels of lanes elements each, by taps for each
// row and each column of the result.
type plane struct {
	outer, h, w, lanes int
	ys, xs             []tap
}

func (p *plane) rows() (rows, per int) { return p.outer * len(p.ys), len(p.xs) * p.lanes }

func (p *plane) nearest(kernel string) graph.Step {
	rows, per := p.rows()
	row := p.w * p.lanes
	some := max(1, moveElems/max(1, per))
	return graph.Parallel(kernel, ceilDiv(rows, some), func(x *graph.Exec, task int) error {
		out, in := tensor.View[uint32](x.OutBytes(0)), tensor.View[uint32](x.Bytes(0))
		before := -1
		for r := task * some; r < min((task+1)*some, rows); r++ {
			dst := out[r*per : (r+1)*per]
			from := r/len(p.ys)*p.h + int(p.ys[r%len(p.ys)].lo)
			if from == before {
				copy(dst, out[(r-1)*per:])
				continue
			}
			before = from
			p.nearestRow(dst, in[from*row:(from+1)*row])
		}
		return nil
	})
}

func (p *plane) nearestRow(dst, src []uint32) {
	if p.lanes == 1 {
		for i, t := range p.xs {
			dst[i] = src[t.lo]
		}
		return
	}
	for i, t := range p.xs {
		moveRows(dst, src, i*p.lanes, int(t.lo)*p.lanes, 0, 0, 1, p.lanes)
	}
}

// linear widens rows of x and blends two of them for each row of the result. Rows
// that follow each other mostly share a widened row, so two are kept in scratch.
func (p *plane) linear(kernel string, v *vec.Funcs) graph.Step {
	rows, per := p.rows()
	some := max(1, taskElems/max(1, per))
	s := graph.Parallel(kernel, ceilDiv(rows, some), func(x *graph.Exec, task int) error {
		wide := [2][]float32{x.Scratch()[:per], x.Scratch()[per : 2*per]}
		have := [2]int{-1, -1}
		for r := task * some; r < min((task+1)*some, rows); r++ {
			y := p.ys[r%len(p.ys)]
			first := r / len(p.ys) * p.h
			lo, hi := first+int(y.lo), first+int(y.hi)
			if have[1] == lo || have[0] == hi {
				wide[0], wide[1] = wide[1], wide[0]
				have[0], have[1] = have[1], have[0]
			}
			for i, row := range [2]int{lo, hi} {
				if have[i] != row && (i == 0 || y.f != 0) {
					p.widen(wide[i], x.F32(0)[row*p.w*p.lanes:][:p.w*p.lanes])
					have[i] = row
				}
			}
			dst := x.OutF32(0)[r*per : (r+1)*per]
			if y.f == 0 {
				copy(dst, wide[0])
				continue
			}
			v.MulS(dst, wide[0], 1-y.f)
			v.Axpy(dst, wide[1], y.f)
		}
		return nil
	})
	s.Scratch = 2 * 4 * per
	return s
}

// widen interpolates along one row.
func (p *plane) widen(dst, src []float32) {
	if p.lanes == 1 {
		for i, t := range p.xs {
			dst[i] = float32(src[t.lo]*(1-t.f)) + float32(src[t.hi]*t.f)
		}
		return
	}
	for i, t := range p.xs {
		d := dst[i*p.lanes : (i+1)*p.lanes]
		a, b := src[int(t.lo)*p.lanes:][:len(d)], src[int(t.hi)*p.lanes:][:len(d)]
		f, g := t.f, 1-t.f
		for l := range d {
			d[l] = float32(a[l]*g) + float32(b[l]*f)
		}
	}
}

// manyLinear interpolates in more than two dimensions, one element after the other, between all corners.
func manyLinear(c *graph.Call, outer, lanes int, in []int, taps [][]tap) graph.Step {
	k := len(taps)
	size := make([]int, k)
	for i := range taps {
		size[i] = len(taps[i])
	}
	st := rowMajor(in)
	n, m := volume(in)*lanes, volume(size)
	return byRows(c.Op.Name, outer*m, lanes<<k, func(x *graph.Exec, r int) {
		dst := tensor.View[uint32](x.OutBytes(0))[r*lanes : (r+1)*lanes]
		src := tensor.View[uint32](x.Bytes(0))[r/m*n:][:n]
		var at [maxResized]tap
		for d, i := k-1, r%m; d >= 0; d-- {
			at[d] = taps[d][i%size[d]]
			i /= size[d]
		}
		corners(dst, src, at[:k], st, lanes)
	})
}

// corners adds up the 2^k corners around a place. A corner of weight 0 takes no
// part, so that elements of any type go through where nothing is interpolated.
func corners(dst, src []uint32, at []tap, st []int, lanes int) {
	out := tensor.View[float32](tensor.BytesOf(dst))
	in := tensor.View[float32](tensor.BytesOf(src))
	first := true
	for corner := 0; corner < 1<<len(at); corner++ {
		off, weight := 0, float32(1)
		for d, t := range at {
			if corner>>d&1 == 0 {
				off += int(t.lo) * st[d]
				weight *= 1 - t.f
			} else {
				off += int(t.hi) * st[d]
				weight *= t.f
			}
		}
		switch {
		case weight == 0:
		case weight == 1:
			copy(dst, src[off*lanes:])
			return
		default:
			for l := range out {
				v := float32(in[off*lanes+l] * weight)
				if !first {
					v = out[l] + v
				}
				out[l] = v
			}
			first = false
		}
	}
}
