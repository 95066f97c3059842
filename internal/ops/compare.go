package ops

import (
	"cmp"

	"coreml/internal/graph"
	"coreml/tensor"
)

var compareOps = []*graph.Op{
	comparison("equal", "Whether x = y.", loops{eq[float32], eq[int32], eq[byte], false}),
	comparison("not_equal", "Whether x and y differ.", loops{ne[float32], ne[int32], ne[byte], false}),
	comparison("less", "Whether x < y.", loops{lt[float32], lt[int32], lt[byte], false}),
	comparison("less_equal", "Whether x <= y.", loops{le[float32], le[int32], le[byte], false}),
	comparison("greater", "Whether x > y.", loops{lt[float32], lt[int32], lt[byte], true}),
	comparison("greater_equal", "Whether x >= y.", loops{le[float32], le[int32], le[byte], true}),
	logical("logical_and", "Whether x and y are both true.", func(a, b byte) byte { return a & b }),
	logical("logical_or", "Whether x or y is true.", func(a, b byte) byte { return a | b }),
	logical("logical_xor", "Whether exactly one of x and y is true.", func(a, b byte) byte { return a ^ b }),
	{
		Name: "logical_not", Doc: "Whether x is false.",
		Inputs:  []graph.Input{graph.In("x", graph.Bool)},
		Infer:   sameAsX,
		Prepare: prepareNot, Alias: overwrite,
	},
}

// loops are one relation on the three kinds of memory; swap exchanges x and y.
type loops struct {
	floats func(dst []byte, a, b []float32)
	ints   func(dst []byte, a, b []int32)
	bools  func(dst, a, b []byte)
	swap   bool
}

func comparison(name, doc string, l loops) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("y", graph.Tensor)},
		Infer:  inferBools,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			switch graph.StoreDType(c.Type(0).DType) {
			case tensor.Float32:
				return zipped(name, c, swapped(l.floats, l.swap)), nil
			case tensor.Int32:
				return zipped(name, c, swapped(l.ints, l.swap)), nil
			}
			return zipped(name, c, swapped(l.bools, l.swap)), nil
		},
		Alias: overwrite,
	}
}

func swapped[T any](f func(dst []byte, a, b []T), swap bool) func(dst []byte, a, b []T) {
	if !swap {
		return f
	}
	return func(dst []byte, a, b []T) { f(dst, b, a) }
}

func logical(name, doc string, f func(a, b byte) byte) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: []graph.Input{graph.In("x", graph.Bool), graph.In("y", graph.Bool)},
		Infer:  inferBools,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			return zipped(name, c, func(dst, a, b []byte) {
				for i := range dst {
					dst[i] = f(a[i], b[i])
				}
			}), nil
		},
		Alias: overwrite,
	}
}

func inferBools(c *graph.Call) ([]graph.Type, error) {
	t, err := inferBinary(c)
	if err == nil {
		t[0].DType = tensor.Bool
	}
	return t, err
}

func prepareNot(c *graph.Call) (graph.Step, error) {
	n := c.Out[0].Type.Elements()
	return graph.Parallel("logical_not", tasksOf(n), func(x *graph.Exec, task int) error {
		lo, hi := task*taskElems, min((task+1)*taskElems, n)
		dst := x.OutBytes(0)[lo:hi]
		for i, v := range x.Bytes(0)[lo:hi] {
			dst[i] = v ^ 1
		}
		return nil
	}), nil
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func eq[T comparable](dst []byte, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] == b[i])
	}
}

func ne[T comparable](dst []byte, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] != b[i])
	}
}

func lt[T cmp.Ordered](dst []byte, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] < b[i])
	}
}

func le[T cmp.Ordered](dst []byte, a, b []T) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = truth(a[i] <= b[i])
	}
}
