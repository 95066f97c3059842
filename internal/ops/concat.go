package ops

import (
	"slices"

	"coreml/internal/graph"
)

// concatOps join tensors and take them apart.
var concatOps = []*graph.Op{
	{
		Name: "concat", Doc: "The values one after the other along axis, or taking turns (interleave); numbers of rank 0 become a vector.",
		Inputs: []graph.Input{graph.Var("values", graph.Tensor), graph.In("axis", graph.Int), graph.Def("interleave", graph.Bool, false)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			p, err := concatPlan(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 0, c.Type(0).DType, p.shape)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) { return prepareJoin(c, concatPlan) },
		Alias:   func(c *graph.Call) []graph.Alias { return aliasJoin(c, concatPlan) },
		Fit:     fitConcat,
	},
	{
		Name: "stack", Doc: "The values along a new dimension at axis.",
		Inputs: []graph.Input{graph.Var("values", graph.Tensor), graph.In("axis", graph.Int)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			p, err := stackPlan(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 0, c.Type(0).DType, p.shape)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) { return prepareJoin(c, stackPlan) },
		Alias:   func(c *graph.Call) []graph.Alias { return aliasJoin(c, stackPlan) },
	},
	{
		Name: "split", Doc: "x cut along axis into num_splits equal parts, or into parts of split_sizes.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.Opt("num_splits", graph.Int), graph.Opt("split_sizes", graph.Int), graph.In("axis", graph.Int)},
		Infer:  inferSplit, Prepare: prepareSplit, Alias: aliasSplit, Fit: fitSplit,
	},
}

// join says where the values of concat and stack go: value i starts at element
// off[i] of the result and moves through it by stride, a step for each of the value's dimensions.
type join struct {
	shape  []int
	stride []int
	off    []int
}

func (p *join) move(o graph.Operand, i int) move {
	s := o.Type.Shape
	return newMove(widthOf(o), s, p.stride, p.off[i], rowMajor(s), 0)
}

// joined reads what concat and stack have in common: values of one dtype and rank.
func joined(c *graph.Call) (values []graph.Operand, err error) {
	if c.N(0) == 0 {
		return nil, c.Errorf(0, "no values, want at least one")
	}
	values = c.In[c.At(0):][:c.N(0)]
	for i, v := range values {
		if v.Type.DType != values[0].Type.DType {
			return nil, c.Errorf(0, "value %d: %v, want %v as the first", i, v.Type.DType, values[0].Type.DType)
		}
		if len(v.Type.Shape) != len(values[0].Type.Shape) {
			return nil, c.Errorf(0, "value %d: rank %d, want %d as the first", i, len(v.Type.Shape), len(values[0].Type.Shape))
		}
	}
	return values, nil
}

func concatPlan(c *graph.Call) (join, error) {
	values, err := joined(c)
	if err != nil {
		return join{}, err
	}
	first := values[0].Type.Shape
	if len(first) == 0 {
		p := join{shape: []int{len(values)}}
		for i := range values {
			p.off = append(p.off, i)
		}
		return p, nil
	}
	axis, err := intAxis(c, 1, len(first))
	if err != nil {
		return join{}, err
	}
	interleave, err := c.Bool(2)
	if err != nil {
		return join{}, err
	}
	p := join{shape: slices.Clone(first)}
	p.shape[axis] = 0
	for i, v := range values {
		s := v.Type.Shape
		for d := range s {
			if s[d] != first[d] && (d != axis || interleave) {
				return join{}, c.Errorf(0, "value %d: shape %v does not fit %v", i, s, first)
			}
		}
		p.off = append(p.off, p.shape[axis])
		p.shape[axis] += s[axis]
	}
	if err := checkShape(c, 0, p.shape); err != nil {
		return join{}, err
	}
	p.stride = rowMajor(p.shape)
	st := p.stride[axis]
	if interleave {
		p.stride[axis] *= len(values)
	}
	for i := range p.off {
		if interleave {
			p.off[i] = i
		}
		p.off[i] *= st
	}
	return p, nil
}

func stackPlan(c *graph.Call) (join, error) {
	values, err := joined(c)
	if err != nil {
		return join{}, err
	}
	first := values[0].Type.Shape
	for i, v := range values {
		if !slices.Equal(v.Type.Shape, first) {
			return join{}, c.Errorf(0, "value %d: shape %v, want %v as the first", i, v.Type.Shape, first)
		}
	}
	axis, err := intAxis(c, 1, len(first)+1)
	if err != nil {
		return join{}, err
	}
	p := join{shape: slices.Insert(slices.Clone(first), axis, len(values))}
	if err := checkShape(c, 0, p.shape); err != nil {
		return join{}, err
	}
	st := rowMajor(p.shape)
	for i := range values {
		p.off = append(p.off, i*st[axis])
	}
	p.stride = slices.Delete(st, axis, axis+1)
	return p, nil
}

// part is one move of a step that has several.
type part struct {
	move
	in, out int
}

// partsStep runs several moves as one set of tasks. A part whose memory already lies in place is left out.
func partsStep(kernel string, parts []part) graph.Step {
	ends := make([]int, len(parts))
	total := 0
	for i := range parts {
		total += parts[i].tasks()
		ends[i] = total
	}
	return graph.Parallel(kernel, total, func(x *graph.Exec, task int) error {
		i, _ := slices.BinarySearch(ends, task+1)
		p := &parts[i]
		dst, src := x.OutBytes(p.out), x.Bytes(p.in)
		if p.dense() && sameMemory(dst[p.dstOff*p.width:], src[p.srcOff*p.width:]) {
			return nil
		}
		p.run(dst, src, task-(ends[i]-p.tasks()))
		return nil
	})
}

func prepareJoin(c *graph.Call, plan func(*graph.Call) (join, error)) (graph.Step, error) {
	p, err := plan(c)
	if err != nil {
		return graph.Step{}, err
	}
	if c.Out[0].Form == graph.Blocked {
		return prepareConcatBlocked(c)
	}
	parts := make([]part, c.N(0))
	for i := range parts {
		at := c.At(0) + i
		parts[i] = part{move: p.move(c.In[at], i), in: at}
	}
	return partsStep(c.Op.Name, parts), nil
}

// aliasJoin lets a value be computed where it will stand: when it is one run of
// the result. A value that occurs twice is placed once.
func aliasJoin(c *graph.Call, plan func(*graph.Call) (join, error)) []graph.Alias {
	p, err := plan(c)
	if err != nil {
		return nil
	}
	var out []graph.Alias
	values := c.In[c.At(0):][:c.N(0)]
	for i, o := range values {
		m := p.move(o, i)
		off := p.off[i]
		dense := m.dense()
		if c.Out[0].Form == graph.Blocked {
			off, dense = blockedPlace(c, i)
		}
		twice := slices.ContainsFunc(values[:i], func(q graph.Operand) bool { return q.Value == o.Value })
		if o.Const == nil && !twice && dense && o.Form == c.Out[0].Form && o.Type.Elements() > 0 && m.width == 4 {
			out = append(out, graph.Alias{Kind: graph.Place, In: c.At(0) + i, Off: off})
		}
	}
	return out
}

// splitSizes is the axis and the sizes of the parts along it.
func splitSizes(c *graph.Call) (axis int, sizes []int, err error) {
	x, want := c.Shape(0), len(c.Out)
	if axis, err = intAxis(c, 3, len(x)); err != nil {
		return 0, nil, err
	}
	if want == 0 {
		return 0, nil, c.Errorf(0, "split into no outputs")
	}
	if c.Given(1) {
		n, err := c.Int(1)
		if err != nil {
			return 0, nil, err
		}
		if n != want {
			return 0, nil, c.Errorf(1, "%d parts, but the operation has %d outputs", n, want)
		}
	}
	if c.Given(2) {
		sizes, err = c.Ints(2)
	} else if !c.Given(1) {
		return 0, nil, c.Errorf(1, "neither num_splits nor split_sizes is given")
	} else if x[axis]%want != 0 {
		return 0, nil, c.Errorf(1, "%d parts of a dimension of size %d", want, x[axis])
	} else {
		sizes = make([]int, want)
		fill(sizes, x[axis]/want)
	}
	if err != nil {
		return 0, nil, err
	}
	if len(sizes) != want {
		return 0, nil, c.Errorf(2, "%d parts, but the operation has %d outputs", len(sizes), want)
	}
	left := x[axis]
	for _, s := range sizes {
		if s < 0 || s > left {
			return 0, nil, c.Errorf(2, "%v of a dimension of size %d", sizes, x[axis])
		}
		left -= s
	}
	if left != 0 {
		return 0, nil, c.Errorf(2, "%v, want a sum of %d", sizes, x[axis])
	}
	return axis, sizes, nil
}

func inferSplit(c *graph.Call) ([]graph.Type, error) {
	axis, sizes, err := splitSizes(c)
	if err != nil {
		return nil, err
	}
	out := make([]graph.Type, len(sizes))
	for i, s := range sizes {
		shape := slices.Clone(c.Shape(0))
		shape[axis] = s
		out[i] = graph.TensorOf(c.Type(0).DType, shape...)
	}
	return out, nil
}

func splitParts(c *graph.Call) ([]part, error) {
	axis, sizes, err := splitSizes(c)
	if err != nil {
		return nil, err
	}
	x := c.Shape(0)
	st := rowMajor(x)
	var parts []part
	off := 0
	for i, s := range sizes {
		size := slices.Clone(x)
		size[axis] = s
		parts = append(parts, part{out: i, move: newMove(widthOf(c.In[0]), size, rowMajor(size), 0, st, off*st[axis])})
		off += s
	}
	return parts, nil
}

func prepareSplit(c *graph.Call) (graph.Step, error) {
	if c.In[0].Form == graph.Blocked {
		return prepareSplitBlocked(c)
	}
	parts, err := splitParts(c)
	if err != nil {
		return graph.Step{}, err
	}
	s := partsStep("split", parts)
	s.NoOp = !slices.ContainsFunc(parts, func(p part) bool { return !p.dense() })
	return s, nil
}

func aliasSplit(c *graph.Call) []graph.Alias {
	var out []graph.Alias
	if c.In[0].Form == graph.Blocked {
		return aliasSplitBlocked(c)
	}
	parts, err := splitParts(c)
	if err != nil {
		return nil
	}
	for i, p := range parts {
		if p.dense() && c.Out[i].Form == c.In[0].Form {
			out = append(out, graph.Alias{Kind: graph.View, Out: i, Off: p.srcOff})
		}
	}
	return out
}
