package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/window"
)

// stemChannels is the number of channels up to which a convolution reads its input
// row-major: blocks of so few channels would be mostly padding.
const stemChannels = 4

// fitConv lets a convolution with known weights run on channel-blocked memory.
func fitConv(c *graph.Call, f graph.Form) graph.Fit {
	if f != graph.Blocked || !blockable(c.Type(convX)) || !blockable(c.Out[0].Type) || c.In[c.At(convWeight)].Const == nil ||
		c.Given(convBias) && c.In[c.At(convBias)].Const == nil {
		return graph.Fit{}
	}
	v, err := newConvolution(c)
	if err != nil {
		return graph.Fit{}
	}
	fit := graph.Fit{Out: 1, Wants: true}
	if !v.stem() {
		fit.In = 1 << c.At(convX)
	}
	return fit
}

func (v *convolution) stem() bool { return v.groups == 1 && v.cin <= stemChannels }

// plane brings the two last axes into what kernels see: lines y of pixels x. A
// pointwise convolution sees one long column of pixels.
func (v *convolution) plane() (y, x window.Axis) {
	y, x = v.axis[1], v.axis[2]
	if v.pointwise() && y.Stride == 1 && x.Stride == 1 {
		n := y.In * x.In
		one := window.Axis{In: 1, Kernel: 1, Stride: 1, Dilation: 1, Out: 1}
		y, x = one, one
		y.In, y.Out = n, n
	}
	return y, x
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

// convJob is a range of output panels that read the same range of input channels.
type convJob struct {
	channel, channels int
	panel, panels     int
	weight            int // its first float in the packed weight
	taps              *convTaps
}

// convTaps is where a job finds the operands of each step of its sums, and which those are.
type convTaps struct {
	vector, single []gemm.Tap
	steps          []convStep // in the order of the packed weight
}

// convStep is one product of a sum: input channel, counted from the job's first, and tap of the window.
type convStep struct{ channel, tap int32 }

// blockedConv is a convolution that writes channel-blocked memory. A task is a
// band of lines by a range of panels.
type blockedConv struct {
	*convolution
	kernel       gemm.Kernel
	post         *epilogue
	in           int // operand
	weight, bias *graph.Packed
	y, x         window.Axis
	stemIn       bool // the input is row-major
	copied       bool // each task makes a padded copy of what it reads
	jobs         []convJob
	strides      window.Strides // of what the kernel reads
	share        taskShare
}

func (v *convolution) blocked(c *graph.Call) (graph.Step, error) {
	post, err := newEpilogue(c)
	if err != nil {
		return graph.Step{}, err
	}
	b := &blockedConv{convolution: v, kernel: gemm.For(c.Level), post: post, in: c.At(convX), stemIn: v.stem(), copied: v.padded()}
	b.y, b.x = v.plane()
	b.share = b.plan()
	b.strides = b.layout()
	b.makeJobs()
	b.weight = c.Pack(c.At(convWeight), b.packing())
	if v.bias >= 0 {
		b.bias = c.Pack(v.bias, padded(v.groups*v.cout, b.kernel.Lanes))
	}
	step := graph.Parallel(fmt.Sprintf("conv blocked %v", c.Level), b.share.tasks(), b.run)
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
	work := 2 * float64(b.y.Out) * float64(b.x.Out) * float64(panels*lanes) * float64(b.cin*b.taps())
	want := int(min(convTasks, work*float64(outer)/convWork))
	line := b.y.Stride * b.x.In * b.cin
	weight := panels * lanes * b.cin * b.taps()
	bands, ranges := min((b.y.Out*line+bandFloats-1)/bandFloats, b.y.Out), 1
	for outer*bands*ranges < want {
		switch {
		case ranges*2 <= panels && weight/ranges > line*b.y.Out/bands:
			ranges++
		case bands < b.y.Out && b.y.Out/(bands+1)*b.x.Out >= 2*b.kernel.MaxRows(2):
			bands++
		case ranges*2 <= panels:
			ranges++
		default:
			return newShare(outer, b.y.Out, panels, bands, ranges)
		}
	}
	return newShare(outer, b.y.Out, panels, bands, ranges)
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
	return window.PaddedSize(b.y, b.x, b.lanesIn(), 0, b.share.lines)
}

// layout is the distances within what the kernel reads.
func (b *blockedConv) layout() window.Strides {
	s := window.Strides{Pixel: 4 * b.lanesIn()}
	if b.copied {
		s.Line = b.x.Padded().In * s.Pixel
		s.Block = 4 * b.copySize()
	} else {
		s.Line = b.x.In * s.Pixel
		s.Block = b.y.In * s.Line
	}
	return s
}

// makeJobs divides the output panels by the input channels that they need.
func (b *blockedConv) makeJobs() {
	lanes := b.kernel.Lanes
	if b.groups == 1 || b.cout%lanes == 0 {
		per := (b.cout + lanes - 1) / lanes
		for g := range b.groups {
			b.addJob(convJob{channel: g * b.cin, channels: b.cin, panel: g * per, panels: per})
		}
		return
	}
	all := b.groups * b.cout
	for p := 0; p*lanes < all; p++ {
		first, last := p*lanes/b.cout, (min((p+1)*lanes, all)-1)/b.cout // groups
		b.addJob(convJob{channel: first * b.cin, channels: (last + 1 - first) * b.cin, panel: p, panels: 1})
	}
}

func (b *blockedConv) addJob(j convJob) {
	if n := len(b.jobs); n > 0 {
		last := b.jobs[n-1]
		j.weight = last.weight + last.panels*len(last.taps.steps)*b.kernel.Lanes
		if j.channels == last.channels && j.channel%b.lanesIn() == last.channel%b.lanesIn() {
			j.taps = last.taps
		}
	}
	if j.taps == nil {
		j.taps = b.makeTaps(j.channel, j.channels)
	}
	b.jobs = append(b.jobs, j)
}

// makeTaps lists the steps of a sum: first whole blocks of channels, tap by tap, then single channels.
func (b *blockedConv) makeTaps(channel, channels int) *convTaps {
	t := &convTaps{}
	l := b.lanesIn()
	base := channel / l * l
	end := channel + channels
	first, last := end, end // channels of whole blocks
	if l > 1 {
		first = min((channel+l-1)/l*l, end)
		last = max(first, end/l*l)
	}
	for c := first; c < last; c += l {
		b.eachTap(func(tap, at int) {
			t.vector = append(t.vector, gemm.Tap{A: int64((c-base)/l*b.strides.Block + at), W: t.offset(b.kernel.Lanes)})
			for i := range l {
				t.steps = append(t.steps, convStep{int32(c + i - channel), int32(tap)})
			}
		})
	}
	for c := channel; c < end; c++ {
		if c >= first && c < last {
			continue
		}
		b.eachTap(func(tap, at int) {
			t.single = append(t.single, gemm.Tap{A: int64((c-base)/l*b.strides.Block + (c-base)%l*4 + at), W: t.offset(b.kernel.Lanes)})
			t.steps = append(t.steps, convStep{int32(c - channel), int32(tap)})
		})
	}
	return t
}

// offset is that of the next step in a panel, in bytes.
func (t *convTaps) offset(lanes int) int64 { return int64(4 * len(t.steps) * lanes) }

// eachTap calls f with the number of each tap and its distance in bytes from tap 0.
func (b *blockedConv) eachTap(f func(tap, at int)) {
	for i := range b.y.Kernel {
		for j := range b.x.Kernel {
			f(i*b.x.Kernel+j, i*b.y.Dilation*b.strides.Line+j*b.x.Dilation*b.strides.Pixel)
		}
	}
}

// packing is that of the weight: the jobs one after the other, each in panel form.
func (b *blockedConv) packing() graph.Packing {
	lanes := b.kernel.Lanes
	last := b.jobs[len(b.jobs)-1]
	var owner []int // job of each panel
	for i, j := range b.jobs {
		for range j.panels {
			owner = append(owner, i)
		}
	}
	jobs, groupIn, groupOut, taps, all := b.jobs, b.cin, b.cout, b.taps(), b.groups*b.cout
	return graph.Packing{
		Form: fmt.Sprintf("conv%d %d %v", lanes, b.groups, b.stemIn),
		Size: 4 * (last.weight + last.panels*len(last.taps.steps)*lanes), Items: len(owner),
		Do: func(dst []byte, src *graph.Const, lo, hi int) {
			row := make([]float32, groupIn*taps)
			for p := lo; p < hi; p++ {
				j := &jobs[owner[p]]
				steps := j.taps.steps
				panel := f32(dst)[j.weight+(p-j.panel)*len(steps)*lanes:][:len(steps)*lanes]
				for l := range lanes {
					o := p*lanes + l
					if o >= all {
						pickSteps(panel[l:], nil, steps, lanes, 0, 0, taps)
						continue
					}
					src.Decode(row, o*len(row))
					pickSteps(panel[l:], row, steps, lanes, o/groupOut*groupIn-j.channel, groupIn, taps)
				}
			}
		},
	}
}

// pickSteps writes one lane of a panel from a row of the weight, whose n channels begin at channel first of the job.
func pickSteps(dst, row []float32, steps []convStep, lanes, first, n, taps int) {
	for s, step := range steps {
		var w float32
		if c := int(step.channel) - first; c >= 0 && c < n {
			w = row[c*taps+int(step.tap)]
		}
		dst[s*lanes] = w
	}
}

// padded is the packing of n values, one per channel, with zeros up to a whole block.
func padded(n, lanes int) graph.Packing {
	return graph.Packing{
		Form: fmt.Sprintf("padded%d", lanes), Size: 4 * ((n + lanes - 1) / lanes * lanes), Items: 1,
		Do: func(dst []byte, src *graph.Const, _, _ int) {
			d := f32(dst)
			src.Decode(d[:n], 0)
			clear(d[n:])
		},
	}
}

func (b *blockedConv) run(x *graph.Exec, task int) error {
	t := b.share.task(task)
	image, j := t.outer/len(b.jobs), &b.jobs[t.outer%len(b.jobs)]
	lanes := b.kernel.Lanes
	area := b.y.Out * b.x.Out * lanes
	panels := (b.groups*b.cout + lanes - 1) / lanes
	weight, out := b.weight.F32()[j.weight:], x.OutF32(0)
	off := (image*panels+j.panel)*area + t.line*b.x.Out*lanes
	a := gemm.Args{
		A:         address(b.source(x, image, j, t), 0),
		RowStride: b.x.Stride * b.strides.Pixel, AStep: b.y.Stride * b.strides.Line,
		W: address(weight, 0), WStride: 4 * len(j.taps.steps) * lanes,
		C: address(out, off), CRow: 4 * lanes, CStep: 4 * b.x.Out * lanes, CVec: 4 * area,
		Add: b.post.residual(x, off),
	}
	a.Flags, a.Lo, a.Hi = b.post.limits()
	if b.bias != nil {
		a.Bias = address(b.bias.F32(), j.panel*lanes)
	}
	part := [1]gemm.Part{{Lines: t.lines, Rows: b.x.Out, TapsV: j.taps.vector, Taps1: j.taps.single}}
	for p := t.col; p < t.col+t.cols; {
		n := t.col + t.cols - p
		if !b.post.rest.empty() && n > gemm.MaxVectors {
			n = gemm.MaxVectors // so that the result is still in cache
		}
		b.kernel.Parts(part[:], p, p+n, j.panels*lanes, &a)
		for q := p; q < p+n; q++ {
			applyPost(x, b.post.rest, out, off+q*area, t.lines*b.x.Out*lanes)
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
	size := b.y.In * b.x.In * l
	perImage := (b.groups*b.cin + l - 1) / l
	in := x.F32(b.in)[(image*perImage+j.channel/l)*size:]
	if !b.copied {
		return in[t.line*b.y.Stride*b.x.In*l:]
	}
	to, step := x.Scratch(), b.copySize()
	for p := range b.planes(j.channel, j.channels) {
		window.Pad(to[p*step:(p+1)*step], in[p*size:(p+1)*size], b.y, b.x, l, t.line, t.line+t.lines, 0)
	}
	return to
}
