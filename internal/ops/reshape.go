package ops

import (
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// reshapeOps give the same elements another shape; none of them moves anything
// when the engine lets the result lie in the operand's memory.
var reshapeOps = []*graph.Op{
	view("reshape", "The elements of x in shape; -1 is what remains, 0 the dimension of x at the same place.", reshapeInfer(zeroKeepsPlace),
		graph.In("shape", graph.Int)),
	since(graph.IOS17, view("reshape", "The elements of x in shape; -1 is what remains, 0 the dimension of x counted from the last.", reshapeInfer(zeroFromEnd),
		graph.In("shape", graph.Int))),
	view("reshape_like", "The elements of x in a shape joined from pieces of other tensors' shapes.", reshapeLikeInfer,
		graph.Var("ref_tensors", graph.Tensor), graph.Var("begins", graph.Int), graph.Var("ends", graph.Int), graph.Var("end_masks", graph.Bool)),
	view("expand_dims", "x with dimensions of size 1 inserted at axes of the result.", expandInfer, graph.In("axes", graph.Int)),
	view("squeeze", "x without its dimensions of size 1, or without those among axes.", squeezeInfer, graph.Opt("axes", graph.Int)),
	view("flatten2d", "x as a matrix: the dimensions before axis by those from it on.", flattenInfer, graph.Def("axis", graph.Int, 1)),
	{
		Name: "identity", Doc: "x itself.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor|graph.String|graph.List)},
		Infer:  sameAsX, Prepare: prepareIdentity, Alias: viewOfX, Fit: fitAny,
	},
}

// view is an operator whose result has the elements of x in the same order.
func view(name, doc string, infer func(*graph.Call) ([]int, error), params ...graph.Input) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append([]graph.Input{graph.In("x", graph.Tensor)}, params...),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			shape, err := infer(c)
			if err != nil {
				return nil, err
			}
			out, err := typed(c, min(1, len(c.Op.Inputs)-1), c.Type(0).DType, shape)
			if err == nil && volume(shape) != volume(c.Shape(0)) {
				return nil, c.Errorf(0, "shape %v does not fit into %v", c.Shape(0), shape)
			}
			return out, err
		},
		Prepare: prepareView, Alias: viewOfX, Fit: fitHalf(0),
	}
}

func since(o graph.Opset, op *graph.Op) *graph.Op {
	op.Since = o
	return op
}

func viewOfX(c *graph.Call) []graph.Alias {
	if t := c.Type(0); t.Kind != graph.KindTensor || graph.StoreSize(t.DType) == 0 || c.In[0].Form != c.Out[0].Form {
		return nil
	}
	return []graph.Alias{{Kind: graph.View}}
}

// fitHalf lets operand in and output 0 be in the Half form.
func fitHalf(in int) func(*graph.Call, graph.Form) graph.Fit {
	return func(c *graph.Call, f graph.Form) graph.Fit {
		if f != graph.Half || c.In[in].Type.DType != tensor.Float16 {
			return graph.Fit{}
		}
		return graph.Fit{In: 1 << in, Out: 1}
	}
}

// fitAny takes x in whatever form it is in.
func fitAny(c *graph.Call, f graph.Form) graph.Fit {
	if c.Type(0).Kind != graph.KindTensor || f == graph.Blocked && !blockable(c.Type(0)) {
		return graph.Fit{}
	}
	return graph.Fit{In: 1, Out: 1}
}

func prepareView(c *graph.Call) (graph.Step, error) {
	n := []int{volume(c.Shape(0))}
	one := []int{1}
	return viewStep(c.Op.Name, newMove(widthOf(c.In[0]), n, one, 0, one, 0), 0), nil
}

func prepareIdentity(c *graph.Call) (graph.Step, error) {
	if t := c.Type(0); t.Kind != graph.KindTensor || graph.StoreSize(t.DType) == 0 {
		return graph.Serial("identity", func(x *graph.Exec) error {
			x.Slots[x.Out[0]] = x.Slots[x.In[0]]
			return nil
		}), nil
	}
	n := graph.Bytes(c.In[0].Type, c.In[0].Form, c.Lanes())
	s := graph.Step{Kernel: "identity", NoOp: true, Phases: []graph.Phase{copyPhase(n,
		func(x *graph.Exec) []byte { return x.OutBytes(0) }, func(x *graph.Exec) []byte { return x.Bytes(0) })}}
	return s, nil
}

// zeroKeepsPlace and zeroFromEnd say which dimension of x a 0 at place i of a new shape stands for.
func zeroKeepsPlace(c *graph.Call, x, shape []int, i int) (int, error) {
	if len(x) != len(shape) {
		return 0, c.Errorf(1, "%v has a 0 and %d dimensions, want the rank of x, %d", shape, len(shape), len(x))
	}
	return x[i], nil
}

func zeroFromEnd(_ *graph.Call, x, shape []int, i int) (int, error) {
	if j := len(x) - (len(shape) - i); j >= 0 {
		return x[j], nil
	}
	return 1, nil
}

func reshapeInfer(zero func(c *graph.Call, x, shape []int, i int) (int, error)) func(*graph.Call) ([]int, error) {
	return func(c *graph.Call) ([]int, error) {
		want, err := c.Ints(1)
		if err != nil {
			return nil, err
		}
		x, rest := c.Shape(0), -1
		out := slices.Clone(want)
		for i, d := range want {
			switch {
			case d == 0:
				if out[i], err = zero(c, x, want, i); err != nil {
					return nil, err
				}
			case d == -1 && rest < 0:
				rest, out[i] = i, 1
			case d < 0:
				return nil, c.Errorf(1, "%v, want sizes and at most one -1", want)
			}
		}
		if rest < 0 {
			return out, nil
		}
		if err := checkShape(c, 1, out); err != nil {
			return nil, err
		}
		if n, known := volume(x), volume(out); known > 0 {
			out[rest] = n / known
		} else {
			out[rest] = 0
		}
		return out, nil
	}
}

func reshapeLikeInfer(c *graph.Call) ([]int, error) {
	n := c.N(1)
	for arg := 2; arg <= 4; arg++ {
		if c.N(arg) != n {
			return nil, c.Errorf(arg, "%d values, want one for each of the %d ref_tensors", c.N(arg), n)
		}
	}
	var out []int
	for i := 0; i < n; i++ {
		ref := c.In[c.At(1)+i].Type.Shape
		v := [3]int{}
		for k := range v {
			one, err := scalarAt(c, 2+k, i)
			if err != nil {
				return nil, err
			}
			v[k] = one
		}
		lo, hi := clampIndex(v[0], len(ref)), clampIndex(v[1], len(ref))
		if v[2] != 0 {
			hi = len(ref)
		}
		out = append(out, ref[min(lo, hi):hi]...)
		if len(out) > graph.MaxRank {
			return nil, c.Errorf(1, "a result of more than %d dimensions", graph.MaxRank)
		}
	}
	return out, nil
}

// scalarAt reads value i of a variadic argument as one integer or boolean.
func scalarAt(c *graph.Call, arg, i int) (int, error) {
	at := c.At(arg) + i
	k := c.In[at].Const
	if k == nil {
		return 0, graph.NeedValue{Operand: at}
	}
	v, err := k.Ints()
	if err != nil || len(v) != 1 {
		return 0, c.Errorf(arg, "value %d: %v, want one number", i, k.Type)
	}
	return v[0], nil
}

// clampIndex is Python's reading of a slice bound: negative ones count from the end.
func clampIndex(v, n int) int {
	if v < 0 {
		v += n
	}
	return min(max(v, 0), n)
}

func expandInfer(c *graph.Call) ([]int, error) {
	x := c.Shape(0)
	k, err := c.Ints(1)
	if err != nil {
		return nil, err
	}
	rank := len(x) + len(k)
	if rank > graph.MaxRank {
		return nil, c.Errorf(1, "a result of rank %d, want at most %d", rank, graph.MaxRank)
	}
	axes, err := axesOf(c, 1, rank)
	if err != nil {
		return nil, err
	}
	out := make([]int, rank)
	for _, a := range axes {
		out[a] = 1
	}
	next := 0
	for i := range out {
		if !slices.Contains(axes, i) {
			out[i] = x[next]
			next++
		}
	}
	return out, nil
}

func squeezeInfer(c *graph.Call) ([]int, error) {
	x := c.Shape(0)
	axes, err := axesOf(c, 1, len(x))
	if err != nil {
		return nil, err
	}
	out := []int{}
	for i, d := range x {
		if d != 1 || c.Has(1) && !slices.Contains(axes, i) {
			out = append(out, d)
		}
	}
	return out, nil
}

func flattenInfer(c *graph.Call) ([]int, error) {
	x := c.Shape(0)
	axis, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	if axis < -len(x) || axis > len(x) {
		return nil, c.Errorf(1, "axis %d, want %d to %d", axis, -len(x), len(x))
	}
	if axis < 0 {
		axis += len(x)
	}
	return []int{volume(x[:axis]), volume(x[axis:])}, nil
}
