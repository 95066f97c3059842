package ops

import (
	"fmt"

	"coreml/internal/graph"
)

// sliceSize is the shape of slice_by_size. begin is needed only where size is -1.
func sliceSize(c *graph.Call) ([]int, error) {
	x := c.Shape(0)
	size, err := intsOfRank(c, 2)
	if err != nil {
		return nil, err
	}
	if n := volume(c.Shape(1)); n != len(x) {
		return nil, c.Errorf(1, "%d values, want the rank of x, %d", n, len(x))
	}
	for i, s := range size {
		if s < -1 || s > x[i] {
			return nil, c.Errorf(2, "%v in a tensor of shape %v", size, x)
		}
		if s != -1 {
			continue
		}
		begin, err := c.Ints(1)
		if err != nil {
			return nil, err
		}
		b := begin[i]
		if b < 0 {
			b += x[i]
		}
		if b < 0 || b > x[i] {
			return nil, c.Errorf(1, "%v in a tensor of shape %v", begin, x)
		}
		size[i] = x[i] - b
	}
	return size, nil
}

// sliceBySizeMove is the move for a known begin.
func sliceBySizeMove(c *graph.Call) (move, error) {
	begin, err := c.Ints(1)
	if err != nil {
		return move{}, err
	}
	off, err := boxOffset(c.Shape(0), c.Out[0].Type.Shape, begin)
	if err != nil {
		return move{}, err
	}
	size := c.Out[0].Type.Shape
	return newMove(widthOf(c.In[0]), size, rowMajor(size), 0, rowMajor(c.Shape(0)), off), nil
}

// boxOffset is the element of x at which a box of a given size starts.
func boxOffset[T int | int32](x, size []int, begin []T) (int, error) {
	off := 0
	for i, v := range begin {
		b := int(v)
		if b < 0 {
			b += x[i]
		}
		if b < 0 || b+size[i] > x[i] {
			return 0, fmt.Errorf("begin: %d with size %d in a dimension %d of size %d", v, size[i], i, x[i])
		}
		off = off*x[i] + b
	}
	return off, nil
}

func prepareSliceBySize(c *graph.Call) (graph.Step, error) {
	if c.In[c.At(1)].Const != nil {
		m, err := sliceBySizeMove(c)
		switch {
		case err != nil:
			return graph.Step{}, err
		case m.dense():
			return viewStep(c.Op.Name, m, 0), nil
		}
		return moveStep(c.Op.Name, m, 0), nil
	}
	x, size, begin := c.Shape(0), c.Out[0].Type.Shape, c.At(1)
	m := newMove(widthOf(c.In[0]), size, rowMajor(size), 0, rowMajor(x), 0)
	return graph.Parallel(c.Op.Name, m.tasks(), func(e *graph.Exec, task int) error {
		off, err := boxOffset(x, size, e.I32(begin)[:len(x)])
		if err != nil {
			return err
		}
		at := m
		at.srcOff = off
		at.run(e.OutBytes(0), e.Bytes(0), task)
		return nil
	}), nil
}

func aliasSliceBySize(c *graph.Call) []graph.Alias {
	if c.In[c.At(1)].Const == nil || c.In[0].Form != c.Out[0].Form {
		return nil
	}
	m, err := sliceBySizeMove(c)
	if err != nil || !m.dense() {
		return nil
	}
	return []graph.Alias{{Kind: graph.View, Off: m.srcOff}}
}
