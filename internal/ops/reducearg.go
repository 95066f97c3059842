package ops

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

func reduceArg(name, doc string, largest bool) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: []graph.Input{
			graph.In("x", graph.Numeric), graph.Def("axis", graph.Int, -1),
			graph.Def("keep_dims", graph.Bool, false), graph.Def("output_dtype", graph.String, "int32"),
		},
		Infer: inferArg,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			axis, err := intAxis(c, 1, len(c.Shape(0)))
			if err != nil {
				return graph.Step{}, err
			}
			l := lineOf(c.Shape(0), axis)
			if !c.Type(0).DType.IsFloat() {
				return argStep(c, l, func(v, best int32) bool { return v > best == largest && v != best }), nil
			}
			if l.inner == 1 {
				return argRuns(c, l, largest), nil
			}
			if largest {
				return argStep(c, l, func(v, best float32) bool { return v > best || v != v && best == best }), nil
			}
			return argStep(c, l, func(v, best float32) bool { return v < best || v != v && best == best }), nil
		},
	}
}

func inferArg(c *graph.Call) ([]graph.Type, error) {
	x := c.Shape(0)
	axis, err := intAxis(c, 1, len(x))
	if err != nil {
		return nil, err
	}
	keep, err := c.Bool(2)
	if err != nil {
		return nil, err
	}
	d, err := indexDType(c, 3, x[axis])
	if err != nil {
		return nil, err
	}
	if x[axis] == 0 {
		return nil, c.Errorf(0, "shape %v: nothing along axis %d", x, axis)
	}
	return []graph.Type{graph.TensorOf(d, reduced(x, []int{axis}, keep)...)}, nil
}

// indexDType reads the dtype of indices below n.
func indexDType(c *graph.Call, arg, n int) (tensor.DType, error) {
	s, err := c.Str(arg)
	if err != nil {
		return 0, err
	}
	switch {
	case s == "int32":
		return tensor.Int32, nil
	case s == "uint16" && n > 1<<16:
		return 0, c.Errorf(arg, "uint16 for indices up to %d, want int32", n-1)
	case s == "uint16":
		return tensor.UInt16, nil
	}
	return 0, c.Errorf(arg, "%q, want int32 or uint16", s)
}

// line is the way along one axis of a dense tensor: n elements, inner apart, for
// each of outer × inner lines.
type line struct{ outer, n, inner int }

func lineOf(shape []int, axis int) line {
	return line{volume(shape[:axis]), shape[axis], volume(shape[axis+1:])}
}

// lines is the number of lines.
func (l line) lines() int { return l.outer * l.inner }

// start is the first element of line i.
func (l line) start(i int) int { return i/l.inner*l.n*l.inner + i%l.inner }

// argRuns finds the index in contiguous lines.
func argRuns(c *graph.Call, l line, largest bool) graph.Step {
	v := kernels(c)
	find := v.ArgMin
	if largest {
		find = v.ArgMax
	}
	return byRows(c.Op.Name, l.outer, l.n, func(x *graph.Exec, i int) {
		x.OutI32(0)[i] = int32(find(x.F32(0)[i*l.n : (i+1)*l.n]))
	})
}

// argStep goes through lines side by side; better says that v takes the place of the best so far.
func argStep[T int32 | float32](c *graph.Call, l line, better func(v, best T) bool) graph.Step {
	const width = tileElems
	tiles := ceilDiv(l.inner, width)
	s := byRows(c.Op.Name, l.outer*tiles, l.n*min(l.inner, width), func(x *graph.Exec, i int) {
		lo := i % tiles * width
		w := min(width, l.inner-lo)
		best := tensor.View[T](x.Buf)[:w]
		src := tensor.View[T](x.Bytes(0))[i/tiles*l.n*l.inner+lo:]
		at := x.OutI32(0)[i/tiles*l.inner+lo:][:w]
		copy(best, src)
		clear(at)
		for j := 1; j < l.n; j++ {
			for k, v := range src[j*l.inner:][:w] {
				if better(v, best[k]) {
					best[k], at[k] = v, int32(j)
				}
			}
		}
	})
	s.Scratch = tileBytes
	return s
}
