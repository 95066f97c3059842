package ops

import (
	"math"

	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
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

// reduction is what a pool computes of its windows: lines are folded element by element, then the windows'
// elements of the folded line.
type reduction struct {
	start func(k *vec.Funcs, dst, line []float32) // of the first line
	fold  func(k *vec.Funcs, dst, line []float32) // takes in a further line
	// end computes outputs whose windows of n elements begin stride apart, first at the beginning of line; count
	// is what a mean divides by.
	end func(out, line []float32, n, stride int, count float64)
}

var (
	maximum = reduction{copyLine, func(k *vec.Funcs, dst, line []float32) { k.Max(dst, dst, line) }, largest}
	average = reduction{copyLine, func(k *vec.Funcs, dst, line []float32) { k.Add(dst, dst, line) }, mean}
	norm    = reduction{func(k *vec.Funcs, dst, line []float32) { k.Mul(dst, line, line) },
		func(k *vec.Funcs, dst, line []float32) { k.MulAdd(dst, line, line, dst) }, rootOfSum}
)

func copyLine(_ *vec.Funcs, dst, line []float32) { copy(dst, line) }

func largest(out, line []float32, n, stride int, _ float64) {
	for i := range out {
		m := float32(math.Inf(-1))
		for _, v := range line[i*stride:][:n] {
			if v > m || v != v {
				m = v
			}
		}
		out[i] = m
	}
}

func mean(out, line []float32, n, stride int, count float64) {
	for i := range out {
		out[i] = float32(total(line[i*stride:][:n]) / count)
	}
}

func rootOfSum(out, line []float32, n, stride int, _ float64) {
	for i := range out {
		out[i] = float32(math.Sqrt(total(line[i*stride:][:n])))
	}
}

func total(window []float32) float64 {
	s := 0.0
	for _, v := range window {
		s += float64(v)
	}
	return s
}

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
	k := vec.For(c.Level)
	step := graph.Parallel("pool "+c.Op.Name, (planes*lines+per-1)/per, func(x *graph.Exec, task int) error {
		in, out := x.F32(0), x.OutF32(0)
		lo, hi := task*per, min((task+1)*per, planes*lines)
		for i := lo; i < hi; i++ {
			p.line(k, f, out[i*width:][:width], in[i/lines*p.inputs():][:p.inputs()], x.Scratch()[:p.folded()], i%lines)
		}
		applyPost(x, post, out, lo*width, (hi-lo)*width)
		return nil
	})
	if planes > 0 {
		step.Scratch = 4 * p.folded()
	}
	return step, nil
}

// folded is the number of elements of a line of the input; none where the image has none.
func (p *pooling) folded() int {
	if p.inputs() == 0 {
		return 0
	}
	return p.axis[2].In
}

// inside is the largest number of elements of a window that can lie inside the image.
func (p *pooling) inside() int {
	n := 1
	for _, x := range p.axis {
		n *= min(x.Kernel, max(x.In, 1))
	}
	return n
}

// line computes line number i of the output of a channel; folded is scratch of a line of the input.
func (p *pooling) line(k *vec.Funcs, f reduction, out, plane, folded []float32, i int) {
	z, y, x := p.axis[0], p.axis[1], p.axis[2]
	zlo, zhi, zfull := p.reach(0, z, i/y.Out)
	ylo, yhi, yfull := p.reach(1, y, i%y.Out)
	take := f.start
	for iz := zlo; iz < zhi; iz++ {
		for iy := ylo; iy < yhi; iy++ {
			take(k, folded, plane[(iz*y.In+iy)*x.In:][:x.In])
			take = f.fold
		}
	}
	for o := 0; o < len(out); {
		lo, hi, full := p.reach(2, x, o)
		run := 1
		if hi-lo == x.Kernel { // and so it is until a window ends outside
			run = min(len(out)-o, (x.In-hi)/x.Stride+1)
		}
		count := float64(zfull) * float64(yfull) * float64(full)
		if p.exclude {
			count = float64((zhi - zlo) * (yhi - ylo) * (hi - lo))
		}
		if zlo == zhi || ylo == yhi {
			lo, hi, run = 0, 0, 1
		}
		f.end(out[o:o+run], folded[lo:], hi-lo, x.Stride, count)
		o += run
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
