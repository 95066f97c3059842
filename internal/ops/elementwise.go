package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/tensor"
)

// tile is the number of elements that an elementwise step treats at once, so
// that they stay in cache from one operator of the chain to the next; task is
// the number that one task treats.
const (
	tileElems = 2048
	taskElems = 16 * tileElems
)

// unary is an operator y = f(x) on floats. bind reads the parameters.
func unary(name, doc string, zero bool, bind func(*graph.Call) (func(dst, a []float32), error), params ...graph.Input) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append([]graph.Input{graph.In("x", graph.Float)}, params...),
		Infer:  sameAsX,
		Elem: func(c *graph.Call) (graph.Elem, error) {
			f, err := bind(c)
			return graph.Elem{F1: f, Zero: zero}, err
		},
		Prepare: prepareElem, Alias: overwrite, Fit: fitElem, Post: true,
	}
}

func sameAsX(c *graph.Call) ([]graph.Type, error) { return []graph.Type{c.Type(0)}, nil }

// overwrite lets output 0 reuse the memory of any operand of the same size.
func overwrite(c *graph.Call) []graph.Alias {
	var out []graph.Alias
	for i, o := range c.In[:c.Own] {
		if o.Const == nil && o.Form == c.Out[0].Form && tensor.EqualShape(o.Type.Shape, c.Out[0].Type.Shape) &&
			graph.StoreDType(o.Type.DType) == graph.StoreDType(c.Out[0].Type.DType) {
			out = append(out, graph.Alias{Kind: graph.InPlace, In: i})
		}
	}
	return out
}

// fitElem lets an elementwise call run on blocked memory: all its tensors have
// one rank and the channels of the result, or are constants or single numbers.
func fitElem(c *graph.Call, f graph.Form) graph.Fit {
	out := c.Out[0].Type
	if f != graph.Blocked || !blockable(out) {
		return graph.Fit{}
	}
	fit := graph.Fit{Out: 1}
	for i, o := range c.In[:c.Own] {
		s := o.Type.Shape
		switch {
		case o.Type.Elements() == 1:
		case len(s) > len(out.Shape):
			return graph.Fit{}
		case o.Const != nil:
		case len(s) == len(out.Shape) && s[1] == out.Shape[1]:
			fit.In |= 1 << i
		default:
			return graph.Fit{}
		}
	}
	return fit
}

// blockable reports whether a tensor can be held in the blocked form at all.
func blockable(t graph.Type) bool {
	return t.Kind == graph.KindTensor && t.DType.IsFloat() && (len(t.Shape) == 3 || len(t.Shape) == 4) && t.Elements() > 0
}

// prepareElem makes the step of an elementwise call on floats, with its Post.
func prepareElem(c *graph.Call) (graph.Step, error) {
	e, err := c.Op.Elem(c)
	if err != nil {
		return graph.Step{}, err
	}
	// The running value is the first operand that has the result's shape.
	src, other := 0, -1
	if e.F1 == nil {
		src, other = orient(c)
	}
	ch := &chain{}
	if err := ch.add(c, e, other, src == 0); err != nil {
		return graph.Step{}, err
	}
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	ch.links = append(ch.links, post.links...)
	if post.pad.on {
		ch.pad = post.pad
	}
	n := graph.Bytes(c.Out[0].Type, c.Out[0].Form, c.Lanes()) / 4
	in := newSource(c, src)
	return graph.Parallel("elementwise "+c.Op.Name, (n+taskElems-1)/taskElems, func(x *graph.Exec, task int) error {
		dst := x.OutF32(0)
		for off := task * taskElems; off < min((task+1)*taskElems, n); off += tileElems {
			d := dst[off:min(off+tileElems, n)]
			ch.links[0].apply(x, d, in.tile(x, d, off), off)
			for i := 1; i < len(ch.links); i++ {
				ch.links[i].apply(x, d, d, off)
			}
			if ch.pad.on {
				ch.pad.clear(d, off)
			}
		}
		return nil
	}), nil
}

// orient chooses which of two operands is the running value: one of the result's shape if there is one.
func orient(c *graph.Call) (src, other int) {
	full := func(i int) bool {
		return c.In[i].Const == nil && tensor.EqualShape(c.In[i].Type.Shape, c.Out[0].Type.Shape)
	}
	if !full(0) && (full(1) || c.In[0].Const != nil && c.In[1].Const == nil) {
		return 1, 0
	}
	return 0, 1
}

// source gives the running value of an elementwise step for a tile: the
// operand's own memory, or its broadcast elements written to the tile.
type source struct {
	in   int
	walk walk
	same bool
	pack *graph.Packed
}

func newSource(c *graph.Call, in int) source {
	out, o := c.Out[0], c.In[in]
	s := source{in: in}
	if o.Const != nil && out.Form == graph.Blocked && o.Type.Elements() > 1 {
		s.pack = c.Pack(in, blockConst(o.Type, len(out.Type.Shape), c.Lanes()))
		o.Form, o.Type.Shape = graph.Blocked, rankUp(o.Type.Shape, len(out.Type.Shape))
	}
	s.walk = newWalk(physical(out, c.Lanes()), physical(o, c.Lanes()))
	s.same = s.walk.same() && o.Type.Elements() == out.Type.Elements()
	return s
}

func (s *source) tile(x *graph.Exec, dst []float32, off int) []float32 {
	var o []float32
	if s.pack != nil {
		o = s.pack.F32()
	} else {
		o = x.F32(s.in)
	}
	if s.same {
		return o[off : off+len(dst)]
	}
	s.walk.each(x, len(dst), off, o,
		func(at, n int, v []float32) { copy(dst[at:at+n], v) },
		func(at, n int, v float32) { fill(dst[at:at+n], v) })
	return dst
}

func fill[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// broadcast is the shape of an elementwise result, by NumPy's rules.
func broadcast(shapes ...[]int) ([]int, error) {
	rank := 0
	for _, s := range shapes {
		rank = max(rank, len(s))
	}
	out := rankUp(nil, rank)
	for _, s := range shapes {
		for i, d := range s {
			o := &out[rank-len(s)+i]
			if *o == 1 {
				*o = d
			} else if d != 1 && d != *o {
				return nil, fmt.Errorf("shapes %v: cannot be broadcast together", shapes)
			}
		}
	}
	return out, nil
}
