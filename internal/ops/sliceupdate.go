package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/tensor"
)

// inferSliceUpdate does not need the bounds: the result has the shape of x. Where they are known, they are checked.
func inferSliceUpdate(c *graph.Call) ([]graph.Type, error) {
	s, err := newSlicing(c, 2)
	if err != nil {
		return nil, err
	}
	if c.Type(1).DType != c.Type(0).DType {
		return nil, c.Errorf(1, "%v, want the dtype of x, %v", c.Type(1).DType, c.Type(0).DType)
	}
	for arg := 2; arg <= 3; arg++ {
		if n := volume(c.Shape(arg)); n != len(s.x) {
			return nil, c.Errorf(arg, "%d values, want the rank of x, %d", n, len(s.x))
		}
	}
	if _, err := updateSize(c, s); err != nil {
		return nil, err
	}
	if c.In[c.At(2)].Const != nil && c.In[c.At(3)].Const != nil {
		begin, err := c.Ints(2)
		if err != nil {
			return nil, err
		}
		end, err := c.Ints(3)
		if err != nil {
			return nil, err
		}
		b, err := s.box(begin, end)
		if err != nil {
			return nil, err
		}
		if !tensor.EqualShape(b.shape, c.Shape(1)) {
			return nil, c.Errorf(1, "shape %v, want %v", c.Shape(1), b.shape)
		}
	}
	return []graph.Type{c.Type(0)}, nil
}

// updateSize is the update's shape with a 1 for each squeezed dimension.
func updateSize(c *graph.Call, s slicing) ([]int, error) {
	u := c.Shape(1)
	size := make([]int, len(s.x))
	for i := range size {
		switch {
		case s.squeeze[i]:
			size[i] = 1
		case len(u) == 0:
			return nil, c.Errorf(1, "shape %v does not fit a slice of %v", c.Shape(1), s.x)
		default:
			size[i], u = u[0], u[1:]
		}
	}
	if len(u) > 0 {
		return nil, c.Errorf(1, "shape %v does not fit a slice of %v", c.Shape(1), s.x)
	}
	return size, nil
}

func prepareSliceUpdate(c *graph.Call) (graph.Step, error) {
	s, err := newSlicing(c, 2)
	if err != nil {
		return graph.Step{}, err
	}
	size, err := updateSize(c, s)
	if err != nil {
		return graph.Step{}, err
	}
	st := rowMajor(s.x)
	for i := range st {
		st[i] *= s.stride[i]
	}
	m := newMove(widthOf(c.In[0]), size, st, 0, rowMajor(size), 0)
	begin, end := c.At(2), c.At(3)
	c.Late(begin)
	c.Late(end)
	narrow := c.Out[0].Form == graph.Half && c.In[1].Form == graph.Plain
	step := graph.Step{Kernel: c.Op.Name}
	n := widthOf(c.In[0]) * volume(s.x)
	step.Phases = []graph.Phase{
		copyPhase(n, func(x *graph.Exec) []byte { return x.OutBytes(0) }, func(x *graph.Exec) []byte { return x.Bytes(0) }),
		{Tasks: m.tasks(), Run: func(x *graph.Exec, task int) error {
			off, err := s.offset(x.I32(begin), x.I32(end), size)
			if err != nil {
				return err
			}
			at := m
			at.dstOff = off
			if narrow {
				at.runToHalf(x.OutU16(0), x.F32(1), task)
			} else {
				at.run(x.OutBytes(0), x.Bytes(1), task)
			}
			return nil
		}},
	}
	return step, nil
}

// offset is where the slice starts, provided that it has the given size.
func (s *slicing) offset(begin, end []int32, size []int) (int, error) {
	off := 0
	for i, d := range s.x {
		first, n, err := s.dim(i, int(begin[i]), int(end[i]))
		if err != nil {
			return 0, err
		}
		if n != size[i] {
			return 0, fmt.Errorf("update: size %d in a dimension %d, want the slice's %d", size[i], i, n)
		}
		off = off*d + first
	}
	return off, nil
}

// aliasUpdate lets the result overwrite operand 0.
func aliasUpdate(c *graph.Call) []graph.Alias {
	if c.In[0].Const != nil || c.In[0].Form != c.Out[0].Form {
		return nil
	}
	return []graph.Alias{{Kind: graph.InPlace, Alone: true}}
}

// fitSliceUpdate keeps a state in the half form; update is rounded as it is written.
func fitSliceUpdate(c *graph.Call, f graph.Form) graph.Fit {
	if f != graph.Half || c.Type(0).DType != tensor.Float16 {
		return graph.Fit{}
	}
	return graph.Fit{In: 1, Out: 1}
}
