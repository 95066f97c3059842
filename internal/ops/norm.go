package ops

import (
	"math"
	"slices"

	"coreml/internal/graph"
)

var normOps = []*graph.Op{
	{
		Name: "batch_norm", Doc: "(x - mean) / sqrt(variance + epsilon) · gamma + beta with numbers per channel.",
		Inputs: []graph.Input{
			graph.In("x", graph.Float), graph.In("mean", graph.Float), graph.In("variance", graph.Float),
			graph.Opt("gamma", graph.Float), graph.Opt("beta", graph.Float), graph.Def("epsilon", graph.Float, 1e-5),
		},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			_, _, err := batchNormParams(c)
			return likeX(c), err
		},
		Prepare: prepareBatchNorm, Alias: overwrite, Fit: fitChannels, Post: true,
	},
	{
		Name: "instance_norm", Doc: "Every channel of every sample brought to mean 0 and variance 1, times gamma plus beta.",
		Inputs: []graph.Input{
			graph.In("x", graph.Float), graph.Opt("gamma", graph.Float), graph.Opt("beta", graph.Float),
			graph.Def("epsilon", graph.Float, 1e-5),
		},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			_, err := instanceNormParams(c)
			return likeX(c), err
		},
		Prepare: prepareInstanceNorm, Alias: overwrite, Fit: fitChannels,
	},
	layerNormOp,
	{
		Name: "l2_norm", Doc: "x divided by the square root of epsilon plus the sum of squares over the last three dimensions.",
		Inputs: []graph.Input{graph.In("x", graph.Float), graph.Def("epsilon", graph.Float, 1e-6)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if n := len(c.Shape(0)); n < 3 {
				return nil, c.Errorf(0, "rank %d, want at least 3", n)
			}
			_, err := c.Float(1)
			return likeX(c), err
		},
		Prepare: prepareL2Norm, Alias: overwrite,
	},
	localResponseNormOp,
}

// fitChannels takes a blocked x with parameters per channel.
func fitChannels(c *graph.Call, f graph.Form) graph.Fit {
	if f != graph.Blocked || !blockable(c.Type(0)) {
		return graph.Fit{}
	}
	return graph.Fit{In: 1, Out: 1}
}

// optionalVector is a channel vector, nil where it is absent.
func optionalVector(c *graph.Call, arg int) ([]float32, error) {
	if c.Given(arg) {
		return channelVector(c, arg)
	}
	return nil, nil
}

// numberAt is v[i], or what stands for a vector that is absent.
func numberAt(v []float32, i int, absent float32) float32 {
	if v == nil {
		return absent
	}
	return v[i]
}

// batchNormParams turns the parameters into y = scale·x + shift.
func batchNormParams(c *graph.Call) (scale, shift []float32, err error) {
	var p [4][]float32 // mean, variance, gamma, beta
	for i := range p {
		if p[i], err = optionalVector(c, 1+i); err != nil {
			return nil, nil, err
		}
	}
	eps, err := c.Float(5)
	if err != nil {
		return nil, nil, err
	}
	scale, shift = make([]float32, len(p[0])), make([]float32, len(p[0]))
	for i, mean := range p[0] {
		s := float64(numberAt(p[2], i, 1)) / math.Sqrt(float64(p[1][i])+float64(eps))
		scale[i] = float32(s)
		shift[i] = float32(float64(numberAt(p[3], i, 0)) - float64(mean)*s)
	}
	return scale, shift, nil
}

func prepareBatchNorm(c *graph.Call) (graph.Step, error) {
	scale, shift, err := batchNormParams(c)
	if err != nil {
		return graph.Step{}, err
	}
	ch, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	v, per := kernels(c), volume(c.Shape(0)[2:])
	affine := func(dst, src []float32, channel int) { v.ScaleShift(dst, src, scale[channel], shift[channel]) }
	channels := len(scale)
	if c.In[0].Form == graph.Blocked {
		b := c.Lanes()
		scale, shift = wholeBlocks(scale, b), wholeBlocks(shift, b)
		per, channels = per*b, len(scale)/b
		affine = func(dst, src []float32, block int) {
			v.ScaleShiftChan(dst, src, scale[block*b:(block+1)*b], shift[block*b:(block+1)*b])
		}
	}
	// A row is cut into tiles so that the Post finds it in cache.
	tiles := ceilDiv(per, tileElems)
	return byRows("batch_norm", c.Shape(0)[0]*channels*tiles, min(per, tileElems), func(x *graph.Exec, i int) {
		lo := i / tiles * per
		hi := min(lo+(i%tiles+1)*tileElems, lo+per)
		lo += i % tiles * tileElems
		dst := x.OutF32(0)[lo:hi]
		affine(dst, x.F32(0)[lo:hi], i/tiles%channels)
		if !ch.empty() {
			ch.apply(x, dst, lo)
		}
	}), nil
}

// wholeBlocks extends a vector by zeros to a multiple of b.
func wholeBlocks(v []float32, b int) []float32 {
	return append(slices.Clip(v), make([]float32, ceilDiv(len(v), b)*b-len(v))...)
}

type instanceNorm struct {
	gamma, beta []float32 // nil: absent
	eps         float32
}

func instanceNormParams(c *graph.Call) (p instanceNorm, err error) {
	if n := len(c.Shape(0)); n < 2 {
		return p, c.Errorf(0, "rank %d, want at least 2", n)
	}
	if p.gamma, err = optionalVector(c, 1); err != nil {
		return p, err
	}
	if p.beta, err = optionalVector(c, 2); err != nil {
		return p, err
	}
	p.eps, err = c.Float(3)
	return p, err
}

func prepareInstanceNorm(c *graph.Call) (graph.Step, error) {
	p, err := instanceNormParams(c)
	if err != nil {
		return graph.Step{}, err
	}
	if c.In[0].Form == graph.Blocked {
		return p.blocked(c), nil
	}
	v, per, channels := kernels(c), volume(c.Shape(0)[2:]), c.Shape(0)[1]
	return byRows("instance_norm", c.Shape(0)[0]*channels, normCost*per, func(x *graph.Exec, i int) {
		dst, src := x.OutF32(0)[i*per:(i+1)*per], x.F32(0)[i*per:(i+1)*per]
		mean, variance := v.MeanVar(src)
		ch := i % channels
		v.SubS(dst, src, mean)
		v.ScaleShift(dst, dst, numberAt(p.gamma, ch, 1)*inverseRoot(variance, p.eps), numberAt(p.beta, ch, 0))
	}), nil
}

func (p instanceNorm) blocked(c *graph.Call) graph.Step {
	b := c.Lanes()
	blocks := ceilDiv(c.Shape(0)[1], b)
	n := newLineNorm(c, line{c.Shape(0)[0] * blocks, volume(c.Shape(0)[2:]), b}, p.eps)
	gamma, beta := blocksOf(p.gamma, b, 1), blocksOf(p.beta, b, 0)
	return n.step(c, func(_ *graph.Exec, outer int) (perLine, perLine) {
		return perLine{across: gamma(outer % blocks)}, perLine{across: beta(outer % blocks)}
	})
}

// blocksOf gives a channel vector block by block, padded with zeros; absent where it is nil.
func blocksOf(v []float32, b int, absent float32) func(block int) []float32 {
	if v == nil {
		same := make([]float32, b)
		fill(same, absent)
		return func(int) []float32 { return same }
	}
	v = wholeBlocks(v, b)
	return func(block int) []float32 { return v[block*b : (block+1)*b] }
}

// normCost is the work on one element, in elements of a sum.
const normCost = 4

func inverseRoot(variance, eps float32) float32 {
	return float32(1 / math.Sqrt(float64(variance)+float64(eps)))
}

func prepareL2Norm(c *graph.Call) (graph.Step, error) {
	eps, err := c.Float(1)
	x := c.Shape(0)
	n, v := len(x)-3, kernels(c)
	per := volume(x[n:])
	return byRows("l2_norm", volume(x[:n]), 2*per, func(x *graph.Exec, i int) {
		src := x.F32(0)[i*per : (i+1)*per]
		v.MulS(x.OutF32(0)[i*per:(i+1)*per], src, inverseRoot(v.SumSquare(src), eps))
	}), err
}
