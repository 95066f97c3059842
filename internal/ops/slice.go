package ops

import (
	"fmt"
	"math"

	"coreml/internal/graph"
)

// sliceOps cut boxes out of a tensor, or write one into it.
var sliceOps = []*graph.Op{
	sliceByIndex(),
	{
		Name: "slice_by_size", Doc: "The box of x of the given size that starts at begin; size -1 reaches to the end.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("begin", graph.Int), graph.In("size", graph.Int)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			size, err := sliceSize(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 2, c.Type(0).DType, size)
		},
		Prepare: prepareSliceBySize, Alias: aliasSliceBySize, Fit: fitHalf(0),
	},
	mover("crop", "x without the given numbers of rows and columns at the edges of its last two dimensions.", cropEdges,
		graph.In("crop_height", graph.Int), graph.In("crop_width", graph.Int)),
	{
		Name: "slice_update", Since: graph.IOS18, Doc: "x with update written where slice_by_index would have cut.",
		Inputs: append([]graph.Input{graph.In("x", graph.Tensor), graph.In("update", graph.Tensor)}, sliceParams()...),
		Infer:  inferSliceUpdate, Prepare: prepareSliceUpdate, Fit: fitSliceUpdate,
		Alias: aliasUpdate,
	},
}

func sliceParams() []graph.Input {
	return []graph.Input{graph.In("begin", graph.Int), graph.In("end", graph.Int), graph.Opt("stride", graph.Int),
		graph.Opt("begin_mask", graph.Bool), graph.Opt("end_mask", graph.Bool), graph.Opt("squeeze_mask", graph.Bool)}
}

// slicing is what slice_by_index and slice_update know of a slice without its bounds.
type slicing struct {
	x                           []int
	stride                      []int
	beginMask, endMask, squeeze []bool
}

// newSlicing reads the arguments after begin and end, which is argument first.
func newSlicing(c *graph.Call, first int) (slicing, error) {
	s := slicing{x: c.Shape(0)}
	r := len(s.x)
	var err error
	if s.stride, err = c.Ints(first + 2); err != nil {
		return s, err
	}
	if !c.Has(first + 2) {
		s.stride = make([]int, r)
		fill(s.stride, 1)
	}
	if len(s.stride) != r {
		return s, c.Errorf(first+2, "%d values, want the rank of x, %d", len(s.stride), r)
	}
	for i, m := range []*[]bool{&s.beginMask, &s.endMask, &s.squeeze} {
		arg := first + 3 + i
		if *m, err = c.Bools(arg); err != nil {
			return s, err
		}
		if !c.Has(arg) {
			*m = make([]bool, r)
		}
		if len(*m) != r {
			return s, c.Errorf(arg, "%d values, want the rank of x, %d", len(*m), r)
		}
	}
	for i, st := range s.stride {
		if st == 0 || st < math.MinInt32 || st > math.MaxInt32 {
			return s, c.Errorf(first+2, "stride %d of dimension %d, want a number of 32 bits other than 0", st, i)
		}
	}
	return s, nil
}

// dim is the first index and the number of indices of dimension i between begin and end, read as Python does.
func (s *slicing) dim(i, begin, end int) (first, n int, err error) {
	d := s.x[i]
	if begin < 0 {
		begin += d
	}
	if end < 0 {
		end += d
	}
	if s.squeeze[i] {
		if s.beginMask[i] {
			begin = 0
		}
		if begin < 0 || begin >= d {
			return 0, 0, fmt.Errorf("begin: index %d in a dimension %d of size %d", begin, i, d)
		}
		return begin, 1, nil
	}
	st := s.stride[i]
	if st > 0 {
		begin, end = min(max(begin, 0), d), min(max(end, 0), d)
		if s.beginMask[i] {
			begin = 0
		}
		if s.endMask[i] {
			end = d
		}
		return begin, max(0, (end-begin+st-1)/st), nil
	}
	begin, end = min(max(begin, -1), d-1), min(max(end, -1), d-1)
	if s.beginMask[i] {
		begin = d - 1
	}
	if s.endMask[i] {
		end = -1
	}
	return begin, max(0, (begin-end-st-1)/-st), nil
}

// box places the slice between bounds.
func (s *slicing) box(begin, end []int) (box, error) {
	b := box{stride: rowMajor(s.x), shape: []int{}}
	for i := range s.x {
		first, n, err := s.dim(i, begin[i], end[i])
		if err != nil {
			return b, err
		}
		b.off += first * b.stride[i]
		b.stride[i] *= s.stride[i]
		b.size = append(b.size, n)
		if !s.squeeze[i] {
			b.shape = append(b.shape, n)
		}
	}
	return b, nil
}

func sliceIndexPlan(c *graph.Call) (box, error) {
	s, err := newSlicing(c, 1)
	if err != nil {
		return box{}, err
	}
	begin, err := s.bounds(c, 1, s.beginMask)
	if err != nil {
		return box{}, err
	}
	end, err := s.bounds(c, 2, s.endMask)
	if err != nil {
		return box{}, err
	}
	return s.box(begin, end)
}

// bounds reads begin or end. Where neither is known and no extent depends on it, they are zeros.
func (s *slicing) bounds(c *graph.Call, arg int, mask []bool) ([]int, error) {
	if c.In[c.At(arg)].Const != nil {
		return intsOfRank(c, arg)
	}
	for i := range s.x {
		if !s.squeeze[i] && !mask[i] {
			return intsOfRank(c, arg)
		}
	}
	if n := volume(c.Shape(arg)); n != len(s.x) {
		return nil, c.Errorf(arg, "%d values, want the rank of x, %d", n, len(s.x))
	}
	return make([]int, len(s.x)), nil
}

// sliceByIndex is a mover, except that the indices of squeezed dimensions may be left to the run.
func sliceByIndex() *graph.Op {
	op := mover("slice_by_index", "x[begin[0]:end[0]:stride[0], …]; a masked bound is the end of the dimension, a squeezed dimension goes.",
		sliceIndexPlan, sliceParams()...)
	prepare, alias := op.Prepare, op.Alias
	late := func(c *graph.Call) bool { return c.In[c.At(1)].Const == nil }
	op.Prepare = func(c *graph.Call) (graph.Step, error) {
		if late(c) {
			return prepareLateSlice(c)
		}
		return prepare(c)
	}
	op.Alias = func(c *graph.Call) []graph.Alias {
		if late(c) {
			return nil
		}
		return alias(c)
	}
	return op
}

func prepareLateSlice(c *graph.Call) (graph.Step, error) {
	s, err := newSlicing(c, 1)
	if err != nil {
		return graph.Step{}, err
	}
	m, err := boxMove(c, sliceIndexPlan)
	if err != nil {
		return graph.Step{}, err
	}
	st, begin := rowMajor(s.x), c.At(1)
	return graph.Parallel(c.Op.Name, m.tasks(), func(x *graph.Exec, task int) error {
		at := m
		for i, b := range x.I32(begin)[:len(st)] {
			if s.squeeze[i] {
				first, _, err := s.dim(i, int(b), 0)
				if err != nil {
					return err
				}
				at.srcOff += first * st[i]
			}
		}
		at.run(x.OutBytes(0), x.Bytes(0), task)
		return nil
	}), nil
}

// intsOfRank reads one integer for each dimension of argument 0.
func intsOfRank(c *graph.Call, arg int) ([]int, error) {
	v, err := c.Ints(arg)
	if err == nil && len(v) != len(c.Shape(0)) {
		err = c.Errorf(arg, "%d values, want the rank of x, %d", len(v), len(c.Shape(0)))
	}
	return v, err
}

func cropEdges(c *graph.Call) (box, error) {
	x := c.Shape(0)
	r := len(x)
	if r < 2 {
		return box{}, c.Errorf(0, "rank %d, want at least 2", r)
	}
	b := box{size: append([]int(nil), x...), stride: rowMajor(x)}
	for i := 0; i < 2; i++ {
		v, err := c.Ints(1 + i)
		if err != nil {
			return b, err
		}
		d := r - 2 + i
		if len(v) != 2 || v[0] < 0 || v[1] < 0 || v[0]+v[1] > x[d] {
			return b, c.Errorf(1+i, "%v, want two numbers that together are at most %d", v, x[d])
		}
		b.size[d] -= v[0] + v[1]
		b.off += v[0] * b.stride[d]
	}
	b.shape = b.size
	return b, nil
}
