package ops

import (
	"math"

	"coreml/internal/graph"
)

var softmaxOps = []*graph.Op{{
	Name: "softmax", Doc: "exp(x) divided by its sum along an axis.",
	Inputs: []graph.Input{graph.In("x", graph.Float), graph.Def("axis", graph.Int, -1)},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		_, err := intAxis(c, 1, len(c.Shape(0)))
		return likeX(c), err
	},
	Prepare: prepareSoftmax, Alias: overwrite,
}}

func prepareSoftmax(c *graph.Call) (graph.Step, error) {
	axis, err := intAxis(c, 1, len(c.Shape(0)))
	if err != nil {
		return graph.Step{}, err
	}
	l := lineOf(c.Shape(0), axis)
	if l.inner > 1 {
		return softmaxColumns(c, l), nil
	}
	v := kernels(c)
	return bySpans("softmax", l.outer, softmaxCost*l.n, func(x *graph.Exec, lo, hi int) {
		v.SoftmaxRows(x.OutF32(0)[lo*l.n:hi*l.n], x.F32(0)[lo*l.n:hi*l.n], l.n)
	}), nil
}

// softmaxCost is the work on one element, in elements of a sum.
const softmaxCost = 4

// softmaxColumns is the softmax of lines that lie side by side.
func softmaxColumns(c *graph.Call, l line) graph.Step {
	const width = 512
	v, tiles := kernels(c), ceilDiv(l.inner, width)
	s := byRows("softmax", l.outer*tiles, softmaxCost*l.n*min(l.inner, width), func(x *graph.Exec, i int) {
		lo := i % tiles * width
		w := min(width, l.inner-lo)
		base := i/tiles*l.n*l.inner + lo
		src, dst := x.F32(0)[base:], x.OutF32(0)[base:]
		t := x.Scratch()
		top, sum := t[:w], t[width:width+w]
		fill(top, float32(math.Inf(-1)))
		fill(sum, 0)
		for j := range l.n {
			v.Max(top, top, src[j*l.inner:][:w])
		}
		for j := range l.n {
			d := dst[j*l.inner:][:w]
			v.Sub(d, src[j*l.inner:][:w], top)
			v.Exp(d, d)
			v.Add(sum, sum, d)
		}
		v.SDiv(sum, sum, 1)
		for j := range l.n {
			d := dst[j*l.inner:][:w]
			v.Mul(d, d, sum)
		}
	})
	s.Scratch = 4 * 2 * width
	return s
}
