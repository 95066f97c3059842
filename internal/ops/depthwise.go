package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/dw"
	"coreml/tensor"
)

// depthwise is a convolution in which every input channel makes times outputs of its own.
type depthwise struct {
	*convolution
	*slide
	post         *epilogue
	in           int // operand
	blocks       int // of the input
	times        int
	weight, bias *graph.Packed
	order        []int // times > 1: place, among the tiles of an input block, of each output channel
}

// depthwise reports whether the convolution is one.
func (v *convolution) depthwise() bool { return v.groups > 1 && v.cin == 1 }

func (v *convolution) blockedDepthwise(c *graph.Call) (graph.Step, error) {
	d := &depthwise{convolution: v, in: c.At(convX), times: v.cout}
	var err error
	if d.times == 1 {
		d.post, err = newEpilogue(c)
	} else {
		d.post, err = newLateEpilogue(c)
	}
	if err != nil {
		return graph.Step{}, err
	}
	lanes := c.Lanes()
	d.blocks = (v.groups + lanes - 1) / lanes
	d.slide = newSlide(dw.For(c.Level), &v.spatial, v.n, d.blocks, true)
	d.weight = c.Pack(c.At(convWeight), d.packing(v.spatial.taps()))
	if v.bias >= 0 {
		d.bias = c.Pack(v.bias, d.packing(1))
	}
	step := graph.Parallel(fmt.Sprintf("conv depthwise %v", c.Level), d.share.tasks(), d.run)
	step.Scratch = 4 * d.scratch()
	if d.times > 1 {
		d.interleave()
		step.Scratch += 4 * d.times * d.tile()
	}
	return step, nil
}

// tile is the number of floats of a task's result in one channel block.
func (d *depthwise) tile() int { return d.share.lines * d.slide.x.Out * d.kernel.Lanes }

// interleave computes order: output channel i·times + j is lane i of tile j.
func (d *depthwise) interleave() {
	for q := range d.times * d.kernel.Lanes {
		d.order = append(d.order, q%d.times*d.tile()+q/d.times)
	}
}

// packing is that of n values for each output channel, as [input block][time][value][lane].
func (d *depthwise) packing(n int) graph.Packing {
	lanes, times, channels := d.kernel.Lanes, d.times, d.groups
	return graph.Packing{
		Form: fmt.Sprintf("depthwise%d %d", lanes, times), Size: 4 * d.blocks * times * n * lanes, Items: d.blocks,
		Do: func(dst []byte, src *graph.Const, lo, hi int) {
			row := make([]float32, n)
			for i := lo * lanes; i < hi*lanes; i++ {
				for j := range times {
					to := f32(dst)[(i/lanes*times+j)*n*lanes+i%lanes:]
					if i < channels {
						src.Decode(row, (i*times+j)*n)
					} else {
						clear(row)
					}
					for t, w := range row {
						to[t*lanes] = w
					}
				}
			}
		},
	}
}

func (d *depthwise) run(x *graph.Exec, task int) error {
	t := d.share.task(task)
	scratch := x.Scratch()
	for b := t.col; b < t.col+t.cols; b++ {
		block := t.outer*d.blocks + b
		in := d.source(x.F32(d.in)[block*d.blockSize():], scratch, t, 0)
		if d.times == 1 {
			out, base := x.OutF32(0), block*d.area()
			d.convolve(x, in, out, base, b, t)
			applyPost(x, d.post.rest, out, base+t.line*d.slide.x.Out*d.kernel.Lanes, t.lines*d.slide.x.Out*d.kernel.Lanes)
			continue
		}
		tiles := scratch[d.scratch():]
		skip := t.line * d.slide.x.Out * d.kernel.Lanes
		for j := range d.times {
			d.convolve(x, in, tiles[j*d.tile():], -skip, b*d.times+j, t)
		}
		d.spread(x, tiles, b, t)
	}
	return nil
}

// convolve computes the lines of a task for weight block w; output element i goes to out[base+i].
func (d *depthwise) convolve(x *graph.Exec, in, out []float32, base, w int, t taskPart) {
	rects := d.bands[t.line/d.share.lines]
	lanes, taps := d.kernel.Lanes, d.spatial.taps()
	for i := range rects {
		q := &rects[i]
		a := d.args(q, in, out, base+q.out)
		a.W = address(d.weight.F32(), w*taps*lanes)
		if d.bias != nil {
			a.Bias = address(d.bias.F32(), w*lanes)
		}
		a.Flags, a.Lo, a.Hi = d.post.limits()
		a.Add = d.post.residual(x, base+q.out)
		d.kernel.Grid(dw.Sum, q.lines, q.pixels, &a)
	}
}

// spread stores the tiles of input block b as the output's channel blocks.
func (d *depthwise) spread(x *graph.Exec, tiles []float32, b int, t taskPart) {
	lanes, out := d.kernel.Lanes, x.OutF32(0)
	blocks := (d.groups*d.times + lanes - 1) / lanes
	n := t.lines * d.slide.x.Out * lanes
	for k := range min(d.times, blocks-b*d.times) {
		off := (t.outer*blocks+b*d.times+k)*d.area() + t.line*d.slide.x.Out*lanes
		order := d.order[k*lanes:][:lanes]
		to := out[off : off+n]
		if d.times == 2 {
			alternate(to, tiles[k*lanes/2:], tiles[d.tile()+k*lanes/2:], lanes)
		} else {
			for p := 0; p < n; p += lanes {
				from, pixel := tiles[p:], to[p:p+lanes]
				for l, o := range order {
					pixel[l] = from[o]
				}
			}
		}
		applyPost(x, d.post.rest, out, off, n)
	}
}

// alternate fills each block of lanes floats with elements of a and b in turn; theirs lie lanes apart.
func alternate(dst, a, b []float32, lanes int) {
	half := lanes / 2
	x, y, pairs := wordsOf[uint32](a), wordsOf[uint32](b), wordsOf[uint64](dst)
	for p := 0; p+half <= len(pairs); p += half {
		u, v := x[2*p:2*p+half], y[2*p:2*p+half]
		d := pairs[p : p+len(u)]
		for i := range d {
			d[i] = uint64(u[i]) | uint64(v[i])<<32
		}
	}
}

func wordsOf[T uint32 | uint64](s []float32) []T { return tensor.View[T](tensor.BytesOf(s)) }
