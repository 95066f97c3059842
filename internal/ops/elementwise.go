package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

// tile is the number of elements that an elementwise step treats at once, so
// that they stay in cache from one operator of the chain to the next; task is
// the number that one task treats.
const (
	tileElems = 2048
	taskElems = 16 * tileElems
)

// binder reads an elementwise operator's parameters and gives its arithmetic.
type binder func(*graph.Call, *vec.Funcs) (graph.Elem, error)

// unary is an operator y = f(x) on floats.
func unary(name, doc string, bind binder, params ...graph.Input) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append([]graph.Input{graph.In("x", graph.Float)}, params...),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if _, err := bind(c, kernels(c)); err != nil {
				return nil, err
			}
			return likeX(c), nil
		},
		Elem:    func(c *graph.Call) (graph.Elem, error) { return bind(c, kernels(c)) },
		Prepare: prepareElem, Alias: overwrite, Fit: fitElem, Post: true,
	}
}

// kernels are the vector kernels of the call's CPU level.
func kernels(c *graph.Call) *vec.Funcs { return vec.For(c.Level) }

// likeX is a result of the type of argument 0.
func likeX(c *graph.Call) []graph.Type {
	x := c.Type(0)
	return []graph.Type{graph.TensorOf(x.DType, x.Shape...)}
}

func sameAsX(c *graph.Call) ([]graph.Type, error) { return likeX(c), nil }

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
		src, other = orient(c, e)
	}
	in := newSource(c, src)
	ch := &chain{}
	if c.Out[0].Form == graph.Blocked && !in.same {
		ch.pad = newPadding(c.Out[0].Type.Shape, c.Lanes())
	}
	if err := ch.add(c, e, other, src == 0); err != nil {
		return graph.Step{}, err
	}
	if err := ch.addPost(c); err != nil {
		return graph.Step{}, err
	}
	n := graph.Bytes(c.Out[0].Type, c.Out[0].Form, c.Lanes()) / 4
	return graph.Parallel("elementwise "+c.Op.Name, tasksOf(n), func(x *graph.Exec, task int) error {
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

// tasksOf is the number of tasks for n elements of cheap work.
func tasksOf(n int) int { return (n + taskElems - 1) / taskElems }

// orient chooses which of two operands is the running value: one of the result's shape if there is one.
func orient(c *graph.Call, e graph.Elem) (src, other int) {
	if e.Channel {
		return 0, 1
	}
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
		shape := rankUp(o.Type.Shape, len(out.Type.Shape))
		s.pack = c.Pack(in, blockConst(shape, out.Type.Shape[1], c.Lanes()))
		o.Form, o.Type.Shape = graph.Blocked, shape
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
	spread(s.walk, dst, o, off)
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
