package ops

import (
	"math"

	"coreml/internal/graph"
	"coreml/internal/kernel/window"
)

var poolOps = []*graph.Op{
	pool("avg_pool", "The mean of every window.", 3, average, graph.Def("exclude_padding_from_average", graph.Bool, false)),
	pool("max_pool", "The largest element of every window.", 3, maximum),
	pool("l2_pool", "The Euclidean norm of every window.", 2, norm),
}

// poolArgs are the positions of the parameters; exclude_padding_from_average is last, where it exists.
var poolArgs = spatialArgs{strides: 2, padType: 3, pad: 4, dilations: -1, ceil: 5}

const poolExclude = 6

// reduction computes a pooled element from the part of its window that lies
// inside the image, given by ranges of each axis; count is the number of elements that a mean divides by.
type reduction func(plane []float32, in, lo, hi [3]int, count float64) float32

// pool is an operator that slides a window over every channel, in at most rank spatial dimensions.
func pool(name, doc string, rank int, f reduction, more ...graph.Input) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append([]graph.Input{
			graph.In("x", graph.Float), graph.In("kernel_sizes", graph.Int), graph.Opt("strides", graph.Int),
			graph.Def("pad_type", graph.String, "valid"), graph.Opt("pad", graph.Int), graph.Def("ceil_mode", graph.Bool, false),
		}, more...),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			s, err := newPool(c, rank)
			if err != nil {
				return nil, err
			}
			shape, err := s.shape(c, c.Shape(0)[0], c.Shape(0)[1])
			return []graph.Type{graph.TensorOf(c.Type(0).DType, shape...)}, err
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			s, err := newPool(c, rank)
			if err != nil {
				return graph.Step{}, err
			}
			if c.Out[0].Form == graph.Blocked {
				return s.blocked(c)
			}
			return s.plain(c, f)
		},
		Fit: func(c *graph.Call, form graph.Form) graph.Fit {
			s, err := newPool(c, rank)
			if err != nil || form != graph.Blocked || !s.blockable(c) {
				return graph.Fit{}
			}
			return graph.Fit{In: 1, Out: 1}
		},
		Post: true,
	}
}

type pooling struct {
	spatial
	exclude bool // padding does not count in a mean
}

func newPool(c *graph.Call, rank int) (*pooling, error) {
	x := c.Shape(0)
	if len(x) > rank+2 {
		return nil, c.Errorf(0, "rank %d, want at most %d", len(x), rank+2)
	}
	kernel, err := c.Ints(1)
	if err != nil {
		return nil, err
	}
	if len(kernel) != len(x)-2 {
		return nil, c.Errorf(1, "%d values, want %d", len(kernel), len(x)-2)
	}
	p := &pooling{}
	if len(c.Op.Inputs) > poolExclude {
		if p.exclude, err = c.Bool(poolExclude); err != nil {
			return nil, err
		}
	}
	p.spatial, err = newSpatial(c, x, kernel, poolArgs)
	return p, err
}

// poolWork is the number of window elements that one task reads, about.
const poolWork = 64 << 10

// plain makes the step of a pool in row-major memory.
func (p *pooling) plain(c *graph.Call, f reduction) (graph.Step, error) {
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	planes := c.Shape(0)[0] * c.Shape(0)[1]
	lines := p.axis[0].Out * p.axis[1].Out
	width := p.axis[2].Out
	per := max(1, poolWork/max(1, width*p.inside())) // lines of a task
	tasks := (planes*lines + per - 1) / per
	return graph.Parallel("pool "+c.Op.Name, tasks, func(x *graph.Exec, task int) error {
		in, out := x.F32(0), x.OutF32(0)
		lo, hi := task*per, min((task+1)*per, planes*lines)
		for i := lo; i < hi; i++ {
			p.line(out[i*width:][:width], in[i/lines*p.inputs():][:p.inputs()], i%lines, f)
		}
		if !post.empty() {
			for off := lo * width; off < hi*width; off += tileElems {
				post.apply(x, out[off:min(off+tileElems, hi*width)], off)
			}
		}
		return nil
	}), nil
}

// inside is the largest number of elements of a window that can lie inside the image.
func (p *pooling) inside() int {
	n := 1
	for _, x := range p.axis {
		n *= min(x.Kernel, max(x.In, 1))
	}
	return n
}

// line computes line number i of the output of a channel.
func (p *pooling) line(out, plane []float32, i int, f reduction) {
	o := [3]int{i / p.axis[1].Out, i % p.axis[1].Out, 0}
	var in, lo, hi, full [3]int
	for d, x := range p.axis {
		in[d] = x.In
		lo[d], hi[d], full[d] = p.reach(d, x, o[d])
	}
	for k := range out {
		lo[2], hi[2], full[2] = p.reach(2, p.axis[2], k)
		count := float64(full[0]) * float64(full[1]) * float64(full[2])
		if p.exclude {
			count = float64(hi[0]-lo[0]) * float64(hi[1]-lo[1]) * float64(hi[2]-lo[2])
		}
		out[k] = f(plane, in, lo, hi, count)
	}
}

// reach is the range of inputs that output o sees, and the number of positions of its window that
// lie in the image or its padding.
func (p *pooling) reach(d int, x window.Axis, o int) (lo, hi, full int) {
	first := o*x.Stride - x.Before
	end := min(first+x.Kernel, x.In+p.after[d])
	lo = min(max(first, 0), x.In)
	return lo, max(lo, min(end, x.In)), end - first
}

// lines calls f with every line of a box.
func lines(plane []float32, in, lo, hi [3]int, f func([]float32)) {
	for z := lo[0]; z < hi[0]; z++ {
		for y := lo[1]; y < hi[1]; y++ {
			at := (z*in[1] + y) * in[2]
			f(plane[at+lo[2] : at+hi[2]])
		}
	}
}

func maximum(plane []float32, in, lo, hi [3]int, _ float64) float32 {
	m := float32(math.Inf(-1))
	lines(plane, in, lo, hi, func(s []float32) {
		for _, v := range s {
			if v > m || v != v {
				m = v
			}
		}
	})
	return m
}

func average(plane []float32, in, lo, hi [3]int, count float64) float32 {
	var sum float64
	lines(plane, in, lo, hi, func(s []float32) {
		for _, v := range s {
			sum += float64(v)
		}
	})
	return float32(sum / count)
}

func norm(plane []float32, in, lo, hi [3]int, _ float64) float32 {
	var sum float64
	lines(plane, in, lo, hi, func(s []float32) {
		for _, v := range s {
			sum += float64(v) * float64(v)
		}
	})
	return float32(math.Sqrt(sum))
}
