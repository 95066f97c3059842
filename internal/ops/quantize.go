package ops

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

var quantizeOps = []*graph.Op{
	{
		Name: "quantize", Since: graph.IOS17,
		Doc: "clip(round(input/scale) + zero_point) as int8 or uint8; ties go to the even number.",
		Inputs: []graph.Input{
			graph.In("input", graph.Float), graph.Opt("zero_point", graph.Int), graph.In("scale", graph.Float),
			graph.Opt("axis", graph.Int), graph.In("output_dtype", graph.String),
		},
		Infer: inferQuantize, Prepare: prepareQuantize, Alias: overwriteWords,
	},
	{
		Name: "dequantize", Since: graph.IOS17,
		Doc: "scale·(input - zero_point).",
		Inputs: []graph.Input{
			graph.In("input", graph.Int), graph.Opt("zero_point", graph.Int), graph.In("scale", graph.Float),
			graph.Opt("axis", graph.Int),
		},
		Infer: inferDequantize, Prepare: prepareDequantize, Alias: overwriteWords,
	},
}

// overwriteWords lets the result take the input's memory: elements of both have 4 bytes.
func overwriteWords(c *graph.Call) []graph.Alias {
	if c.In[0].Const != nil {
		return nil
	}
	return []graph.Alias{{Kind: graph.InPlace}}
}

// perIndex has the scale and zero point of all elements, or one of each per index of an axis.
type perIndex struct {
	scale, zero []float32
	inner       int // neighbouring elements of one index
	elements    int
}

// newPerIndex reads zero_point, scale and axis, which are the arguments 1 to 3.
func newPerIndex(c *graph.Call) (*perIndex, error) {
	shape := c.Shape(0)
	p := &perIndex{inner: 1, elements: c.Type(0).Elements()}
	var err error
	if p.scale, err = c.Floats(2); err != nil {
		return nil, err
	}
	if p.zero, err = c.Floats(1); err != nil {
		return nil, err
	}
	rank := c.Type(2).Rank()
	if c.Given(1) && c.Type(1).Rank() != rank {
		return nil, c.Errorf(1, "rank %d, want that of scale, %d", c.Type(1).Rank(), rank)
	}
	if p.zero == nil {
		p.zero = make([]float32, len(p.scale))
	}
	if rank == 0 {
		p.inner = max(p.elements, 1)
		return p, nil
	}
	if rank > 1 || !c.Given(3) {
		return nil, c.Errorf(2, "rank %d, want a scalar, or a vector and an axis", rank)
	}
	axis, err := c.Int(3)
	if err != nil {
		return nil, err
	}
	if axis < -len(shape) || axis >= len(shape) {
		return nil, c.Errorf(3, "%d, want an axis of a tensor of rank %d", axis, len(shape))
	}
	axis = (axis + len(shape)) % len(shape)
	for arg, v := range map[int][]float32{1: p.zero, 2: p.scale} {
		if len(v) != shape[axis] {
			return nil, c.Errorf(arg, "%d values, want %d, the size of axis %d", len(v), shape[axis], axis)
		}
	}
	for _, d := range shape[axis+1:] {
		p.inner *= d
	}
	return p, nil
}

// step covers the elements with tasks; f treats the elements lo … hi, which share a scale and zero point.
func (p *perIndex) step(kernel string, f func(x *graph.Exec, lo, hi int, scale, zero float32)) graph.Step {
	return graph.Parallel(kernel, (p.elements+taskElems-1)/taskElems, func(x *graph.Exec, task int) error {
		end := min((task+1)*taskElems, p.elements)
		for lo := task * taskElems; lo < end; {
			index := lo / p.inner
			hi := min((index+1)*p.inner, end)
			index %= len(p.scale)
			f(x, lo, hi, p.scale[index], p.zero[index])
			lo = hi
		}
		return nil
	})
}

func inferQuantize(c *graph.Call) ([]graph.Type, error) {
	d, err := quantizedDType(c)
	if err != nil {
		return nil, err
	}
	_, err = newPerIndex(c)
	return []graph.Type{graph.TensorOf(d, c.Shape(0)...)}, err
}

func quantizedDType(c *graph.Call) (tensor.DType, error) {
	name, err := c.Str(4)
	if err != nil {
		return tensor.Invalid, err
	}
	d, err := tensor.ParseDType(name)
	if err != nil || d != tensor.Int8 && d != tensor.UInt8 {
		return tensor.Invalid, c.Errorf(4, "%q, want int8 or uint8", name)
	}
	if c.Given(1) && c.Type(1).DType != d {
		return tensor.Invalid, c.Errorf(1, "%v, want output_dtype, %v", c.Type(1).DType, d)
	}
	return d, nil
}

func prepareQuantize(c *graph.Call) (graph.Step, error) {
	p, err := newPerIndex(c)
	if err != nil {
		return graph.Step{}, err
	}
	lowest, highest := float32(-128), float32(127)
	if c.Out[0].Type.DType == tensor.UInt8 {
		lowest, highest = 0, 255
	}
	return p.step("quantize", func(x *graph.Exec, lo, hi int, scale, zero float32) {
		quantize(x.OutI32(0)[lo:hi], x.F32(0)[lo:hi], scale, zero, lowest, highest)
	}), nil
}

// quantize stores round(src/scale) + zero limited to lowest … highest; NaN becomes zero.
func quantize(dst []int32, src []float32, scale, zero, lowest, highest float32) {
	// Adding this number to one below 2^22 leaves no room for a fraction: the sum is rounded to even.
	const round = 3 << 22
	for i, v := range src {
		q := min(max(v/scale, -1024), 1024)
		q = float32(q+round) - round
		q = min(max(q+zero, lowest), highest)
		if q != q {
			q = zero
		}
		dst[i] = int32(q)
	}
}

func inferDequantize(c *graph.Call) ([]graph.Type, error) {
	_, err := newPerIndex(c)
	return []graph.Type{graph.TensorOf(c.Type(2).DType, c.Shape(0)...)}, err
}

func prepareDequantize(c *graph.Call) (graph.Step, error) {
	p, err := newPerIndex(c)
	if err != nil {
		return graph.Step{}, err
	}
	return p.step("dequantize", func(x *graph.Exec, lo, hi int, scale, zero float32) {
		src := x.I32(0)[lo:hi]
		for i, v := range src {
			x.OutF32(0)[lo+i] = scale * (float32(v) - zero)
		}
	}), nil
}
