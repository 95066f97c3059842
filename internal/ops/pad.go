package ops

import (
	"slices"

	"coreml/internal/graph"
)

var padOps = []*graph.Op{{
	Name: "pad", Doc: "x with pad[2i] elements before and pad[2i+1] after in its last dimensions: constant_val, reflections, or the edge.",
	Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("pad", graph.Int), graph.Def("mode", graph.String, "constant"),
		graph.Def("constant_val", graph.Tensor, 0.0)},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		p, err := newPadPlan(c)
		if err != nil {
			return nil, err
		}
		if _, err := bitsOf(c, 3, c.Type(0).DType); err != nil {
			return nil, err
		}
		return typed(c, 1, c.Type(0).DType, p.shape)
	},
	Prepare: preparePad, Fit: fitPad,
}}

// padPlan is the padding of each dimension of x.
type padPlan struct {
	x, shape      []int
	before, after []int
	mode          string
}

func newPadPlan(c *graph.Call) (padPlan, error) {
	p := padPlan{x: c.Shape(0), shape: slices.Clone(c.Shape(0))}
	r := len(p.x)
	var err error
	if p.mode, err = c.Str(2); err != nil {
		return p, err
	}
	if p.mode != "constant" && p.mode != "reflect" && p.mode != "replicate" {
		return p, c.Errorf(2, "%q, want constant, reflect or replicate", p.mode)
	}
	v, err := c.Ints(1)
	if err != nil {
		return p, err
	}
	if len(v)%2 != 0 || len(v) > 2*r {
		return p, c.Errorf(1, "%d values, want two for each of at most %d dimensions", len(v), r)
	}
	p.before, p.after = make([]int, r), make([]int, r)
	for i := range len(v) / 2 {
		d := r - len(v)/2 + i
		p.before[d], p.after[d] = v[2*i], v[2*i+1]
		if err := p.check(c, d); err != nil {
			return p, err
		}
		p.shape[d] += v[2*i] + v[2*i+1]
	}
	return p, checkShape(c, 1, p.shape)
}

// check refuses negative padding, reflections beyond the far edge, and any but constant padding of nothing.
func (p *padPlan) check(c *graph.Call, d int) error {
	b, a, n := p.before[d], p.after[d], p.x[d]
	if b < 0 || a < 0 || b > 1<<40 || a > 1<<40 {
		return c.Errorf(1, "%d and %d for dimension %d, want no negative numbers", b, a, d)
	}
	if p.mode == "reflect" && max(b, a) > max(n-1, 0) {
		return c.Errorf(1, "%d and %d for dimension %d of size %d, want less than the size to reflect", b, a, d, n)
	}
	if p.mode == "replicate" && n == 0 && b+a > 0 {
		return c.Errorf(1, "dimension %d is empty, nothing to replicate", d)
	}
	return nil
}

// source is the index in x of index i of the result along dimension d; -1: padding.
func (p *padPlan) source(d, i int) int {
	n := p.x[d]
	k := i - p.before[d]
	if k >= 0 && k < n {
		return k
	}
	switch p.mode {
	case "reflect":
		if k < 0 {
			return -k
		}
		return 2*(n-1) - k
	case "replicate":
		return min(max(k, 0), n-1)
	}
	return -1
}

// blocked turns the plan into that of the memory of a blocked tensor, one dimension more.
func (p *padPlan) blocked(x, out graph.Operand, lanes int) {
	p.x, p.shape = physical(x, lanes), physical(out, lanes)
	p.before, p.after = append(slices.Clone(p.before), 0), append(slices.Clone(p.after), 0)
}

// fitPad takes blocked tensors when the channels are not padded.
func fitPad(c *graph.Call, f graph.Form) graph.Fit {
	p, err := newPadPlan(c)
	if err != nil || f != graph.Blocked || !blockable(c.Type(0)) || !blockable(c.Out[0].Type) || p.before[1] != 0 || p.after[1] != 0 {
		return graph.Fit{}
	}
	if v, err := bitsOf(c, 3, c.Type(0).DType); err != nil || p.mode == "constant" && v != 0 && p.x[1]%c.Lanes() != 0 {
		return graph.Fit{} // a constant other than 0 would get into the pad lanes
	}
	return graph.Fit{In: 1, Out: 1}
}

func preparePad(c *graph.Call) (graph.Step, error) {
	p, err := newPadPlan(c)
	if err != nil {
		return graph.Step{}, err
	}
	bits, err := bitsOf(c, 3, c.Type(0).DType)
	if err != nil {
		return graph.Step{}, err
	}
	if c.Out[0].Form == graph.Blocked {
		p.blocked(c.In[0], c.Out[0], c.Lanes())
	}
	if len(p.x) == 0 {
		return moveStep("pad", newMove(widthOf(c.In[0]), nil, nil, 0, nil, 0), 0), nil
	}
	p.merge()
	w, rank := widthOf(c.In[0]), len(p.shape)
	inner, row := p.shape[rank-1], p.x[rank-1]
	rows := volume(p.shape[:rank-1])
	return byRows("pad "+p.mode, rows, inner, func(x *graph.Exec, r int) {
		dst := x.OutBytes(0)[r*inner*w:][:inner*w]
		from, ok := p.rowOf(r)
		if !ok {
			fillBits(dst, w, bits)
			return
		}
		src := x.Bytes(0)[from*row*w:][:row*w]
		p.padRow(dst, src, w, bits)
	}), nil
}

// merge joins trailing dimensions that are not padded into the one before them,
// whose padding then counts in their elements: only for constant padding.
func (p *padPlan) merge() {
	for p.mode == "constant" && len(p.x) > 1 {
		last := len(p.x) - 1
		if p.before[last] != 0 || p.after[last] != 0 {
			return
		}
		n := p.x[last]
		p.x, p.shape = slices.Clone(p.x[:last]), slices.Clone(p.shape[:last])
		p.before, p.after = slices.Clone(p.before[:last]), slices.Clone(p.after[:last])
		p.x[last-1] *= n
		p.shape[last-1] *= n
		p.before[last-1] *= n
		p.after[last-1] *= n
	}
}

// rowOf is the row of x that row r of the result comes from; false: it is all padding.
func (p *padPlan) rowOf(r int) (int, bool) {
	from, st := 0, 1
	for d := len(p.shape) - 2; d >= 0; d-- {
		k := p.source(d, r%p.shape[d])
		if k < 0 {
			return 0, false
		}
		r /= p.shape[d]
		from += k * st
		st *= p.x[d]
	}
	return from, true
}

// padRow writes one row: what lies before, the row of x, and what lies after.
func (p *padPlan) padRow(dst, src []byte, w int, bits uint32) {
	d := len(p.x) - 1
	lo := p.before[d] * w
	copy(dst[lo:], src)
	if p.mode == "constant" {
		fillBits(dst[:lo], w, bits)
		fillBits(dst[lo+len(src):], w, bits)
		return
	}
	n := p.shape[d]
	for i := 0; i < p.before[d]; i++ {
		copyElem(dst, src, i, p.source(d, i), w)
	}
	for i := n - p.after[d]; i < n; i++ {
		copyElem(dst, src, i, p.source(d, i), w)
	}
}
