package ops

import (
	"coreml/internal/graph"
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

// linear blends two rows into scratch, then neighbours within that row.
func (p *plane) linear(kernel string) graph.Step {
	rows, per := p.rows()
	row := p.w * p.lanes
	s := byRows(kernel, rows, per, func(x *graph.Exec, r int) {
		dst, y := x.OutF32(0)[r*per:(r+1)*per], p.ys[r%len(p.ys)]
		image := x.F32(0)[r/len(p.ys)*p.h*row:]
		src := image[int(y.lo)*row:][:row]
		if y.f != 0 {
			mix := x.Scratch()[:row]
			blend(mix, src, image[int(y.hi)*row:][:row], y.f)
			src = mix
		}
		if p.lanes == 1 {
			for i, t := range p.xs {
				a, b := src[t.lo], src[t.hi]
				dst[i] = float32(a*(1-t.f)) + float32(b*t.f)
			}
			return
		}
		for i, t := range p.xs {
			blend(dst[i*p.lanes:(i+1)*p.lanes], src[int(t.lo)*p.lanes:], src[int(t.hi)*p.lanes:], t.f)
		}
	})
	s.Scratch = 4 * row
	return s
}

// blend stores a·(1-f) + b·f.
func blend(dst, a, b []float32, f float32) {
	g := 1 - f
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = float32(a[i]*g) + float32(b[i]*f)
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
