package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

var binaryOps = []*graph.Op{
	binaryOp("add", "x + y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Add, F2S: v.AddS, F2R: flipped(v.AddS), Zero: true, Kind: "add"}
	}, func(a, b int32) int32 { return a + b }),
	binaryOp("sub", "x - y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Sub, F2S: v.SubS, F2R: flipped(v.SSub), Zero: true}
	}, func(a, b int32) int32 { return a - b }),
	binaryOp("mul", "x·y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Mul, F2S: v.MulS, F2R: flipped(v.MulS), Zero: true}
	}, func(a, b int32) int32 { return a * b }),
	binaryOp("real_div", "x / y; of integers the quotient rounded toward zero.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Div, F2S: v.DivS, F2R: flipped(v.SDiv)}
	}, divInt),
	binaryOp("floor_div", "The largest integer not above x / y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.FloorDiv, F2S: v.FloorDivS, F2R: flipped(v.SFloorDiv)}
	}, floorDivInt),
	binaryOp("mod", "x - y·floor_div(x, y): the remainder with the sign of y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Mod, F2S: v.ModS, F2R: flipped(v.SMod)}
	}, modInt),
	binaryOp("pow", "x to the power y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Pow, F2S: v.PowS, F2R: flipped(v.SPow)}
	}, powInt),
	binaryOp("maximum", "The larger of x and y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Max, F2S: v.MaxS, F2R: flipped(v.MaxS), Zero: true}
	}, func(a, b int32) int32 { return max(a, b) }),
	binaryOp("minimum", "The smaller of x and y.", func(v *vec.Funcs) graph.Elem {
		return graph.Elem{F2: v.Min, F2S: v.MinS, F2R: flipped(v.MinS), Zero: true}
	}, func(a, b int32) int32 { return min(a, b) }),
}

// binaryOp is an operator on two tensors that are broadcast to each other.
func binaryOp(name, doc string, bind func(*vec.Funcs) graph.Elem, ints func(a, b int32) int32) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: []graph.Input{graph.In("x", graph.Numeric), graph.In("y", graph.Numeric)},
		Infer:  inferBinary,
		Elem: func(c *graph.Call) (graph.Elem, error) {
			for i := range 2 {
				if !c.Type(i).DType.IsFloat() {
					return graph.Elem{}, c.Errorf(i, "%v, want floats", c.Type(i))
				}
			}
			return bind(kernels(c)), nil
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			if c.Type(0).DType.IsFloat() {
				return prepareElem(c)
			}
			wrap := wrapFor(c.Out[0].Type.DType)
			return zipped("elementwise "+name, c, func(dst, a, b []int32) {
				for i := range dst {
					dst[i] = ints(a[i], b[i])
				}
				wrap(dst, dst)
			}), nil
		},
		Alias: overwrite, Fit: fitElem, Post: true,
	}
}

func inferBinary(c *graph.Call) ([]graph.Type, error) {
	d, err := promote(c, 0, 1)
	if err != nil {
		return nil, err
	}
	shape, err := broadcast(c.Shape(0), c.Shape(1))
	if err != nil {
		return nil, err
	}
	return typed(c, 0, d, shape)
}

// promote is the dtype that two arguments have in common. Floats, integers and
// bools do not mix: files have a cast between them.
func promote(c *graph.Call, a, b int) (tensor.DType, error) {
	x, y := c.Type(a).DType, c.Type(b).DType
	if graph.StoreDType(x) != graph.StoreDType(y) {
		return 0, c.Errorf(b, "%v, want a dtype that goes with %v of %s", y, x, c.Op.Inputs[a].Name)
	}
	if x.Bits() < y.Bits() {
		return y, nil
	}
	return x, nil
}

// flipped turns dst = s op b with the vector first into the order of F2R.
func flipped(f vec.BinaryScalar) func(dst []float32, a float32, b []float32) {
	return func(dst []float32, a float32, b []float32) { f(dst, b, a) }
}

// zipped is an elementwise step on two operands of element type T, whose Plain memory is spread to
// the result's shape tile by tile.
func zipped[T, R tensor.Element](kernel string, c *graph.Call, f func(dst []R, a, b []T)) graph.Step {
	n := c.Out[0].Type.Elements()
	a, b := newOperand[T](c, 0), newOperand[T](c, 1)
	s := graph.Parallel(kernel, tasksOf(n), func(x *graph.Exec, task int) error {
		dst := tensor.View[R](x.OutBytes(0))[:n]
		for off := task * taskElems; off < min((task+1)*taskElems, n); off += tileElems {
			d := dst[off:min(off+tileElems, n)]
			f(d, a.tile(x, 0, off, len(d)), b.tile(x, 1, off, len(d)))
		}
		return nil
	})
	s.Scratch = 2 * tileBytes
	return s
}

// tileBytes is the scratch memory for one operand's tile.
const tileBytes = 4 * tileElems

// operand is one in Plain form that is spread to the shape of an elementwise result.
type operand[T tensor.Element] struct {
	in   int
	walk walk
	same bool
}

func newOperand[T tensor.Element](c *graph.Call, arg int) operand[T] {
	in := c.At(arg)
	w := newWalk(c.Out[0].Type.Shape, c.In[in].Type.Shape)
	return operand[T]{in: in, walk: w, same: w.same() && c.In[in].Type.Elements() == c.Out[0].Type.Elements()}
}

// tile gives n elements from off on, in the operand's memory or in part number k of the scratch memory.
func (o *operand[T]) tile(x *graph.Exec, k, off, n int) []T {
	v := tensor.View[T](x.Bytes(o.in))
	if o.same {
		return v[off : off+n]
	}
	t := tensor.View[T](x.Buf[k*tileBytes : (k+1)*tileBytes])[:n]
	spread(o.walk, t, v, off)
	return t
}

// The quotients of integers: by zero the result is 0.

func divInt(a, b int32) int32 {
	if b == 0 {
		return 0
	}
	return a / b
}

func floorDivInt(a, b int32) int32 {
	if b == 0 {
		return 0
	}
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func modInt(a, b int32) int32 {
	if b == 0 {
		return 0
	}
	m := a % b
	if m != 0 && (m < 0) != (b < 0) {
		m += b
	}
	return m
}

// powInt multiplies modulo 2^32; a negative exponent gives the real power, rounded toward zero.
func powInt(a, b int32) int32 {
	if b < 0 {
		switch a {
		case 1:
			return 1
		case -1:
			return 1 - 2*(b&1)
		}
		return 0
	}
	p := int32(1)
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			p *= a
		}
		a *= a
	}
	return p
}
