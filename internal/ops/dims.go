package ops

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// rowMajor is the strides of a dense tensor, in elements.
func rowMajor(shape []int) []int {
	st := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		st[i] = n
		n *= shape[i]
	}
	return st
}

// volume is the number of elements; the shape has been checked.
func volume(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// typed is a tensor type of a shape computed from a file's or a run's numbers,
// which makes it necessary to check them; arg is what is blamed.
func typed(c *graph.Call, arg int, d tensor.DType, shape []int) ([]graph.Type, error) {
	if err := checkShape(c, arg, shape); err != nil {
		return nil, err
	}
	return []graph.Type{graph.TensorOf(d, shape...)}, nil
}

func checkShape(c *graph.Call, arg int, shape []int) error {
	if len(shape) > graph.MaxRank {
		return c.Errorf(arg, "a result of rank %d, want at most %d", len(shape), graph.MaxRank)
	}
	if _, ok := tensor.Elements(shape); !ok {
		return c.Errorf(arg, "a result of shape %v, want no negative dimension and at most 2^40 elements", shape)
	}
	return nil
}

// axisOf brings an axis into 0 … rank-1; negative ones count from the end.
func axisOf(c *graph.Call, arg, v, rank int) (int, error) {
	if v < -rank || v >= rank {
		return 0, c.Errorf(arg, "axis %d, want %d to %d", v, -rank, rank-1)
	}
	if v < 0 {
		v += rank
	}
	return v, nil
}

// axesOf reads a list of different axes, in the order given.
func axesOf(c *graph.Call, arg, rank int) ([]int, error) {
	v, err := c.Ints(arg)
	if err != nil {
		return nil, err
	}
	seen := make([]bool, rank)
	out := make([]int, len(v))
	for i, a := range v {
		if out[i], err = axisOf(c, arg, a, rank); err != nil {
			return nil, err
		}
		if seen[out[i]] {
			return nil, c.Errorf(arg, "axis %d twice", a)
		}
		seen[out[i]] = true
	}
	return out, nil
}

// intAxis reads one axis.
func intAxis(c *graph.Call, arg, rank int) (int, error) {
	v, err := c.Int(arg)
	if err != nil {
		return 0, err
	}
	return axisOf(c, arg, v, rank)
}

// wantRank refuses an argument of another rank.
func wantRank(c *graph.Call, arg, rank int) error {
	if r := len(c.Shape(arg)); r != rank {
		return c.Errorf(arg, "rank %d, want %d", r, rank)
	}
	return nil
}
