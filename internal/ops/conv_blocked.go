package ops

import (
	"fmt"
	"math"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/window"
)

// stemChannels is the number of channels up to which a convolution reads its input
// row-major: blocks of so few channels would be mostly padding.
const stemChannels = 4

// maxSteps bounds the products of a sum, of which the blocked step keeps a list.
const maxSteps = 1 << 24

// fitConv lets a convolution with known weights run on channel-blocked memory.
func fitConv(c *graph.Call, f graph.Form) graph.Fit {
	if f != graph.Blocked || !blockable(c.Type(convX)) || !blockable(c.Out[0].Type) || c.In[c.At(convWeight)].Const == nil ||
		c.Given(convBias) && c.In[c.At(convBias)].Const == nil {
		return graph.Fit{}
	}
	v, err := newConvolution(c)
	if err != nil || v.cin > maxSteps/v.taps() {
		return graph.Fit{}
	}
	fit := graph.Fit{Out: 1, Wants: true}
	if !v.stem() {
		fit.In = 1 << c.At(convX)
	}
	return fit
}

func (v *convolution) stem() bool { return v.groups == 1 && v.cin <= stemChannels }

// convGrid is a grid of outputs that see the same taps at input positions that move with them: all outputs of a
// convolution, or those of a transposed one that lie a stride apart.
type convGrid struct {
	y, x   window.Axis
	ky, kx []int  // numbers of the taps, in the order of y and x
	first  [2]int // line and pixel of the first output
}

// plane is the grid of a convolution. A pointwise one sees one long column of pixels.
func (v *convolution) plane() convGrid {
	g := convGrid{y: v.axis[1], x: v.axis[2]}
	if v.pointwise() && g.y.Stride == 1 && g.x.Stride == 1 {
		n := g.y.In * g.x.In
		one := window.Axis{In: 1, Kernel: 1, Stride: 1, Dilation: 1, Out: 1}
		g.y, g.x = one, one
		g.y.In, g.y.Out = n, n
	}
	g.ky, g.kx = upTo(g.y.Kernel), upTo(g.x.Kernel)
	return g
}

// upTo lists 0 … n-1.
func upTo(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// pointwise reports a kernel of one element and no padding.
func (v *convolution) pointwise() bool { return v.taps() == 1 && !v.padded() }

func (v *convolution) padded() bool {
	for d, x := range v.axis {
		if x.Before > 0 || v.after[d] > 0 {
			return true
		}
	}
	return false
}

// blockedConv is a convolution that writes channel-blocked memory. A task is a
// band of lines by a range of panels.
type blockedConv struct {
	*convolution
	kernel       gemm.Kernel
	post         *epilogue
	in           int // operand
	weight, bias *graph.Packed
	grids        []convGrid
	size         [2]int // lines of the output, and pixels of each
	every        [2]int // lines and pixels from one output of a grid to the next
	row          weightRow
	stemIn       bool // the input is row-major
	copied       bool // each task makes a padded copy of what it reads
	jobs         []convJob
	strides      window.Strides // of what the kernel reads
	share        taskShare
	vectors      int // panels computed side by side
}

// weightRow reads what output channel o multiplies: the taps of its first input channel, and so on.
type weightRow func(dst []float32, src *graph.Const, o int)

func (v *convolution) blocked(c *graph.Call) (graph.Step, error) {
	if v.useWinograd(c.Level) {
		return v.blockedWinograd(c)
	}
	g := v.plane()
	b := &blockedConv{convolution: v, stemIn: v.stem(), grids: []convGrid{g}, size: [2]int{g.y.Out, g.x.Out}, every: [2]int{1, 1},
		row: func(dst []float32, src *graph.Const, o int) { src.Decode(dst, o*len(dst)) }}
	return b.step(c, "conv blocked")
}

// step completes b once its grids are known.
func (b *blockedConv) step(c *graph.Call, name string) (graph.Step, error) {
	var err error
	if b.post, err = newEpilogue(c); err != nil {
		return graph.Step{}, err
	}
	b.kernel, b.in = gemm.For(c.Level), c.At(convX)
	b.share = b.plan()
	b.copied = len(b.grids) == 1 && b.regionTaps() > regionLimit
	b.strides = b.layout()
	b.makeJobs()
	b.vectors = b.tileVectors()
	b.weight = c.Pack(c.At(convWeight), b.packing())
	if b.convolution.bias >= 0 {
		b.bias = c.Pack(b.convolution.bias, padded(b.groups*b.cout, b.kernel.Lanes))
	}
	step := graph.Parallel(fmt.Sprintf("%s %v", name, c.Level), b.share.tasks(), b.run)
	if b.copied {
		step.Scratch = 4 * b.planes(b.widest()) * b.copySize()
	}
	return step, nil
}

// plan divides the work: bands whose input fits the cache; then, for parallelism, more
// bands, or more ranges of panels where the weights are larger than the band.
func (b *blockedConv) plan() taskShare {
	lanes := b.kernel.Lanes
	jobs, panels := b.groups, (b.cout+lanes-1)/lanes
	if b.groups > 1 && b.cout%lanes != 0 {
		jobs, panels = (b.groups*b.cout+lanes-1)/lanes, 1
	}
	outer := b.n * jobs
	g := &b.grids[0]
	lines := 0
	for i := range b.grids {
		lines = max(lines, b.grids[i].y.Out)
	}
	work := 2 * float64(len(b.grids)*lines) * float64(g.x.Out) * float64(panels*lanes) * float64(b.cin*len(g.ky)*len(g.kx))
	want := evenTasks(work*float64(outer)/convWork, convTasks)
	line := g.y.Stride * g.x.In * b.cin
	weight := panels * lanes * b.cin * b.taps()
	bands, ranges := min((lines*line+bandFloats-1)/bandFloats, lines), 1
	for outer*bands*ranges < want {
		switch {
		case ranges*2 <= panels && weight/ranges > line*lines/bands:
			ranges++
		case bands < lines && lines/(bands+1)*g.x.Out >= 2*b.kernel.MaxRows(2):
			bands++
		case ranges*2 <= panels:
			ranges++
		default:
			return newShare(outer, lines, panels, bands, ranges)
		}
	}
	return newShare(outer, lines, panels, bands, ranges)
}

// regionLimit bounds the lists of taps of all regions of an image, beyond which a padded copy serves, which
// is a single region.
const regionLimit = 1 << 17

// regionTaps is the number of taps in all lists.
func (b *blockedConv) regionTaps() int {
	n := 0
	for i := range b.grids {
		g := &b.grids[i]
		x, y := 0, 0
		for _, span := range g.x.Spans(0, g.x.Out) {
			x += span.TapHi - span.TapLo
		}
		for k := range b.share.bands {
			lo, hi := b.share.band(k)
			for _, span := range g.y.Spans(lo, min(hi, g.y.Out)) {
				y += span.TapHi - span.TapLo
			}
		}
		n += x * y
	}
	return n * ((b.cin-1)/b.lanesIn() + 1)
}

// tileVectors chooses how many panels are computed side by side: what keeps the multipliers busy
// with the tiles that the regions are cut into, while weights come from the second-level cache.
func (b *blockedConv) tileVectors() int {
	const weightsPerCycle = 0.4 // vectors
	best, least := 1, math.Inf(1)
	for v := gemm.MaxVectors; v > 1; v-- {
		tall, f, cycles := b.kernel.MaxRows(v), float64(v), 0.0
		for _, p := range b.jobs[0].taps.parts[0] {
			m := max(p.Lines, p.Rows)
			n := (m + tall - 1) / tall
			r := float64(m) / float64(n)
			tile := max(r*f/2, (r+f)/2, f/weightsPerCycle)
			cycles += tile * float64(n*min(p.Lines, p.Rows)*(len(p.TapsV)*b.kernel.Lanes+len(p.Taps1)))
		}
		if cycles /= f; cycles < 0.999*least {
			best, least = v, cycles
		}
	}
	return best
}

// lanesIn is the number of channels that lie side by side in the input.
func (b *blockedConv) lanesIn() int {
	if b.stemIn {
		return 1
	}
	return b.kernel.Lanes
}

// planes is the number of channel blocks, or channels, that a job reads.
func (b *blockedConv) planes(channel, channels int) int {
	l := b.lanesIn()
	return (channel+channels-1)/l - channel/l + 1
}

// widest is the channel range of the job that reads the most planes.
func (b *blockedConv) widest() (channel, channels int) {
	most := 0
	for _, j := range b.jobs {
		if n := b.planes(j.channel, j.channels); n > most {
			most, channel, channels = n, j.channel, j.channels
		}
	}
	return channel, channels
}

// copySize is the number of floats between the planes of a padded copy.
func (b *blockedConv) copySize() int {
	return window.PaddedSize(b.grids[0].y, b.grids[0].x, b.lanesIn(), 0, b.share.lines)
}

// layout is the distances within what the kernel reads.
func (b *blockedConv) layout() window.Strides {
	s, g := window.Strides{Pixel: 4 * b.lanesIn()}, &b.grids[0]
	if b.copied {
		s.Line = g.x.Padded().In * s.Pixel
		s.Block = 4 * b.copySize()
	} else {
		s.Line = g.x.In * s.Pixel
		s.Block = g.y.In * s.Line
	}
	return s
}

func (b *blockedConv) run(x *graph.Exec, task int) error {
	t := b.share.task(task)
	image, j := t.outer/len(b.jobs), &b.jobs[t.outer%len(b.jobs)]
	lanes := b.kernel.Lanes
	area, g := b.size[0]*b.size[1]*lanes, &b.grids[0]
	panels := (b.groups*b.cout + lanes - 1) / lanes
	weight, out := b.weight.F32()[j.weight:], x.OutF32(0)
	off := (image*panels + j.panel) * area
	a := gemm.Args{
		A:         address(b.source(x, image, j, t), 0),
		RowStride: g.x.Stride * b.strides.Pixel, AStep: g.y.Stride * b.strides.Line,
		W: address(weight, 0), WStride: 4 * len(j.taps.steps) * lanes,
		C: address(out, off), CRow: 4 * b.every[1] * lanes, CStep: 4 * b.every[0] * b.size[1] * lanes, CVec: 4 * area,
		Add: b.post.residual(x, off),
	}
	a.Flags, a.Lo, a.Hi = b.post.limits()
	if b.bias != nil {
		a.Bias = address(b.bias.F32(), j.panel*lanes)
	}
	parts := j.taps.parts[t.line/b.share.lines]
	lo, hi := t.line*b.every[0]*b.size[1]*lanes, min((t.line+t.lines)*b.every[0], b.size[0])*b.size[1]*lanes
	for p := t.col; p < t.col+t.cols; {
		n := min(b.vectors, t.col+t.cols-p)
		b.kernel.Parts(parts, p, p+n, j.panels*lanes, &a)
		for q := p; q < p+n; q++ {
			applyPost(x, b.post.rest, out, off+q*area+lo, hi-lo)
		}
		p += n
	}
	return nil
}

// applyPost runs a chain on n elements of the result from off on, in pieces that stay in cache.
func applyPost(x *graph.Exec, post *chain, out []float32, off, n int) {
	if post.empty() {
		return
	}
	for end := off + n; off < end; off += tileElems {
		post.apply(x, out[off:min(off+tileElems, end)], off)
	}
}

// source is what the kernel reads for the lines of a task: the input itself or a padded copy.
func (b *blockedConv) source(x *graph.Exec, image int, j *convJob, t taskPart) []float32 {
	l := b.lanesIn()
	g := &b.grids[0]
	size := g.y.In * g.x.In * l
	perImage := (b.groups*b.cin + l - 1) / l
	in := x.F32(b.in)[(image*perImage+j.channel/l)*size:]
	if !b.copied {
		return in
	}
	to, step := x.Scratch(), b.copySize()
	for p := range b.planes(j.channel, j.channels) {
		window.Pad(to[p*step:(p+1)*step], in[p*size:(p+1)*size], g.y, g.x, l, t.line, t.line+t.lines, 0)
	}
	return to
}
