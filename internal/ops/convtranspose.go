package ops

import (
	"slices"

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
	Infer: inferTranspose, Prepare: prepareTranspose, Fit: fitTranspose, Post: true,
}

// maxTransposed bounds the elements of a transposed convolution's window: each may be a lattice of its own.
const maxTransposed = 1 << 16

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
	if err := checkWindow(c, w[2:], maxTransposed); err != nil {
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

// remainder is the outputs of one axis that lie a whole number of strides from the output first: the taps that
// reach them, and the input that each tap brings to first, one further for the next output.
type remainder struct {
	first        int
	taps, inputs []int
}

// remainders lists those that any tap reaches, by first output.
func remainders(x window.Axis) []remainder {
	at := map[int]int{}
	var all []remainder
	for k := range x.Kernel {
		first := (k*x.Dilation - x.Before) % x.Stride
		if first < 0 {
			first += x.Stride
		}
		if first >= x.Out {
			continue
		}
		i, ok := at[first]
		if !ok {
			i = len(all)
			at[first] = i
			all = append(all, remainder{first: first})
		}
		all[i].taps = append(all[i].taps, k)
		all[i].inputs = append(all[i].inputs, (first+x.Before-k*x.Dilation)/x.Stride)
	}
	slices.SortFunc(all, func(a, b remainder) int { return a.first - b.first })
	return all
}

func prepareTranspose(c *graph.Call) (graph.Step, error) {
	v, err := newTransposed(c)
	if err != nil {
		return graph.Step{}, err
	}
	flops := 2 * float64(v.n*v.inputs()) * float64(v.groups*v.cout) * float64(v.cin*v.taps())
	if c.Out[0].Form == graph.Blocked {
		step, err := v.blockedTransposed(c)
		step.Flops = flops
		return step, err
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
	step.Flops = flops
	return step, nil
}

// split makes the lattices of a transposed convolution, one for each remainder of the strides; it tells whether
// they cover every output.
func (p *plainConv) split() (whole bool) {
	whole = true
	var kernel [3]int
	var each [3][]remainder
	for d, x := range p.axis {
		kernel[d] = x.Kernel
		each[d] = remainders(x)
		whole = whole && len(each[d]) == min(x.Stride, x.Out)
	}
	for _, z := range each[0] {
		for _, y := range each[1] {
			for _, x := range each[2] {
				var first, stride, grid [3]int
				var shifts, numbers [3][]int
				for d, r := range [3]remainder{z, y, x} {
					a := p.axis[d]
					first[d], stride[d], grid[d] = r.first, a.Stride, (a.Out-r.first+a.Stride-1)/a.Stride
					numbers[d], shifts[d] = r.taps, r.inputs
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

// maxRegions bounds the window and the strides of a transposed convolution on blocked memory: larger ones have
// many regions.
const maxRegions = 256

// fitTranspose lets a transposed convolution with known weights run on channel-blocked memory.
func fitTranspose(c *graph.Call, f graph.Form) graph.Fit {
	if f != graph.Blocked || !blockable(c.Type(convX)) || !blockable(c.Out[0].Type) || c.In[c.At(convWeight)].Const == nil ||
		c.Given(convBias) && c.In[c.At(convBias)].Const == nil {
		return graph.Fit{}
	}
	v, err := newTransposed(c)
	if err != nil || v.taps() > maxRegions || v.axis[1].Stride > maxRegions/v.axis[2].Stride || v.cin > maxSteps/v.taps() {
		return graph.Fit{}
	}
	return graph.Fit{In: 1 << c.At(convX), Out: 1, Wants: true}
}

// blockedTransposed is the step on channel-blocked memory: a grid for each remainder of the strides.
func (v *convolution) blockedTransposed(c *graph.Call) (graph.Step, error) {
	y, x := v.axis[1], v.axis[2]
	b := &blockedConv{convolution: v, size: [2]int{y.Out, x.Out}, every: [2]int{y.Stride, x.Stride}}
	taps := v.taps()
	b.row = func(dst []float32, src *graph.Const, o int) {
		for i := range v.cin {
			src.Decode(dst[i*taps:(i+1)*taps], ((o/v.cout*v.cin+i)*v.cout+o%v.cout)*taps)
		}
	}
	rows, columns := gridAxes(y), gridAxes(x)
	for i := range rows {
		for j := range columns {
			b.grids = append(b.grids, convGrid{y: rows[i].Axis, x: columns[j].Axis, ky: rows[i].numbers, kx: columns[j].numbers, first: [2]int{i, j}})
		}
	}
	return b.step(c, "conv_transpose blocked")
}

// gridAxis is the axis, over the input, of the outputs of a remainder: neighbours see neighbouring inputs. numbers
// are those of its taps, by input position.
type gridAxis struct {
	window.Axis
	numbers []int
}

// gridAxes are those of all remainders of an axis, also of those that no tap reaches.
func gridAxes(x window.Axis) []gridAxis {
	all := make([]gridAxis, min(x.Stride, x.Out))
	for first := range all {
		all[first].Axis = window.Axis{In: x.In, Stride: 1, Dilation: 1, Out: (x.Out - first + x.Stride - 1) / x.Stride}
	}
	for _, r := range remainders(x) {
		g := &all[r.first]
		reverse(r.taps)
		reverse(r.inputs)
		g.numbers, g.Kernel, g.Before = r.taps, len(r.taps), -r.inputs[0]
		if len(r.inputs) > 1 {
			g.Dilation = r.inputs[1] - r.inputs[0]
		}
	}
	return all
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
