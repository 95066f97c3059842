package ops

import (
	"fmt"
	"math"

	"coreml/internal/graph"
	"coreml/internal/kernel/dw"
)

// blockedPool is a mean or a maximum over channel-blocked memory.
type blockedPool struct {
	*pooling
	*slide
	op     dw.Op
	post   *epilogue
	blocks int
	start  []float32     // a maximum starts from it
	scales [][][]float32 // of a mean: for each rectangle of each band, one over the number of elements, in every lane
}

// blockable reports whether the blocked step can do the pool.
func (p *pooling) blockable(c *graph.Call) bool {
	return c.Op.Name != "l2_pool" && blockable(c.Type(0)) && blockable(c.Out[0].Type) && (c.Op.Name == "max_pool" || !p.manyTaps())
}

func (p *pooling) blocked(c *graph.Call) (graph.Step, error) {
	post, err := newEpilogue(c)
	if err != nil {
		return graph.Step{}, err
	}
	lanes := c.Lanes()
	b := &blockedPool{pooling: p, post: post, blocks: (c.Shape(0)[1] + lanes - 1) / lanes}
	if c.Op.Name == "max_pool" {
		b.op = dw.Max
	}
	b.slide = newSlide(dw.For(c.Level), &p.spatial, c.Shape(0)[0], b.blocks, b.op == dw.Max)
	if b.op == dw.Max {
		b.start = make([]float32, lanes)
		fill(b.start, float32(math.Inf(-1)))
	} else {
		b.average(lanes)
	}
	step := graph.Parallel(fmt.Sprintf("pool %s blocked %v", c.Op.Name, c.Level), b.share.tasks(), b.run)
	step.Scratch = 4 * b.scratch()
	return step, nil
}

// average makes the weights of a mean: all taps of a rectangle have the same.
func (b *blockedPool) average(lanes int) {
	for i := range b.bands {
		var scales [][]float32
		for r := range b.bands[i] {
			q := &b.bands[i][r]
			count := float64(len(q.taps))
			if !b.exclude {
				count = 1
				for d := range q.first {
					_, _, full := b.reach(1+d, b.axis[1+d], q.first[d])
					count *= float64(full)
				}
			}
			for t := range q.taps {
				q.taps[t].W = 0
			}
			w := make([]float32, lanes)
			fill(w, float32(1/count))
			scales = append(scales, w)
		}
		b.scales = append(b.scales, scales)
	}
}

func (b *blockedPool) run(x *graph.Exec, task int) error {
	t := b.share.task(task)
	band := t.line / b.share.lines
	skip, n := t.line*b.slide.x.Out*b.kernel.Lanes, t.lines*b.slide.x.Out*b.kernel.Lanes
	out := x.OutF32(0)
	for i := t.col; i < t.col+t.cols; i++ {
		block := t.outer*b.blocks + i
		in := b.source(x.F32(0)[block*b.blockSize():], x.Scratch(), t, float32(math.Inf(-1)))
		base := block * b.area()
		for r := range b.bands[band] {
			q := &b.bands[band][r]
			a := b.args(q, in, out, base+q.out)
			if b.op == dw.Max {
				a.Bias = address(b.start, 0)
			} else {
				a.W = address(b.scales[band][r], 0)
			}
			a.Flags, a.Lo, a.Hi = b.post.limits()
			a.Add = b.post.residual(x, base+q.out)
			b.kernel.Grid(b.op, q.lines, q.pixels, &a)
		}
		applyPost(x, b.post.rest, out, base+skip, n)
	}
	return nil
}
