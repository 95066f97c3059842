package ops

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

var convertOps = []*graph.Op{
	{
		Name: "cast", Doc: "x in another dtype: floats are truncated toward zero, integers wrap, bool is whether x differs from 0.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("dtype", graph.String)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			d, err := castDType(c)
			return []graph.Type{graph.TensorOf(d, c.Shape(0)...)}, err
		},
		Elem: func(c *graph.Call) (graph.Elem, error) {
			if !c.Type(0).DType.IsFloat() || !c.Out[0].Type.DType.IsFloat() {
				return graph.Elem{}, c.Errorf(0, "%v to %v, want floats", c.Type(0).DType, c.Out[0].Type.DType)
			}
			return graph.Elem{F1: func(dst, a []float32) { copy(dst, a) }, Zero: true}, nil
		},
		Prepare: prepareCast,
		Alias: func(c *graph.Call) []graph.Alias {
			if castIsView(c) {
				return []graph.Alias{{Kind: graph.View}}
			}
			return overwrite(c)
		},
		Fit: func(c *graph.Call, f graph.Form) graph.Fit {
			if !castIsView(c) {
				return graph.Fit{}
			}
			return fitElem(c, f)
		},
	},
	{
		Name: "select", Doc: "a where cond is true, else b.",
		Inputs: []graph.Input{graph.In("cond", graph.Bool), graph.In("a", graph.Tensor), graph.In("b", graph.Tensor)},
		Infer:  inferSelect,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			if graph.StoreSize(c.Out[0].Type.DType) == 1 {
				return selectStep[byte](c), nil
			}
			return selectStep[uint32](c), nil
		},
		Alias: overwrite,
	},
}

var castTargets = map[tensor.DType]bool{
	tensor.Bool: true, tensor.Int8: true, tensor.UInt8: true, tensor.Int16: true, tensor.UInt16: true,
	tensor.Int32: true, tensor.Float16: true, tensor.Float32: true,
}

func castDType(c *graph.Call) (tensor.DType, error) {
	s, err := c.Str(1)
	if err != nil {
		return 0, err
	}
	d, err := tensor.ParseDType(s)
	if err != nil || !castTargets[d] {
		return 0, c.Errorf(1, "%q, want bool, fp16, fp32 or an integer of 8, 16 or 32 bits", s)
	}
	return d, nil
}

// castIsView reports a cast that changes nothing in memory.
func castIsView(c *graph.Call) bool {
	from, to := c.Type(0).DType, c.Out[0].Type.DType
	switch {
	case from == to || from.IsFloat() && to.IsFloat():
		return true
	case !from.IsInt() || !to.IsInt():
		return false
	case from.IsSigned() == to.IsSigned():
		return from.Bits() <= to.Bits()
	}
	return !from.IsSigned() && from.Bits() < to.Bits()
}

func prepareCast(c *graph.Call) (graph.Step, error) {
	if castIsView(c) {
		n := graph.Bytes(c.Out[0].Type, c.Out[0].Form, c.Lanes())
		s := graph.Step{Kernel: "cast", NoOp: true}
		s.Phases = []graph.Phase{copyPhase(n, func(x *graph.Exec) []byte { return x.OutBytes(0) }, func(x *graph.Exec) []byte { return x.Bytes(0) })}
		return s, nil
	}
	n := c.Out[0].Type.Elements()
	f := castLoop(c.Type(0).DType, c.Out[0].Type.DType)
	return graph.Parallel("cast", tasksOf(n), func(x *graph.Exec, task int) error {
		f(x, task*taskElems, min((task+1)*taskElems, n))
		return nil
	}), nil
}

// castLoop converts the elements lo … hi.
func castLoop(from, to tensor.DType) func(x *graph.Exec, lo, hi int) {
	wrap := wrapFor(to)
	switch {
	case from == tensor.Bool && to.IsFloat():
		return converted(func(dst []float32, src []byte) {
			for i, v := range src {
				dst[i] = float32(v)
			}
		})
	case from == tensor.Bool:
		return converted(func(dst []int32, src []byte) {
			for i, v := range src {
				dst[i] = int32(v)
			}
		})
	case from.IsFloat() && to == tensor.Bool:
		return converted(differs[float32])
	case to == tensor.Bool:
		return converted(differs[int32])
	case from.IsFloat():
		return converted(func(dst []int32, src []float32) {
			for i, v := range src {
				if v > -1<<31 && v < 1<<31 {
					dst[i] = int32(v)
				} else {
					dst[i] = saturate(float64(v))
				}
			}
			wrap(dst, dst)
		})
	case to.IsFloat():
		return converted(func(dst []float32, src []int32) {
			for i, v := range src {
				dst[i] = float32(v)
			}
		})
	}
	return converted(wrap)
}

func converted[T, S tensor.Element](f func(dst []T, src []S)) func(x *graph.Exec, lo, hi int) {
	return func(x *graph.Exec, lo, hi int) {
		f(tensor.View[T](x.OutBytes(0))[lo:hi], tensor.View[S](x.Bytes(0))[lo:hi])
	}
}

func differs[T int32 | float32](dst []byte, src []T) {
	for i, v := range src {
		dst[i] = truth(v != 0)
	}
}

func inferSelect(c *graph.Call) ([]graph.Type, error) {
	d, err := promote(c, 1, 2)
	if err != nil {
		return nil, err
	}
	shape, err := broadcast(c.Shape(0), c.Shape(1), c.Shape(2))
	if err != nil {
		return nil, err
	}
	return typed(c, 1, d, shape)
}

func selectStep[T tensor.Element](c *graph.Call) graph.Step {
	n := c.Out[0].Type.Elements()
	cond, a, b := newOperand[byte](c, 0), newOperand[T](c, 1), newOperand[T](c, 2)
	s := graph.Parallel("select", tasksOf(n), func(x *graph.Exec, task int) error {
		dst := tensor.View[T](x.OutBytes(0))[:n]
		for off := task * taskElems; off < min((task+1)*taskElems, n); off += tileElems {
			d := dst[off:min(off+tileElems, n)]
			p := cond.tile(x, 0, off, len(d))
			u, v := a.tile(x, 1, off, len(d)), b.tile(x, 2, off, len(d))
			for i := range d {
				if p[i] != 0 {
					d[i] = u[i]
				} else {
					d[i] = v[i]
				}
			}
		}
		return nil
	})
	s.Scratch = 3 * tileBytes
	return s
}
