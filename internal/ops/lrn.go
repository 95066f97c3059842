package ops

import (
	"coreml/internal/graph"
)

var localResponseNormOp = &graph.Op{
	Name: "local_response_norm", Doc: "x / (k + alpha/size · the sum of squares over size neighbouring channels)^beta.",
	Inputs: []graph.Input{
		graph.In("x", graph.Float), graph.In("size", graph.Int), graph.Def("alpha", graph.Float, 1e-4),
		graph.Def("beta", graph.Float, 0.75), graph.Def("k", graph.Float, 1.0),
	},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		_, err := responseParams(c)
		return likeX(c), err
	},
	Prepare: prepareLocalResponseNorm,
}

type response struct {
	size           int
	alpha, beta, k float32
}

func responseParams(c *graph.Call) (p response, err error) {
	if n := len(c.Shape(0)); n < 3 {
		return p, c.Errorf(0, "rank %d, want at least 3", n)
	}
	if p.size, err = c.Int(1); err != nil {
		return p, err
	}
	if p.size < 1 {
		return p, c.Errorf(1, "%d, want at least 1", p.size)
	}
	if p.alpha, err = c.Float(2); err != nil {
		return p, err
	}
	if p.beta, err = c.Float(3); err != nil {
		return p, err
	}
	p.k, err = c.Float(4)
	return p, err
}

// prepareLocalResponseNorm sums over the channels of a row of positions. At rank
// 3 Core ML's suite has every element normalised by itself alone.
func prepareLocalResponseNorm(c *graph.Call) (graph.Step, error) {
	p, err := responseParams(c)
	if err != nil {
		return graph.Step{}, err
	}
	v, l := kernels(c), lineOf(c.Shape(0), 1)
	before, after := p.size/2, (p.size-1)/2
	if len(c.Shape(0)) == 3 {
		before, after = 0, 0
	}
	tiles := ceilDiv(l.inner, tileElems)
	work := min(p.size, l.n) + 16 // of a power
	s := byRows("local_response_norm", l.outer*l.n*tiles, work*min(l.inner, tileElems), func(x *graph.Exec, i int) {
		row, lo := i/tiles, i%tiles*tileElems
		w := min(tileElems, l.inner-lo)
		ch, src := row%l.n, x.F32(0)
		at := func(channel int) []float32 { return src[(row-ch+channel)*l.inner+lo:][:w] }
		sum := x.Scratch()[:w]
		fill(sum, 0)
		for k := max(ch-before, 0); k <= min(ch+after, l.n-1); k++ {
			v.MulAdd(sum, at(k), at(k), sum)
		}
		v.ScaleShift(sum, sum, p.alpha/float32(p.size), p.k)
		v.PowS(sum, sum, -p.beta)
		v.Mul(x.OutF32(0)[row*l.inner+lo:][:w], at(ch), sum)
	})
	s.Scratch = tileBytes
	return s, nil
}
