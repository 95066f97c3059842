package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

// columns is a reduction of floats made of vector kernels: a fold of each(x), then last.
type columns struct {
	v    *vec.Funcs
	run  vec.Reduction // of contiguous elements, each included
	each vec.Unary     // nil: x itself
	fold vec.Binary    // of many groups at a time
	join func(a, b float64) float64
	none float64              // of no elements
	last func([]float32, int) // on results, each of n elements; nil: nothing
}

const (
	// colWidth is the number of neighbouring groups that are folded at a time.
	colWidth = 1024
	// narrowRow is the width up to which rows are too narrow for a call each.
	narrowRow = 128
	// colBlock is the number of elements of narrow rows that are folded by halving.
	colBlock = 4096
	// colRows is the number of wide rows that are added up before they join the total: two levels
	// keep the rounding error of long sums small.
	colRows = 64
)

// byColumns is a reduction by vector kernels, of runs where the elements of a group are
// neighbours and of whole rows where neighbours belong to different groups.
func byColumns(bind func(*vec.Funcs) columns) floatReduction {
	return floatReduction{blocked: true, prepare: func(c *graph.Call, r reducing) graph.Step {
		k := bind(kernels(c))
		k.v = kernels(c)
		if run := r.over.pop(1); run != 1 || r.kept.count() == 1 || len(r.kept.size) == 0 {
			return k.runs(c, r, run)
		}
		width := r.kept.pop(1)
		if b := c.Lanes(); c.In[0].Form == graph.Blocked && width != b {
			r.kept.add(width/b, b)
			width = b
		}
		return k.rows(c, r, width)
	}}
}

// runs folds groups that consist of contiguous runs. Pieces of a run are joined in float64.
func (k *columns) runs(c *graph.Call, r reducing, run int) graph.Step {
	outer := r.over.count()
	return byRows(c.Op.Name, r.kept.count(), outer*run, func(x *graph.Exec, i int) {
		src, p := x.F32(0), r.kept.at(i)
		acc, first := k.none, true
		for j := range outer {
			at := p + r.over.at(j)
			for lo := at; lo < at+run; lo += colBlock {
				part := float64(k.run(src[lo:min(lo+colBlock, at+run)]))
				if !first {
					part = k.join(acc, part)
				}
				acc, first = part, false
			}
		}
		dst := x.OutF32(0)[i : i+1]
		dst[0] = float32(acc)
		k.finish(dst, outer*run)
	})
}

func (k *columns) finish(dst []float32, n int) {
	if k.last != nil {
		k.last(dst, n)
	}
}

// rows folds groups side by side: width neighbouring elements belong to as many groups.
func (k *columns) rows(c *graph.Call, r reducing, width int) graph.Step {
	n := r.over.count()
	tiles := ceilDiv(width, colWidth)
	place := outRows(c, width)
	s := byRows(c.Op.Name, r.kept.count()*tiles, n*min(width, colWidth), func(x *graph.Exec, i int) {
		row, lo := i/tiles, i%tiles*colWidth
		w := min(width-lo, colWidth)
		t := scratchOf(x)
		src := x.F32(0)[r.kept.at(row)+lo:]
		k.total(t, src, &r.over, w, nil)
		k.finish(t.total[:w], n)
		at, used := place(row)
		copy(x.OutF32(0)[at+lo:at+lo+min(w, used-lo)], t.total[:w])
	})
	s.Scratch = colScratch
	return s
}

// outRows says where the results of row number i go and how many of them there are. A blocked x
// with a Plain result has pad lanes that the result lacks.
func outRows(c *graph.Call, width int) func(i int) (at, n int) {
	if c.In[0].Form == graph.Blocked && c.Out[0].Form != graph.Blocked {
		ch := c.Shape(0)[1]
		blocks := ceilDiv(ch, width)
		return func(i int) (int, int) {
			lo := i % blocks * width
			return i/blocks*ch + lo, min(width, ch-lo)
		}
	}
	return func(i int) (int, int) { return i * width, width }
}

// colScratch is the memory that folding rows needs.
const colScratch = 4 * (colBlock + 4*colWidth)

// colTemp is that memory: total receives the result; shift and scale are the caller's.
type colTemp struct{ total, part, shift, scale, tmp []float32 }

func scratchOf(x *graph.Exec) colTemp {
	s := x.Scratch()
	part := func(i int) []float32 { return s[i*colWidth : (i+1)*colWidth] }
	return colTemp{part(0), part(1), part(2), part(3), s[4*colWidth : 4*colWidth+colBlock]}
}

// total folds rows of w elements that start at the offsets of over; shift, unless nil, is added to each first.
func (k *columns) total(t colTemp, src []float32, over *nest, w int, shift []float32) {
	n := over.count()
	dense := len(over.size) == 0 || len(over.size) == 1 && over.stride[0] == w
	switch {
	case n == 0:
		fill(t.total[:w], float32(k.none))
	case dense && w <= narrowRow:
		k.halve(t, src[:n*w], w, shift)
	default:
		k.stack(t, src, over, w, shift)
	}
}

// prepared is rows with shift added and each applied, in tmp unless there is nothing to do.
func (k *columns) prepared(tmp, rows, shift []float32) []float32 {
	if shift != nil {
		if len(rows) == len(shift) {
			k.v.Add(tmp[:len(rows)], rows, shift)
		} else {
			k.v.AddChan(tmp[:len(rows)], rows, shift)
		}
		rows = tmp[:len(rows)]
	}
	if k.each != nil {
		k.each(tmp[:len(rows)], rows)
		rows = tmp[:len(rows)]
	}
	return rows
}

// halve folds dense rows of w elements: the second half of a block onto the first, again and again.
func (k *columns) halve(t colTemp, src []float32, w int, shift []float32) {
	block := colBlock / w * w
	for lo := 0; lo < len(src); lo += block {
		s := k.prepared(t.tmp, src[lo:min(lo+block, len(src))], shift)
		for n := len(s) / w; n > 1; {
			h := n / 2
			k.fold(t.tmp[:h*w], s[:h*w], s[h*w:2*h*w])
			if n%2 == 1 {
				copy(t.tmp[h*w:(h+1)*w], s[2*h*w:])
			}
			n = h + n%2
			s = t.tmp[:n*w]
		}
		if lo == 0 {
			copy(t.total[:w], s)
		} else {
			k.fold(t.total[:w], t.total[:w], s)
		}
	}
}

// stack folds rows of w elements one by one.
func (k *columns) stack(t colTemp, src []float32, over *nest, w int, shift []float32) {
	n := over.count()
	for lo := 0; lo < n; lo += colRows {
		into := t.part[:w]
		if lo == 0 {
			into = t.total[:w]
		}
		for j := lo; j < min(lo+colRows, n); j++ {
			p := over.at(j)
			row := k.prepared(t.tmp, src[p:p+w], shift)
			if j == lo {
				copy(into, row)
			} else {
				k.fold(into, into, row)
			}
		}
		if lo > 0 {
			k.fold(t.total[:w], t.total[:w], into)
		}
	}
}
