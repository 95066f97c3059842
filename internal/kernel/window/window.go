// Package window is the geometry of a sliding window over an image: which taps of the window
// lie inside the image, for which outputs, and what a padded copy looks like. Kernels of convolution and pooling
// take a rectangle of outputs with one list of taps; here an image becomes few such rectangles.
package window

import "sort"

// Axis is one spatial dimension.
type Axis struct {
	In       int // input size
	Kernel   int // taps
	Stride   int
	Dilation int
	Before   int // padding before the first input
	Out      int // output size
}

// Span is a run of outputs that see the same taps.
type Span struct {
	Lo, Hi       int // outputs
	TapLo, TapHi int // taps inside the input; none when equal
}

// taps is the range of taps of output o that lie inside the input.
func (a Axis) taps(o int) (lo, hi int) {
	first := o*a.Stride - a.Before
	if first < 0 {
		lo = min((-first+a.Dilation-1)/a.Dilation, a.Kernel)
	}
	hi = lo
	if room := a.In - 1 - first; room >= 0 {
		hi = max(lo, min(room/a.Dilation+1, a.Kernel))
	}
	return lo, hi
}

// Spans cuts the outputs lo … hi into runs that see the same taps. It takes time
// for the runs, not for the outputs, of which a file may declare any number.
func (a Axis) Spans(lo, hi int) []Span {
	var spans []Span
	for o := lo; o < hi; {
		tl, th := a.taps(o)
		end := o + 1 + sort.Search(hi-o-1, func(i int) bool {
			l, h := a.taps(o + 1 + i)
			return l != tl || h != th
		})
		spans = append(spans, Span{o, end, tl, th})
		o = end
	}
	return spans
}

// Padded is the axis over a copy of the input with its padding: every output sees every tap.
func (a Axis) Padded() Axis {
	a.In = (a.Out-1)*a.Stride + (a.Kernel-1)*a.Dilation + 1
	a.Before = 0
	return a
}

// Region is a rectangle of outputs that see the same taps.
type Region struct{ Y, X Span }

// Regions covers outputs ylo … yhi of every column.
func Regions(y, x Axis, ylo, yhi int) []Region {
	var all []Region
	xs := x.Spans(0, x.Out)
	for _, ys := range y.Spans(ylo, yhi) {
		for _, s := range xs {
			all = append(all, Region{ys, s})
		}
	}
	return all
}

// Tap is a place of the input and its weight: offsets in bytes, A from the first pixel for the
// region's first output, W from the first weight. It has the kernels' form.
type Tap = struct{ A, W int64 }

// Strides are distances in bytes.
type Strides struct {
	Pixel, Line, Block int // of the input: to the next column, row and channel block
	Tap, TapBlock      int // of the weight: from tap to tap, and from channel block to channel block within a tap
}

// Taps lists the taps of a region in the order of the weight (row, column, channel block), for
// blocks channel blocks. Every tap lies inside the image for every output of the region.
func (r Region) Taps(y, x Axis, blocks int, s Strides) []Tap {
	origin := (r.Y.Lo*y.Stride-y.Before)*s.Line + (r.X.Lo*x.Stride-x.Before)*s.Pixel
	var taps []Tap
	for ky := r.Y.TapLo; ky < r.Y.TapHi; ky++ {
		for kx := r.X.TapLo; kx < r.X.TapHi; kx++ {
			at := origin + (ky*y.Dilation)*s.Line + (kx*x.Dilation)*s.Pixel
			w := (ky*x.Kernel + kx) * s.Tap
			for b := range blocks {
				taps = append(taps, Tap{A: int64(at + b*s.Block), W: int64(w + b*s.TapBlock)})
			}
		}
	}
	return taps
}

// PaddedSize is the number of floats of a padded copy of one channel block of lanes floats, for the
// outputs ylo … yhi.
func PaddedSize(y, x Axis, lanes, ylo, yhi int) int {
	return ((yhi-ylo-1)*y.Stride + (y.Kernel-1)*y.Dilation + 1) * x.Padded().In * lanes
}

// Pad copies what outputs ylo … yhi see of one channel block [In.y, In.x, lanes] into dst, with
// value around it.
func Pad(dst, src []float32, y, x Axis, lanes, ylo, yhi int, value float32) {
	width := x.Padded().In * lanes
	first := ylo*y.Stride - y.Before
	left := x.Before * lanes
	n := max(0, min(x.In*lanes, width-left))
	left = min(left, width)
	for i := 0; len(dst) > 0 && i*width < PaddedSize(y, x, lanes, ylo, yhi); i++ {
		line := dst[i*width : (i+1)*width]
		in := first + i
		if in < 0 || in >= y.In {
			set(line, value)
			continue
		}
		set(line[:left], value)
		copy(line[left:left+n], src[in*x.In*lanes:])
		set(line[left+n:], value)
	}
}

func set(x []float32, value float32) {
	if value == 0 {
		clear(x)
		return
	}
	for i := range x {
		x[i] = value
	}
}

// PreferPadded reports whether a padded copy of each channel block is cheaper than one call for each
// region: small images and large windows. products is the number of vector operations per pixel and tap.
func PreferPadded(y, x Axis, products int) bool {
	const callCost, pixelCost, lineCost = 50, 1.5, 15 // cycles
	inside := 0
	calls := 0
	for _, r := range Regions(y, x, 0, y.Out) {
		inside += (r.Y.Hi - r.Y.Lo) * (r.X.Hi - r.X.Lo) * (r.Y.TapHi - r.Y.TapLo) * (r.X.TapHi - r.X.TapLo)
		calls++
	}
	if calls <= 1 {
		return false
	}
	all := y.Out * x.Out * y.Kernel * x.Kernel
	py, px := y.Padded(), x.Padded()
	regions := float64(inside*products)/2 + float64(calls)*callCost
	padded := float64(all*products)/2 + callCost + float64(py.In*px.In)*pixelCost + float64(py.In)*lineCost
	return padded < regions
}
