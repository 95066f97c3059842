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
	rank := len(p.x)
	for rank > 0 && p.before[rank-1] == 0 && p.after[rank-1] == 0 {
		rank--
	}
	if rank == 0 {
		n := []int{volume(p.x)}
		return moveStep("pad", newMove(widthOf(c.In[0]), n, []int{1}, 0, []int{1}, 0), 0), nil
	}
	w := widthOf(c.In[0])
	group := volume(p.x[rank:]) * w // bytes that stay together
	p.x, p.shape = p.x[:rank], p.shape[:rank]
	p.mergeLeading()
	rank = len(p.x)
	edge := p.edge()
	row, inner := p.x[rank-1]*group, p.shape[rank-1]*group
	return byRows("pad "+p.mode, volume(p.shape[:rank-1]), inner/4, func(x *graph.Exec, r int) {
		dst := x.OutBytes(0)[r*inner:][:inner]
		from, ok := p.rowOf(r)
		if !ok {
			fillBits(dst, w, bits)
			return
		}
		src := x.Bytes(0)[from*row:][:row]
		lo := p.before[rank-1] * group
		copy(dst[lo:], src)
		if p.mode == "constant" {
			fillBits(dst[:lo], w, bits)
			fillBits(dst[lo+row:], w, bits)
			return
		}
		for _, e := range edge {
			if group == 4 {
				*(*[4]byte)(dst[e.to*4:]) = [4]byte(src[e.from*4:])
			} else {
				copy(dst[e.to*group:(e.to+1)*group], src[e.from*group:])
			}
		}
	}), nil
}

// mergeLeading joins neighbouring dimensions without padding, all but the last one.
func (p *padPlan) mergeLeading() {
	bare := func(d int) bool { return p.before[d] == 0 && p.after[d] == 0 }
	q := padPlan{mode: p.mode}
	for d := range p.x {
		k := len(q.x) - 1
		if k >= 0 && d < len(p.x)-1 && bare(d) && bare(d-1) {
			q.x[k] *= p.x[d]
			q.shape[k] *= p.x[d]
			continue
		}
		q.x, q.shape = append(q.x, p.x[d]), append(q.shape, p.shape[d])
		q.before, q.after = append(q.before, p.before[d]), append(q.after, p.after[d])
	}
	*p = q
}

// edgeElem is an element of a padded row and the one of x's row that it repeats.
type edgeElem struct{ to, from int }

// edge is the padding of the last dimension, where it repeats elements.
func (p *padPlan) edge() []edgeElem {
	var out []edgeElem
	d := len(p.x) - 1
	for i := 0; i < p.shape[d] && p.mode != "constant"; i++ {
		if i == p.before[d] {
			i += p.x[d]
		}
		if i < p.shape[d] {
			out = append(out, edgeElem{i, p.source(d, i)})
		}
	}
	return out
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
