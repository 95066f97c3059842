package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

// lineNorm brings lines that lie side by side to mean 0 and variance 1.
type lineNorm struct {
	line
	v       *vec.Funcs
	eps     float32
	over    nest
	sum     columns
	squares columns
}

// perLine is a parameter with one number for each place along the lines, or one
// for each line across; both nil: absent.
type perLine struct{ along, across []float32 }

// lineTile is the number of lines that are treated at a time.
const lineTile = 512

func newLineNorm(c *graph.Call, l line, eps float32) *lineNorm {
	v := kernels(c)
	n := &lineNorm{line: l, v: v, eps: eps, sum: columns{v: v, fold: v.Add}, squares: columns{v: v, fold: v.Add, each: v.Square}}
	n.over.add(l.n, l.inner)
	return n
}

// step treats every line of x; params are those of the outer-th set of lines.
func (l *lineNorm) step(c *graph.Call, params func(x *graph.Exec, outer int) (gamma, beta perLine)) graph.Step {
	tiles := ceilDiv(l.inner, lineTile)
	s := byRows(c.Op.Name, l.outer*tiles, normCost*l.n*min(l.inner, lineTile), func(x *graph.Exec, i int) {
		lo := i % tiles * lineTile
		gamma, beta := params(x, i/tiles)
		base := i/tiles*l.n*l.inner + lo
		l.tile(scratchOf(x), x.OutF32(0)[base:], x.F32(0)[base:], min(lineTile, l.inner-lo), gamma, beta)
	})
	s.Scratch = colScratch
	return s
}

// tile treats w lines.
func (l *lineNorm) tile(t colTemp, dst, src []float32, w int, gamma, beta perLine) {
	v, shift, scale := l.v, t.shift[:w], t.scale[:w]
	l.sum.total(t, src, &l.over, w, nil)
	v.DivS(shift, t.total[:w], -float32(l.n))
	l.squares.total(t, src, &l.over, w, shift)
	v.DivS(scale, t.total[:w], float32(l.n))
	v.Rsqrt(scale, scale, l.eps)
	if gamma.across != nil {
		v.Mul(scale, scale, gamma.across)
		d := dst[:l.n*w]
		v.AddChan(d, src[:l.n*w], shift)
		v.ScaleShiftChan(d, d, scale, beta.across)
		return
	}
	for j := range l.n {
		d := dst[j*l.inner:][:w]
		v.Add(d, src[j*l.inner:][:w], shift)
		v.Mul(d, d, scale)
		if gamma.along != nil || beta.along != nil {
			v.ScaleShift(d, d, numberAt(gamma.along, j, 1), numberAt(beta.along, j, 0))
		}
	}
}
