package ops

import (
	"fmt"
	"math"

	"coreml/internal/graph"
	"coreml/tensor"
)

// shapeOps compute with shapes, or make tensors out of them.
var shapeOps = []*graph.Op{
	{
		Name: "shape", Doc: "The dimensions of x.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor)}, FromType: true,
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			return []graph.Type{graph.TensorOf(tensor.Int32, len(c.Shape(0)))}, nil
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			s := c.Shape(0)
			return graph.Serial("shape", func(x *graph.Exec) error {
				out := x.OutI32(0)
				for i, d := range s {
					out[i] = int32(d)
				}
				return nil
			}), nil
		},
	},
	noFold(&graph.Op{
		Name: "fill", Doc: "A tensor of the given shape, all of it value.",
		Inputs: []graph.Input{graph.In("shape", graph.Int), graph.Def("value", graph.Tensor, 0.0)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			s, err := c.Ints(0)
			if err != nil {
				return nil, err
			}
			if _, err := bitsOf(c, 1, c.Type(1).DType); err != nil {
				return nil, err
			}
			return typed(c, 0, c.Type(1).DType, s)
		},
		Prepare: prepareFill,
	}),
	noFold(&graph.Op{
		Name: "fill_like", Since: graph.IOS16, Doc: "A tensor of the shape of ref_tensor, all of it value.",
		Inputs: []graph.Input{graph.In("ref_tensor", graph.Tensor), graph.Def("value", graph.Tensor, 0.0)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if _, err := bitsOf(c, 1, c.Type(1).DType); err != nil {
				return nil, err
			}
			return []graph.Type{graph.TensorOf(c.Type(1).DType, c.Shape(0)...)}, nil
		},
		Prepare: prepareFill, FromType: true,
	}),
	noFold(&graph.Op{
		Name: "one_hot", Doc: "For each index a vector along axis that is on_value at the index and off_value elsewhere.",
		Inputs: []graph.Input{graph.In("indices", graph.Int), graph.In("one_hot_vector_size", graph.Int), graph.Def("axis", graph.Int, -1),
			graph.Def("on_value", graph.Tensor, 1), graph.Def("off_value", graph.Tensor, 0)},
		Infer: inferOneHot, Prepare: prepareOneHot,
	}),
	noFold(&graph.Op{
		Name: "range_1d", Doc: "start, start + step, … as far as end is not reached.",
		Inputs: []graph.Input{graph.In("end", graph.Numeric), graph.In("start", graph.Numeric), graph.In("step", graph.Numeric)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			_, _, n, err := rangeOf(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 0, c.Type(1).DType, []int{n})
		},
		Prepare: prepareRange,
	}),
	noFold(&graph.Op{
		Name: "non_zero", Doc: "The indices of the elements of x that are not zero, a row for each.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			t, err := typed(c, 0, tensor.Int32, []int{volume(c.Shape(0)), len(c.Shape(0))})
			if err == nil {
				t[0].Bound = true
			}
			return t, err
		},
		Prepare: prepareNonZero,
	}),
	{
		Name: "band_part", Doc: "The matrices in x without what is more than lower below or upper above the diagonal; negative numbers keep all.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.Def("lower", graph.Int, -1), graph.Def("upper", graph.Int, -1)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if r := len(c.Shape(0)); r < 2 {
				return nil, c.Errorf(0, "rank %d, want at least 2", r)
			}
			for arg := 1; arg <= 2; arg++ {
				if _, err := c.Int(arg); err != nil {
					return nil, err
				}
			}
			return sameAsX(c)
		},
		Prepare: prepareBandPart, Alias: overwrite,
	},
}

// bitsOf reads one number as the bits that memory of dtype d holds for it.
func bitsOf(c *graph.Call, arg int, d tensor.DType) (uint32, error) {
	k, err := c.Const(arg)
	if err != nil {
		return 0, err
	}
	if n := k.Type.Elements(); n != 1 {
		return 0, c.Errorf(arg, "%d values, want 1", n)
	}
	if graph.StoreDType(d) == tensor.Float32 {
		return math.Float32bits(k.Floats()[0]), nil
	}
	if !k.Type.DType.IsFloat() {
		v, err := k.Ints()
		if err != nil {
			return 0, c.Errorf(arg, "%v", err)
		}
		return uint32(int32(v[0])), nil
	}
	return uint32(int32(k.Floats()[0])), nil
}

// fillBits sets memory of elements that are width bytes wide.
func fillBits(dst []byte, width int, bits uint32) {
	if width == 1 {
		fill(dst, byte(bits))
	} else {
		fill(tensor.View[uint32](dst), bits)
	}
}

func prepareFill(c *graph.Call) (graph.Step, error) {
	out := c.Out[0].Type
	bits, err := bitsOf(c, 1, out.DType)
	if err != nil {
		return graph.Step{}, err
	}
	w, n := graph.StoreSize(out.DType), out.Elements()
	return graph.Parallel(c.Op.Name, ceilDiv(n, moveElems), func(x *graph.Exec, task int) error {
		lo, hi := task*moveElems, min((task+1)*moveElems, n)
		fillBits(x.OutBytes(0)[lo*w:hi*w], w, bits)
		return nil
	}), nil
}

// oneHotType is the dtype of the two values; a default takes the dtype of the one that is given.
func oneHotType(c *graph.Call) (tensor.DType, error) {
	on, off := c.Type(3).DType, c.Type(4).DType
	switch {
	case !c.Given(3):
		return off, nil
	case c.Given(4) && on != off:
		return 0, c.Errorf(4, "%v, want the dtype of on_value, %v", off, on)
	}
	return on, nil
}

func inferOneHot(c *graph.Call) ([]graph.Type, error) {
	d, err := oneHotType(c)
	if err != nil {
		return nil, err
	}
	for arg := 3; arg <= 4; arg++ {
		if _, err := bitsOf(c, arg, d); err != nil {
			return nil, err
		}
	}
	depth, err := c.Int(1)
	if err != nil {
		return nil, err
	}
	in := c.Shape(0)
	axis, err := intAxis(c, 2, len(in)+1)
	if err != nil {
		return nil, err
	}
	shape := append([]int(nil), in[:axis]...)
	return typed(c, 1, d, append(append(shape, depth), in[axis:]...))
}

func prepareOneHot(c *graph.Call) (graph.Step, error) {
	out := c.Out[0].Type
	on, err := bitsOf(c, 3, out.DType)
	if err != nil {
		return graph.Step{}, err
	}
	off, err := bitsOf(c, 4, out.DType)
	if err != nil {
		return graph.Step{}, err
	}
	axis, err := intAxis(c, 2, len(out.Shape))
	if err != nil {
		return graph.Step{}, err
	}
	outer, depth, inner := volume(out.Shape[:axis]), out.Shape[axis], volume(out.Shape[axis+1:])
	w := graph.StoreSize(out.DType)
	return byRows("one_hot", outer, depth*inner, func(x *graph.Exec, row int) {
		dst := x.OutBytes(0)[row*depth*inner*w:][:depth*inner*w]
		fillBits(dst, w, off)
		for i, k := range x.I32(0)[row*inner:][:inner] {
			if k >= 0 && int(k) < depth {
				at := (int(k)*inner + i) * w
				fillBits(dst[at:at+w], w, on)
			}
		}
	}), nil
}

// rangeOf is the first number, the step and the count of a range.
func rangeOf(c *graph.Call) (start, step float64, n int, err error) {
	var v [3]float64
	for arg := range v {
		if c.Type(arg).DType != c.Type(1).DType {
			return 0, 0, 0, c.Errorf(arg, "%v, want the dtype of start, %v", c.Type(arg).DType, c.Type(1).DType)
		}
		if c.Type(1).DType.IsFloat() {
			f, err := c.Float(arg)
			if err != nil {
				return 0, 0, 0, err
			}
			v[arg] = float64(f)
		} else {
			i, err := c.Int(arg)
			if err != nil {
				return 0, 0, 0, err
			}
			v[arg] = float64(i)
		}
	}
	count := math.Ceil((v[0] - v[1]) / v[2])
	if v[2] == 0 || math.IsNaN(count) || count > math.MaxInt32 {
		return 0, 0, 0, c.Errorf(2, "%v from %v to %v", v[2], v[1], v[0])
	}
	return v[1], v[2], int(max(count, 0)), nil
}

func prepareRange(c *graph.Call) (graph.Step, error) {
	start, step, n, err := rangeOf(c)
	if err != nil {
		return graph.Step{}, err
	}
	float := c.Out[0].Type.DType.IsFloat()
	return graph.Parallel("range_1d", ceilDiv(n, moveElems), func(x *graph.Exec, task int) error {
		for i := task * moveElems; i < min((task+1)*moveElems, n); i++ {
			v := start + float64(float64(i)*step)
			if float {
				x.OutF32(0)[i] = float32(v)
			} else {
				x.OutI32(0)[i] = int32(v)
			}
		}
		return nil
	}), nil
}

func prepareNonZero(c *graph.Call) (graph.Step, error) {
	in := c.In[0].Type
	shape, w := in.Shape, graph.StoreSize(in.DType)
	float := in.DType.IsFloat()
	return graph.Serial("non_zero", func(x *graph.Exec) error {
		out, rank, n := x.OutI32(0), len(shape), 0
		b := x.Bytes(0)
		words := tensor.View[uint32](b)
		for i := 0; i < len(b)/w; i++ {
			set := false
			switch {
			case w == 1:
				set = b[i] != 0
			case float: // -0 is zero too
				set = words[i]<<1 != 0
			default:
				set = words[i] != 0
			}
			if !set {
				continue
			}
			for d, k := rank-1, i; d >= 0; d-- {
				out[n*rank+d] = int32(k % shape[d])
				k /= shape[d]
			}
			n++
		}
		x.SetShape(0, n, rank)
		return nil
	}), nil
}

func prepareBandPart(c *graph.Call) (graph.Step, error) {
	s := c.Shape(0)
	rows, cols := s[len(s)-2], s[len(s)-1]
	lower, err := c.Int(1)
	if err != nil {
		return graph.Step{}, err
	}
	upper, err := c.Int(2)
	if err != nil {
		return graph.Step{}, err
	}
	w := graph.StoreSize(c.Type(0).DType)
	return byRows("band_part", volume(s[:len(s)-1]), cols, func(x *graph.Exec, row int) {
		m := row % max(rows, 1)
		lo, hi := 0, cols
		if lower >= 0 {
			lo = min(max(m-lower, 0), cols)
		}
		if upper >= 0 {
			hi = min(m+upper+1, cols)
		}
		hi = max(hi, lo)
		dst, src := x.OutBytes(0)[row*cols*w:][:cols*w], x.Bytes(0)[row*cols*w:][:cols*w]
		clear(dst[:lo*w])
		if !sameMemory(dst, src) {
			copy(dst[lo*w:hi*w], src[lo*w:hi*w])
		}
		clear(dst[hi*w:])
	}), nil
}

// indexError reports an index that a run computed.
func indexError(what string, v int32, size int) error {
	return fmt.Errorf("%s: index %d in a dimension of size %d", what, v, size)
}
