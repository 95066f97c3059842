package ops

import (
	"unsafe"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
)

// address is that of s[i]; nil where s ends at i.
func address[T any](s []T, i int) unsafe.Pointer {
	if i == len(s) {
		return nil
	}
	return unsafe.Pointer(&s[i])
}

// plainConv is a convolution, or a transposed one, in row-major memory, of any number of spatial
// dimensions, with weights that may be computed at run time.
type plainConv struct {
	*convolution
	kernel    gemm.Kernel
	lattices  []lattice
	post      *chain // runs on each box, which then is a piece of whole lines; nil: not here
	x, w      int    // operands
	between   int    // floats of the weight from input channel to input channel
	rowStride int    // and from output channel to output channel
	perGroup  int    // and from group to group
	chunk     int    // channels copied at a time
	tasks     int    // of an image
	columns   int    // floats between the rows of a box's results
	copies    int    // floats of scratch for the copied inputs; the results lie behind
}

// plain is the step of a convolution: all outputs are one lattice.
func (v *convolution) plain(c *graph.Call) (graph.Step, error) {
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	p := &plainConv{convolution: v, post: post, between: v.taps(), rowStride: v.cin * v.taps(), perGroup: v.cout * v.cin * v.taps()}
	var step, grid, kernel [3]int
	var shifts, numbers [3][]int
	for d, x := range v.axis {
		step[d], grid[d], kernel[d] = x.Stride, x.Out, x.Kernel
		for k := range x.Kernel {
			shifts[d], numbers[d] = append(shifts[d], k*x.Dilation-x.Before), append(numbers[d], k)
		}
	}
	p.lattices = []lattice{newLattice([3]int{}, [3]int{1, 1, 1}, grid, step, kernel, shifts, numbers, v.cout)}
	return p.step(c, "conv "), nil
}

// step completes p once its lattices are known.
func (p *plainConv) step(c *graph.Call, name string) graph.Step {
	p.kernel = gemm.For(c.Level)
	p.x, p.w = c.At(convX), c.At(convWeight)
	size := 1
	for i := range p.lattices {
		size = max(size, p.lattices[i].size)
	}
	p.chunk = max(1, min(p.cin, latticeCopy/size))
	for i := range p.lattices {
		l := &p.lattices[i]
		l.setTaps(p.chunk, p.between)
		l.start = p.tasks
		p.tasks += l.tasks()
		p.columns = max(p.columns, l.columns(l.box))
	}
	p.copies = p.chunk*size + p.kernel.Lanes // the last vector reads beyond the end
	step := graph.Parallel(name+c.Level.String(), p.n*p.groups*p.tasks, p.run)
	step.Scratch = 4 * (p.copies + p.cout*p.columns)
	return step
}

func (p *plainConv) run(x *graph.Exec, task int) error {
	image, task := task/p.tasks, task%p.tasks // image: batch and group
	l := &p.lattices[0]
	for i := range p.lattices {
		if p.lattices[i].start <= task {
			l = &p.lattices[i]
		}
	}
	at, n := l.task(task - l.start)
	group, columns := image%p.groups, l.columns(n)
	from, tile := x.Scratch()[:p.copies], x.Scratch()[p.copies:]
	for i := range p.cout {
		fill(tile[i*p.columns:][:columns], p.start(x, group*p.cout+i))
	}
	in, size := x.F32(p.x)[image*p.cin*p.inputs():], p.inputs()
	weight := x.F32(p.w)[group*p.perGroup:]
	shape := [3]int{p.axis[0].In, p.axis[1].In, p.axis[2].In}
	for c := 0; c < p.cin && p.cout > 0; c += p.chunk {
		channels := min(p.chunk, p.cin-c)
		for i := range channels {
			l.gather(from[i*l.size:], in[(c+i)*size:][:size], shape, at)
		}
		p.kernel.Run(p.cout, columns, &gemm.Args{
			A: address(weight, c*p.between), RowStride: 4 * p.rowStride, Taps1: address(l.taps, 0), N1: channels * len(l.places),
			W: address(from, 0), WStride: 4 * p.kernel.Lanes,
			C: address(tile, 0), CRow: 4 * p.columns, CVec: 4 * p.kernel.Lanes, Flags: gemm.Accumulate})
	}
	p.scatter(x, tile, l, at, n, image*p.cout*p.outputs())
	return nil
}

// start is the bias of an output channel.
func (p *plainConv) start(x *graph.Exec, channel int) float32 {
	if p.bias < 0 {
		return 0
	}
	return x.F32(p.bias)[channel]
}

// scatter stores the results of a box in every channel of a group, whose outputs begin at element base.
func (p *plainConv) scatter(x *graph.Exec, tile []float32, l *lattice, at, n [3]int, base int) {
	out := x.OutF32(0)
	z := l.first[0] + at[0]*l.stride[0]
	width := p.axis[2].Out
	for i := range p.cout {
		from := tile[i*p.columns:]
		off := base + i*p.outputs() + (z*p.axis[1].Out+l.first[1]+at[1]*l.stride[1])*width + l.first[2] + at[2]*l.stride[2]
		for y := range n[1] {
			d, s := out[off+y*l.stride[1]*width:], from[y*l.folds[2].length:][:n[2]]
			if l.stride[2] == 1 {
				copy(d, s)
				continue
			}
			for k, v := range s {
				d[k*l.stride[2]] = v
			}
		}
		if p.post != nil {
			applyPost(x, p.post, out, off, (n[1]-1)*width+n[2])
		}
	}
}
