package ops

import (
	"coreml/internal/kernel/dw"
	"coreml/internal/kernel/window"
)

// slide is a window that slides over channel-blocked memory, every channel by
// itself: depthwise convolution and pooling. A task is a band of lines of a
// range of channel blocks.
type slide struct {
	kernel dw.Kernel
	y, x   window.Axis
	share  taskShare
	bands  [][]rect
	copied bool // each block is copied with its padding first
}

// rect is a rectangle of outputs that see the same taps.
type rect struct {
	lines, pixels int
	in, out       int // floats from the channel block of the input (or its copy) to the first tap of the first output, and to that output
	taps          []dw.Tap
	first         [2]int // line and pixel of the first output
}

// Limits of a task of a sliding window: vector operations worth one, and the most of one; how many are enough; and
// the number of taps in all lists, beyond which a padded copy serves.
const (
	slideWork  = 16 << 10
	slideMost  = 64 << 10
	slideTasks = 16
	slideTaps  = 64 << 10
)

// newSlide divides the work of n images of blocks channel blocks. pad says that padding can be copied.
func newSlide(kernel dw.Kernel, s *spatial, n, blocks int, pad bool) *slide {
	v := &slide{kernel: kernel, y: s.axis[1], x: s.axis[2]}
	v.copied = pad && (window.PreferPadded(v.y, v.x, 1) || s.manyTaps())
	perLine := v.x.Out * s.taps()
	want := evenTasks(float64(n*blocks*perLine*v.y.Out)/slideWork, slideTasks)
	ranges := min(blocks, max(1, want/n))
	bands := 1
	if ranges == blocks {
		bands = max(1, min(want/(n*ranges), v.y.Out/(4*v.y.Kernel)))
	}
	for bands < v.y.Out && perLine*v.y.Out/bands > slideMost {
		bands++
	}
	v.share = newShare(n, v.y.Out, blocks, bands, ranges)
	for b := range v.share.bands {
		lo := b * v.share.lines
		v.bands = append(v.bands, v.rects(lo, min(lo+v.share.lines, v.y.Out)))
	}
	return v
}

// manyTaps reports that lists of the taps inside the image, for every rectangle, would be long.
func (s *spatial) manyTaps() bool {
	n := 1
	for _, a := range s.axis[1:] {
		sum := 0
		for _, span := range a.Spans(0, a.Out) {
			sum += span.TapHi - span.TapLo
		}
		n *= sum
	}
	return n > slideTaps
}

// rects covers the lines lo … hi of the output.
func (v *slide) rects(lo, hi int) []rect {
	y, x, first := v.y, v.x, 0
	if v.copied {
		// The copy begins at the band's first line.
		y, x, first = y.Padded(), x.Padded(), lo*y.Stride
	}
	lanes := v.kernel.Lanes
	s := window.Strides{Pixel: 4 * lanes, Line: 4 * lanes * x.In, Tap: 4 * lanes}
	var all []rect
	for _, r := range window.Regions(y, x, lo, hi) {
		q := rect{lines: r.Y.Hi - r.Y.Lo, pixels: r.X.Hi - r.X.Lo, first: [2]int{r.Y.Lo, r.X.Lo},
			out: (r.Y.Lo*x.Out + r.X.Lo) * lanes, taps: r.Taps(y, x, 1, s)}
		if len(q.taps) > 0 {
			at := q.taps[0].A
			q.in = int(at)/4 - first*x.In*lanes
			for i := range q.taps {
				q.taps[i].A -= at
			}
		}
		all = append(all, q)
	}
	return all
}

// scratch is the number of floats of a copied block.
func (v *slide) scratch() int {
	if !v.copied {
		return 0
	}
	return window.PaddedSize(v.y, v.x, v.kernel.Lanes, 0, v.share.lines)
}

// source is the channel block as the rectangles of a task see it.
func (v *slide) source(in, scratch []float32, t taskPart, value float32) []float32 {
	if !v.copied {
		return in
	}
	window.Pad(scratch, in, v.y, v.x, v.kernel.Lanes, t.line, t.line+t.lines, value)
	return scratch
}

// args are those of a rectangle of the block in, into out from element off on.
func (v *slide) args(q *rect, in, out []float32, off int) dw.Args {
	lanes, width := v.kernel.Lanes, v.x.In
	if v.copied {
		width = v.x.Padded().In
	}
	a := dw.Args{RowStride: 4 * v.x.Stride * lanes, AStep: 4 * v.y.Stride * width * lanes,
		Taps: address(q.taps, 0), N: len(q.taps),
		C: address(out, off), CRow: 4 * lanes, CStep: 4 * v.x.Out * lanes}
	if len(q.taps) > 0 {
		a.A = address(in, q.in)
	}
	return a
}

// blockSize and area are the floats of a channel block of the input and of the output.
func (v *slide) blockSize() int { return v.y.In * v.x.In * v.kernel.Lanes }
func (v *slide) area() int      { return v.y.Out * v.x.Out * v.kernel.Lanes }
