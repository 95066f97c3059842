package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/window"
)

// convJob is a range of output panels that read the same range of input channels.
type convJob struct {
	channel, channels int
	panel, panels     int
	weight            int // its first float in the packed weight
	taps              *convTaps
}

// convTaps is what the sums of a job are made of. Channels are counted from the job's first. Steps that read whole
// blocks come first in the packed weight, block by block, tap by tap; then those of single channels.
type convTaps struct {
	blocks []int         // first channels of whole blocks
	single []int         // the other channels
	steps  []convStep    // in the order of the packed weight
	parts  [][]gemm.Part // of each band: the regions that see the same taps
}

// convStep is one product of a sum: input channel and tap of the window.
type convStep struct{ channel, tap int32 }

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

func (b *blockedConv) makeTaps(channel, channels int) *convTaps {
	t := &convTaps{}
	l, taps := b.lanesIn(), b.taps()
	for c := 0; c < channels; {
		if l > 1 && (channel+c)%l == 0 && c+l <= channels {
			t.blocks = append(t.blocks, c)
			c += l
			continue
		}
		t.single = append(t.single, c)
		c++
	}
	for _, c := range t.blocks {
		for k := range taps {
			for i := range l {
				t.steps = append(t.steps, convStep{int32(c + i), int32(k)})
			}
		}
	}
	for _, c := range t.single {
		for k := range taps {
			t.steps = append(t.steps, convStep{int32(c), int32(k)})
		}
	}
	for i := range b.share.bands {
		lo, hi := b.share.band(i)
		t.parts = append(t.parts, b.makeParts(t, channel%l, lo, hi))
	}
	return t
}

// makeParts lists the regions of lines lo … hi of every grid, with their taps; the job's first channel is lane of
// its block.
func (b *blockedConv) makeParts(t *convTaps, lane, lo, hi int) []gemm.Part {
	var parts []gemm.Part
	for i := range b.grids {
		g := &b.grids[i]
		y, x, start := g.y, g.x, 0
		if b.copied {
			y, x, start = y.Padded(), x.Padded(), lo*g.y.Stride*b.strides.Line // the copy begins there
		}
		for _, r := range window.Regions(y, x, lo, min(hi, y.Out)) {
			line, pixel := g.first[0]+r.Y.Lo*b.every[0], g.first[1]+r.X.Lo*b.every[1]
			p := gemm.Part{Lines: r.Y.Hi - r.Y.Lo, Rows: r.X.Hi - r.X.Lo, C: 4 * (line*b.size[1] + pixel) * b.kernel.Lanes}
			places := r.Taps(y, x, 1, window.Strides{Pixel: b.strides.Pixel, Line: b.strides.Line, Tap: 1})
			for k := range places {
				q := &places[k]
				q.A -= int64(start)
				q.W = int64(g.ky[int(q.W)/x.Kernel]*b.axis[2].Kernel + g.kx[int(q.W)%x.Kernel]) // the number of the tap
			}
			b.list(&p, t, lane, places)
			parts = append(parts, p)
		}
	}
	return parts
}

// list repeats the taps of one channel for all of them.
func (b *blockedConv) list(p *gemm.Part, t *convTaps, lane int, places []gemm.Tap) {
	l, lanes, taps := b.lanesIn(), b.kernel.Lanes, b.taps()
	offset := func(c int) int64 { return int64((lane+c)/l*b.strides.Block + (lane+c)%l*4) }
	for i, c := range t.blocks {
		for _, q := range places {
			p.TapsV = append(p.TapsV, gemm.Tap{A: q.A + offset(c), W: 4 * int64(lanes) * (int64(i*taps) + q.W) * int64(l)})
		}
	}
	for i, c := range t.single {
		for _, q := range places {
			p.Taps1 = append(p.Taps1, gemm.Tap{A: q.A + offset(c), W: 4 * int64(lanes) * (int64((len(t.blocks)*l+i)*taps) + q.W)})
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
	jobs, groupIn, groupOut, taps, all, read := b.jobs, b.cin, b.cout, b.taps(), b.groups*b.cout, b.row
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
					read(row, src, o)
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
