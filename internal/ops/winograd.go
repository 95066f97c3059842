package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/window"
	"coreml/internal/kernel/wino"
)

// winograd is a blocked convolution of 3 × 3 taps by F(4×4, 3×3). A task takes a band of lines of tiles through all
// stages for a range of output panels: it transforms what the tiles read, then, for a few panels at a time, computes
// the product of each of the 36 elements and transforms the results, while all of them are in its second-level cache.
type winograd struct {
	*convolution
	kernel         gemm.Kernel
	tiles          wino.Kernel
	post           *epilogue
	in             int // operand
	weight, bias   *graph.Packed
	y, x           window.Axis // in whole tiles
	height, width  int         // of the result
	blocks, panels int         // of input and output
	groupPanels    int
	across         int       // tiles of a line
	share          taskShare // lines of tiles by groups of panels
	taps           []gemm.Tap
	inStep         int // floats between elements of the transformed input, and of the products
	outStep        int
	copySize       int // floats of the padded copy of one block of a band
}

// Where Winograd's form is used, and how its work is divided: from measurements of each layer against the direct form.
const (
	winogradChannels = 32       // of input and of output; fewer do not pay for the transforms
	winogradRows     = 12       // of the products; fewer do not pay for reading 4 times the weights,
	winogradColdRows = 32       // nor these where the weights exceed a share of the last cache:
	winogradWarm     = 1 << 17  // inputs times outputs, 18 MiB
	winogradMost     = 1 << 18  // inputs times outputs; more would take too much memory
	winogradWork     = 48 << 10 // inputs times outputs times tiles; networks with less are small in every respect
	winogradLine     = 1 << 19  // floats of a transformed line of tiles

	winogradGroup = 64        // output channels that share a pass over the transformed input
	winogradBand  = 192 << 10 // floats of the transformed input of a task
	winogradWide  = 24        // tiles of a band that is cut no further: each band reads all weights
	winogradTasks = 16
)

// useWinograd is the rule: 3 × 3 taps that neither stride, dilate nor group, with so many channels and tiles that
// the products saved are worth the transforms and the larger weight, on the levels where that was measured: there
// such layers take 1/3 to 2/3 of the time of the direct form. Images whose tiles reach far over the border are refused.
func (v *convolution) useWinograd(level cpu.Level) bool {
	y, x := v.axis[1], v.axis[2]
	once := y.Stride == 1 && x.Stride == 1 && y.Dilation == 1 && x.Dilation == 1
	if level != cpu.AVX2 && level != cpu.AVX512 || v.rank != 2 || v.groups != 1 || y.Kernel != 3 || x.Kernel != 3 || !once {
		return false
	}
	down, across := ceilDiv(y.Out, wino.Out), ceilDiv(x.Out, wino.Out)
	rows, weights := down*across, v.cin*v.cout
	if min(v.cin, v.cout) < winogradChannels || weights > winogradMost || wino.Elements*across*v.cin > winogradLine {
		return false
	}
	if rows < winogradRows || rows < winogradColdRows && weights > winogradWarm || rows*weights < winogradWork {
		return false
	}
	return 16*y.Out*x.Out >= 9*rows*wino.Out*wino.Out
}

func (v *convolution) blockedWinograd(c *graph.Call) (graph.Step, error) {
	post, err := newEpilogue(c)
	if err != nil {
		return graph.Step{}, err
	}
	w := &winograd{convolution: v, kernel: gemm.For(c.Level), tiles: wino.For(c.Level), post: post, in: c.At(convX), y: v.axis[1], x: v.axis[2]}
	lanes := w.kernel.Lanes
	w.height, w.width = w.y.Out, w.x.Out
	w.across = ceilDiv(w.width, wino.Out)
	w.y.Out, w.x.Out = ceilDiv(w.height, wino.Out)*wino.Out, w.across*wino.Out
	w.blocks, w.panels = ceilDiv(v.cin, lanes), ceilDiv(v.cout, lanes)
	w.groupPanels = winogradGroup / lanes
	w.share = w.plan()
	most := w.share.lines * w.across
	w.inStep, w.outStep = oddLines(w.blocks*most*lanes), oddLines(min(w.panels, w.groupPanels)*most*lanes)
	w.copySize = window.PaddedSize(w.y, w.x, lanes, 0, w.share.lines*wino.Out)
	for b := range w.blocks {
		w.taps = append(w.taps, gemm.Tap{A: int64(4 * b * most * lanes), W: int64(4 * b * lanes * lanes)})
	}
	w.weight = c.Pack(c.At(convWeight), w.packing())
	if v.bias >= 0 {
		w.bias = c.Pack(v.bias, padded(v.cout, lanes))
	}
	step := graph.Parallel(fmt.Sprintf("conv winograd %v", c.Level), w.share.tasks(), w.run)
	step.Scratch = 4 * (w.copySize + wino.Elements*(w.inStep+w.outStep+lanes))
	return step, nil
}

// oddLines rounds n floats up to an odd number of cache lines, so that 36 streams use all sets of a cache.
func oddLines(n int) int { return ((n+15)/16 | 1) * 16 }

// plan divides the work: bands of tiles whose transformed input fits the cache; then, for parallelism, more bands, or
// ranges of groups of panels where bands are narrow: each range repeats the transform of the input.
func (w *winograd) plan() taskShare {
	down := w.y.Out / wino.Out
	groups := ceilDiv(w.panels, w.groupPanels)
	line := wino.Elements * w.across * w.blocks * w.kernel.Lanes
	bands, ranges := min(down, ceilDiv(down*line, winogradBand)), 1
	for w.n*bands*ranges < winogradTasks {
		switch {
		case bands < down && down/(bands+1)*w.across >= winogradWide:
			bands++
		case ranges < groups:
			ranges = min(2*ranges, groups)
		default:
			return newShare(w.n, down, groups, bands, ranges)
		}
	}
	return newShare(w.n, down, groups, bands, ranges)
}

func (w *winograd) run(x *graph.Exec, task int) error {
	t := w.share.task(task)
	scratch := x.Scratch()
	in, scratch := scratch[:wino.Elements*w.inStep], scratch[wino.Elements*w.inStep:]
	out, scratch := scratch[:wino.Elements*w.outStep], scratch[wino.Elements*w.outStep:]
	tmp, image := scratch[:wino.Elements*w.kernel.Lanes], scratch[wino.Elements*w.kernel.Lanes:]
	w.input(x, t, in, image, tmp)
	for g := t.col; g < t.col+t.cols; g++ {
		w.products(t, g, in, out)
		w.output(x, t, g, out, tmp)
	}
	return nil
}

// input transforms what the tiles of a task read.
func (w *winograd) input(x *graph.Exec, t taskPart, to, image, tmp []float32) {
	lanes := w.kernel.Lanes
	size := w.y.In * w.x.In * lanes
	in := x.F32(w.in)[t.outer*w.blocks*size:]
	line := w.x.Padded().In * lanes
	for b := range w.blocks {
		window.Pad(image, in[b*size:(b+1)*size], w.y, w.x, lanes, t.line*wino.Out, (t.line+t.lines)*wino.Out, 0)
		for i := range t.lines {
			w.tiles.Input(&wino.Args{
				Image: address(image, i*wino.Out*line), ImageLine: 4 * line,
				Matrix: address(to, (b*w.share.lines+i)*w.across*lanes), MatrixStep: 4 * w.inStep,
				Tmp: address(tmp, 0), Tiles: w.across,
			})
		}
	}
}

// group is the range of panels of group g.
func (w *winograd) group(g int) (lo, hi int) {
	return g * w.groupPanels, min((g+1)*w.groupPanels, w.panels)
}

// products multiplies the transformed tiles with the weights of a group of panels.
func (w *winograd) products(t taskPart, g int, in, out []float32) {
	lanes := w.kernel.Lanes
	lo, hi := w.group(g)
	panel := w.blocks * lanes * lanes
	parts := [1]gemm.Part{{Lines: 1, Rows: t.lines * w.across, TapsV: w.taps}}
	for e := range wino.Elements {
		a := gemm.Args{
			A: address(in, e*w.inStep), RowStride: 4 * lanes,
			W: address(w.weight.F32(), (lo*wino.Elements+e*(hi-lo))*panel), WStride: 4 * panel,
			C: address(out, e*w.outStep), CRow: 4 * lanes, CVec: 4 * w.share.lines * w.across * lanes,
		}
		w.kernel.Parts(parts[:], 0, hi-lo, (hi-lo)*(wino.Elements-e)*lanes, &a) // what follows is read ahead
	}
}

// output transforms the products of a group of panels into the result.
func (w *winograd) output(x *graph.Exec, t taskPart, g int, from, tmp []float32) {
	lanes := w.kernel.Lanes
	lo, hi := w.group(g)
	a := wino.Args{ImageLine: 4 * w.width * lanes, MatrixStep: 4 * w.outStep, Tmp: address(tmp, 0)}
	a.Lo, a.Hi = w.limits()
	first := t.line * wino.Out
	for p := lo; p < hi; p++ {
		if w.bias != nil {
			a.Bias = address(w.bias.F32(), p*lanes)
		}
		off := ((t.outer*w.panels+p)*w.height + first) * w.width * lanes
		for i := range t.lines {
			a.Lines = min(wino.Out, w.height-first-i*wino.Out)
			w.line(x, a, off+i*wino.Out*w.width*lanes, from[((p-lo)*w.share.lines+i)*w.across*lanes:])
		}
		applyPost(x, w.post.rest, x.OutF32(0), off, min(t.lines*wino.Out, w.height-first)*w.width*lanes)
	}
}

// line writes a line of tiles to the result from element off on: the whole ones, then the one at the border.
func (w *winograd) line(x *graph.Exec, a wino.Args, off int, from []float32) {
	lanes, whole := w.kernel.Lanes, w.width/wino.Out
	a.Tiles, a.Pixels = whole, wino.Out
	a.Image, a.Matrix, a.Add = address(x.OutF32(0), off), address(from, 0), w.post.residual(x, off)
	w.tiles.Output(&a)
	if rest := w.width % wino.Out; rest > 0 {
		off += whole * wino.Out * lanes
		a.Tiles, a.Pixels = 1, rest
		a.Image, a.Matrix, a.Add = address(x.OutF32(0), off), address(from, whole*lanes), w.post.residual(x, off)
		w.tiles.Output(&a)
	}
}

// limits are those of the epilogue as the transform takes them.
func (w *winograd) limits() (lo, hi float32) {
	lo, hi = wino.NoLimit()
	flags, least, most := w.post.limits()
	if flags&gemm.AtLeast != 0 {
		lo = least
	}
	if flags&gemm.AtMost != 0 {
		hi = most
	}
	return lo, hi
}

// packing is that of the weight: for each group of panels the 36 elements, and for each of those the panels in
// panel form.
func (w *winograd) packing() graph.Packing {
	lanes, blocks, panels, cin, cout := w.kernel.Lanes, w.blocks, w.panels, w.cin, w.cout
	panel := blocks * lanes * lanes
	return graph.Packing{
		Form: fmt.Sprintf("winograd4 %d", lanes), Size: 4 * panels * wino.Elements * panel, Items: panels,
		Do: func(dst []byte, src *graph.Const, lo, hi int) {
			rows, part := make([]float32, lanes*cin*9), make([]float32, wino.Elements*lanes*lanes)
			for p := lo; p < hi; p++ {
				n := min(lanes, cout-p*lanes)
				src.Decode(rows[:n*cin*9], p*lanes*cin*9)
				clear(rows[n*cin*9:])
				first, end := w.group(p / w.groupPanels)
				to := f32(dst)[(first*wino.Elements+p-first)*panel:]
				for b := range blocks {
					packBlock(part, rows[b*lanes*9:], cin*9, min(lanes, cin-b*lanes), lanes)
					for e := range wino.Elements {
						copy(to[e*(end-first)*panel+b*lanes*lanes:], part[e*lanes*lanes:][:lanes*lanes])
					}
				}
			}
		},
	}
}

// packBlock transforms n <= lanes input channels of a panel whose outputs have their taps stride floats apart. The
// result is [element][input][output], and is copied from there: its elements lie powers of two apart in the packed weight.
func packBlock(to, rows []float32, stride, n, lanes int) {
	if n < lanes {
		clear(to)
	}
	for c := range n {
		wino.Weights(to[c*lanes:], lanes*lanes, rows[c*9:], stride, lanes)
	}
}
