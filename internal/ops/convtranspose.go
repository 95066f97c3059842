package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/window"
)

var convTranspose = &graph.Op{
	Name: "conv_transpose",
	Doc:  "Transposed convolution: every input adds the kernel, times its value, to the outputs around it.",
	Inputs: []graph.Input{
		graph.In("x", graph.Float), graph.In("weight", graph.Float), graph.Opt("bias", graph.Float),
		graph.Opt("pad", graph.Int), graph.Opt("output_shape", graph.Int), graph.Def("pad_type", graph.String, "valid"),
		graph.Opt("strides", graph.Int), graph.Opt("dilations", graph.Int), graph.Def("groups", graph.Int, 1),
	},
	Infer: inferTranspose, Prepare: prepareTranspose, Post: true,
}

// newTransposed reads a conv_transpose call. In its spatial In and Out are the call's own;
// output o takes tap k of input i where o + Before = i·Stride + k·Dilation.
func newTransposed(c *graph.Call) (*convolution, error) {
	x, w := c.Shape(convX), c.Shape(convWeight)
	if len(x) != len(w) || len(w) < 3 || len(w) > 5 {
		return nil, c.Errorf(convWeight, "rank %d beside x of rank %d, want 3, 4 or 5", len(w), len(x))
	}
	groups, err := groupsOf(c, 8)
	if err != nil {
		return nil, err
	}
	if w[0] != x[1] || w[0]%groups != 0 || w[0] == 0 {
		return nil, c.Errorf(convX, "%d channels in %d groups beside weights for %d", x[1], groups, w[0])
	}
	if w[1] > maxWindow {
		return nil, c.Errorf(convWeight, "%d channels", w[1])
	}
	v := &convolution{n: x[0], groups: groups, cin: w[0] / groups, cout: w[1]}
	if v.bias, err = biasOf(c, w[1]*groups); err != nil {
		return nil, err
	}
	if err := checkWindow(c, w[2:]); err != nil {
		return nil, err
	}
	v.rank = len(x) - 2
	v.unused()
	strides, err := ofWindow(c, 6, v.rank)
	if err != nil {
		return nil, err
	}
	dilations, err := ofWindow(c, 7, v.rank)
	if err != nil {
		return nil, err
	}
	for i := range v.rank {
		if x[2+i] > maxWindow {
			return nil, c.Errorf(convX, "%d elements along a dimension", x[2+i])
		}
		v.axis[3-v.rank+i] = window.Axis{In: x[2+i], Kernel: w[2+i], Stride: strides[i], Dilation: dilations[i]}
	}
	return v, v.grow(c, x[0], w[1]*groups)
}

// grow sets the padding and the output sizes: those of output_shape where it is given.
func (v *convolution) grow(c *graph.Call, n, channels int) error {
	kind, err := padKind(c, 5)
	if err != nil {
		return err
	}
	pad, err := ofPad(c, 3, v.rank)
	if err != nil {
		return err
	}
	want, err := c.Ints(4)
	if err != nil {
		return err
	}
	switch {
	case want == nil:
	case len(want) == v.rank+2 && want[0] == n && want[1] == channels:
		want = want[2:]
	default:
		return c.Errorf(4, "%v, want [%d, %d, spatial…] of rank %d", want, n, channels, v.rank+2)
	}
	for i := range v.rank {
		x := &v.axis[3-v.rank+i]
		full := (x.In-1)*x.Stride + extent(*x)
		switch kind {
		case "valid":
			x.Out = full
		case "custom":
			x.Before, x.Out = pad[2*i], full-pad[2*i]-pad[2*i+1]
		default:
			x.Out = x.In * x.Stride
		}
		if want != nil {
			x.Out = want[i]
		}
		if kind == "same" || kind == "same_lower" {
			x.Before, _ = halves(max(0, full-x.Out), kind)
		}
		if x.Out < 1 {
			return c.Errorf(0, "an output of size %d", x.Out)
		}
	}
	return nil
}

func inferTranspose(c *graph.Call) ([]graph.Type, error) {
	v, err := newTransposed(c)
	if err != nil {
		return nil, err
	}
	shape, err := v.shape(c, v.n, v.groups*v.cout)
	return []graph.Type{graph.TensorOf(c.Type(convX).DType, shape...)}, err
}

// onAxis lists, for the output o of one axis and those a stride apart, the taps and for each the input position of o.
func onAxis(x window.Axis, o int) (taps, inputs []int) {
	for k := range x.Kernel {
		if at := o + x.Before - k*x.Dilation; at%x.Stride == 0 {
			taps, inputs = append(taps, k), append(inputs, at/x.Stride)
		}
	}
	return taps, inputs
}

func prepareTranspose(c *graph.Call) (graph.Step, error) {
	v, err := newTransposed(c)
	if err != nil {
		return graph.Step{}, err
	}
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	p := &plainConv{convolution: v, between: v.cout * v.taps(), rowStride: v.taps(), perGroup: v.cin * v.cout * v.taps()}
	whole := p.split()
	step := p.step(c, "conv_transpose ")
	if !whole {
		step.Phases = append([]graph.Phase{{Tasks: v.n * v.groups * v.cout, Run: p.clear}}, step.Phases...)
	}
	if !post.empty() {
		step.Phases = append(step.Phases, postPhase(post, c.Out[0].Type.Elements()))
	}
	step.Flops = 2 * float64(v.n*v.inputs()) * float64(v.groups*v.cout) * float64(v.cin*v.taps())
	return step, nil
}

// split makes the lattices of a transposed convolution, one for each remainder of the strides; it tells whether
// they cover every output.
func (p *plainConv) split() (whole bool) {
	whole = true
	var kernel [3]int
	var firsts [3][]int // outputs with at least one tap
	for d, x := range p.axis {
		kernel[d] = x.Kernel
		for o := range min(x.Stride, x.Out) {
			if taps, _ := onAxis(x, o); len(taps) > 0 {
				firsts[d] = append(firsts[d], o)
			} else {
				whole = false
			}
		}
	}
	for _, z := range firsts[0] {
		for _, y := range firsts[1] {
			for _, x := range firsts[2] {
				first := [3]int{z, y, x}
				var stride, grid [3]int
				var shifts, numbers [3][]int
				for d, a := range p.axis {
					stride[d], grid[d] = a.Stride, (a.Out-first[d]+a.Stride-1)/a.Stride
					numbers[d], shifts[d] = onAxis(a, first[d])
				}
				p.lattices = append(p.lattices, newLattice(first, stride, grid, [3]int{1, 1, 1}, kernel, shifts, numbers, p.cout))
			}
		}
	}
	return whole
}

// clear fills one channel with its bias: outputs that no tap reaches.
func (p *plainConv) clear(x *graph.Exec, plane int) error {
	n := p.outputs()
	fill(x.OutF32(0)[plane*n:][:n], p.start(x, plane%(p.groups*p.cout)))
	return nil
}

// postPhase runs a chain over a result of n elements that earlier phases completed.
func postPhase(post *chain, n int) graph.Phase {
	return graph.Phase{Tasks: (n + taskElems - 1) / taskElems, Run: func(x *graph.Exec, task int) error {
		out := x.OutF32(0)
		for off := task * taskElems; off < min((task+1)*taskElems, n); off += tileElems {
			post.apply(x, out[off:min(off+tileElems, n)], off)
		}
		return nil
	}}
}
