package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
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
		if w[2+i] < 1 || w[2+i] > maxWindow || x[2+i] > maxWindow {
			return nil, c.Errorf(convWeight, "a kernel of %d over %d elements", w[2+i], x[2+i])
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

// lattice is the outputs that lie a whole number of strides from one another: all of
// them see the same taps, at neighbouring inputs.
type lattice struct {
	unfold *unfolder
	first  [3]int     // its first output
	taps   []gemm.Tap // of a chunk of channels: places in the weight
	start  int        // number of its first task in an image
	blocks int
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

// transposedConv is a transposed convolution in row-major memory: one small
// convolution of stride 1 for each lattice.
type transposedConv struct {
	*convolution
	kernel   gemm.Kernel
	lattices []lattice
	x, w     int
	chunk    int // channels that are unfolded at a time
	block    int // outputs of a task
	tasks    int // of an image
	unfolded int // floats of scratch for the unfolded inputs; the results lie behind
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
	lanes := c.Lanes()
	t := &transposedConv{convolution: v, kernel: gemm.For(c.Level), x: c.At(convX), w: c.At(convWeight)}
	t.chunk = min(v.cin, max(1, unfoldFloats/lanes/v.taps()))
	t.block = lanes * min(unfoldPanels, max(1, unfoldFloats/(max(t.chunk*v.taps(), v.cout)*lanes)))
	most, whole := t.plan(lanes)
	t.unfolded = t.chunk * most * t.block
	step := graph.Step{Kernel: "conv_transpose unfold " + c.Level.String(), Scratch: 4 * (t.unfolded + v.cout*t.block)}
	if !whole {
		step.Phases = append(step.Phases, graph.Phase{Tasks: v.n * v.groups * v.cout, Run: t.clear})
	}
	step.Phases = append(step.Phases, graph.Phase{Tasks: v.n * v.groups * t.tasks, Run: t.run})
	if !post.empty() {
		step.Phases = append(step.Phases, postPhase(post, c.Out[0].Type.Elements()))
	}
	step.Flops = 2 * float64(v.n*v.inputs()) * float64(v.groups*v.cout) * float64(v.cin*v.taps())
	return step, nil
}

// plan makes the lattices. most is the largest number of taps of one; whole says that they cover every output.
func (t *transposedConv) plan(lanes int) (most int, whole bool) {
	whole = true
	var axes [3][]int // first outputs with at least one tap
	for d, x := range t.axis {
		for o := range min(x.Stride, x.Out) {
			if taps, _ := onAxis(x, o); len(taps) > 0 {
				axes[d] = append(axes[d], o)
			} else {
				whole = false
			}
		}
	}
	for _, z := range axes[0] {
		for _, y := range axes[1] {
			for _, x := range axes[2] {
				l := t.lattice([3]int{z, y, x}, lanes)
				l.start, l.blocks = t.tasks, (l.unfold.outputs()+t.block-1)/t.block
				t.tasks += l.blocks
				most = max(most, len(l.unfold.taps))
				t.lattices = append(t.lattices, l)
			}
		}
	}
	return most, whole
}

func (t *transposedConv) lattice(first [3]int, lanes int) lattice {
	l := lattice{first: first, unfold: &unfolder{lanes: lanes, step: [3]int{1, 1, 1}}}
	var taps, inputs [3][]int
	for d, x := range t.axis {
		taps[d], inputs[d] = onAxis(x, first[d])
		l.unfold.in[d] = x.In
		l.unfold.out[d] = (x.Out - first[d] + x.Stride - 1) / x.Stride
	}
	var places []int
	for i, z := range taps[0] {
		for j, y := range taps[1] {
			for k, x := range taps[2] {
				l.unfold.taps = append(l.unfold.taps, [3]int{inputs[0][i], inputs[1][j], inputs[2][k]})
				places = append(places, (z*t.axis[1].Kernel+y)*t.axis[2].Kernel+x)
			}
		}
	}
	for c := range t.chunk {
		for _, p := range places {
			l.taps = append(l.taps, gemm.Tap{A: int64(4 * (c*t.cout*t.spatial.taps() + p)), W: int64(4 * len(l.taps) * lanes)})
		}
	}
	return l
}

// clear fills one channel with its bias: outputs that no tap reaches.
func (t *transposedConv) clear(x *graph.Exec, plane int) error {
	n := t.outputs()
	fill(x.OutF32(0)[plane*n:][:n], t.start(x, plane%(t.groups*t.cout)))
	return nil
}

// start is the bias of an output channel.
func (t *transposedConv) start(x *graph.Exec, channel int) float32 {
	if t.bias < 0 {
		return 0
	}
	return x.F32(t.bias)[channel]
}

func (t *transposedConv) run(x *graph.Exec, task int) error {
	image, task := task/t.tasks, task%t.tasks
	l := &t.lattices[0]
	for i := range t.lattices {
		if t.lattices[i].start <= task {
			l = &t.lattices[i]
		}
	}
	group := image % t.groups
	at := (task - l.start) * t.block
	n := min(t.block, l.unfold.outputs()-at)
	w, tile := x.Scratch()[:t.unfolded], x.Scratch()[t.unfolded:]
	for i := range t.cout {
		fill(tile[i*t.block:][:n], t.start(x, group*t.cout+i))
	}
	in, plane := x.F32(t.x)[image*t.cin*t.inputs():], t.cout*t.spatial.taps()
	weight := x.F32(t.w)[group*t.cin*plane:]
	for c := 0; c < t.cin && t.cout > 0; c += t.chunk {
		channels := min(t.chunk, t.cin-c)
		k := channels * len(l.unfold.taps)
		l.unfold.panels(w, in[c*t.inputs():], channels, at, n)
		t.kernel.Run(t.cout, n, &gemm.Args{
			A: address(weight, c*plane), RowStride: 4 * t.spatial.taps(), Taps1: address(l.taps, 0), N1: k,
			W: address(w, 0), WStride: 4 * k * t.kernel.Lanes,
			C: address(tile, 0), CRow: 4 * t.block, CVec: 4 * t.kernel.Lanes, Flags: gemm.Accumulate})
	}
	t.scatter(x.OutF32(0)[image*t.cout*t.outputs():], tile, l, at, n)
	return nil
}

// scatter stores n outputs of a lattice, from number at on, in every channel of a group.
func (t *transposedConv) scatter(out, tile []float32, l *lattice, at, n int) {
	size := t.outputs()
	grid := l.unfold.out
	for j := 0; j < n; {
		p := at + j
		col := p % grid[2]
		run := min(grid[2]-col, n-j)
		p /= grid[2]
		z := l.first[0] + p/grid[1]*t.axis[0].Stride
		y := l.first[1] + p%grid[1]*t.axis[1].Stride
		stride := t.axis[2].Stride
		to := (z*t.axis[1].Out+y)*t.axis[2].Out + l.first[2] + col*stride
		for i := range t.cout {
			d := out[i*size+to:]
			for k, v := range tile[i*t.block+j:][:run] {
				d[k*stride] = v
			}
		}
		j += run
	}
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
