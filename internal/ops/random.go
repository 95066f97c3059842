package ops

import (
	"math"
	"math/rand/v2"

	"coreml/internal/graph"
)

var randomOps = []*graph.Op{
	randomOp("random_bernoulli", "1 with probability prob, else 0.", func(p [2]float64) func(draw) float64 {
		return func(d draw) float64 {
			if d.uniform(0) < p[0] {
				return 1
			}
			return 0
		}
	}, graph.Def("prob", graph.Float, 0.5)),
	randomOp("random_normal", "Numbers of the normal distribution.", func(p [2]float64) func(draw) float64 {
		return func(d draw) float64 {
			r := math.Sqrt(-2 * math.Log(1-d.uniform(0)))
			return p[0] + p[1]*r*math.Cos(2*math.Pi*d.uniform(1))
		}
	}, graph.Def("mean", graph.Float, 0.0), graph.Def("stddev", graph.Float, 1.0)),
	randomOp("random_uniform", "Numbers spread evenly over low … high, high excluded.", func(p [2]float64) func(draw) float64 {
		return func(d draw) float64 { return below(p[0], p[1], d.uniform(0)) }
	}, graph.Def("low", graph.Float, 0.0), graph.Def("high", graph.Float, 1.0)),
	{
		Name: "random_categorical", Doc: "Indices drawn with the given logits or probabilities.",
		Inputs: []graph.Input{
			graph.In("x", graph.Float), graph.Def("mode", graph.String, "logits"),
			graph.Def("size", graph.Int, 1), graph.Def("seed", graph.Int, -1),
		},
		Infer: inferCategorical, Prepare: prepareCategorical, Effect: true, NoFold: true,
	},
}

// draw gives the random numbers of one element. They depend on the run's key and
// the element's index alone, so that the number of threads changes nothing.
type draw struct{ key, index uint64 }

// uniform is the i-th number of the element, in [0, 1).
func (d draw) uniform(i uint64) float64 {
	return float64(scramble(d.key^scramble(2*d.index+i))>>11) * 0x1p-53
}

// scramble is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014) on the next point of its sequence.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below is low + u·(high-low) as a float32 less than high.
func below(low, high, u float64) float64 {
	v := float32(low + float64(u*(high-low)))
	if float64(v) >= high && low < high {
		v = math.Nextafter32(float32(high), float32(low))
	}
	return float64(v)
}

// keyOf is the key of one run: of a seed, or without one (-1) a new one each time.
func keyOf(seed int) uint64 {
	if seed == -1 {
		return rand.Uint64()
	}
	return scramble(uint64(seed))
}

// randomOp is an operator that fills a tensor; params are up to two numbers, before the seed.
func randomOp(name, doc string, bind func(p [2]float64) func(draw) float64, params ...graph.Input) *graph.Op {
	seedArg := 1 + len(params)
	in := append([]graph.Input{graph.In("shape", graph.Int)}, params...)
	read := func(c *graph.Call) (p [2]float64, seed int, err error) {
		for i := range params {
			v, err := c.Float(1 + i)
			if err != nil {
				return p, 0, err
			}
			p[i] = float64(v)
		}
		seed, err = c.Int(seedArg)
		return p, seed, err
	}
	return &graph.Op{
		Name: name, Doc: doc, Inputs: append(in, graph.Def("seed", graph.Int, -1)),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			shape, err := c.Ints(0)
			if err != nil {
				return nil, err
			}
			if _, _, err := read(c); err != nil {
				return nil, err
			}
			return typed(c, 0, c.Type(1).DType, shape)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			p, seed, err := read(c)
			if err != nil {
				return graph.Step{}, err
			}
			return fillRandom(name, c.Out[0].Type.Elements(), seed, bind(p)), nil
		},
		Effect: true, NoFold: true,
	}
}

func fillRandom(name string, n, seed int, f func(draw) float64) graph.Step {
	return graph.Parallel(name, tasksOf(n), func(x *graph.Exec, task int) error {
		lo, hi := task*taskElems, min((task+1)*taskElems, n)
		key := keyOf(seed)
		dst := x.OutF32(0)[lo:hi]
		for i := range dst {
			dst[i] = float32(f(draw{key, uint64(lo + i)}))
		}
		return nil
	})
}

func inferCategorical(c *graph.Call) ([]graph.Type, error) {
	x := c.Shape(0)
	if len(x) < 1 || x[len(x)-1] < 1 {
		return nil, c.Errorf(0, "shape %v, want at least one probability in the last dimension", x)
	}
	if _, err := categoricalMode(c); err != nil {
		return nil, err
	}
	if _, err := c.Int(3); err != nil {
		return nil, err
	}
	size, err := c.Int(2)
	if err != nil {
		return nil, err
	}
	return typed(c, 2, c.Type(0).DType, append(x[:len(x)-1:len(x)-1], size))
}

// categoricalMode reports whether x holds logits rather than probabilities.
func categoricalMode(c *graph.Call) (logits bool, err error) {
	mode, err := c.Str(1)
	if err == nil && mode != "logits" && mode != "probs" {
		err = c.Errorf(1, "%q, want logits or probs", mode)
	}
	return mode == "logits", err
}

func prepareCategorical(c *graph.Call) (graph.Step, error) {
	logits, err := categoricalMode(c)
	if err != nil {
		return graph.Step{}, err
	}
	seed, err := c.Int(3)
	if err != nil {
		return graph.Step{}, err
	}
	x := c.Shape(0)
	n, v := x[len(x)-1], kernels(c)
	out := c.Out[0].Type.Shape
	size := out[len(out)-1]
	s := byRows("random_categorical", volume(x[:len(x)-1]), 4*n+size, func(x *graph.Exec, row int) {
		sums, src := x.Scratch()[:n], x.F32(0)[row*n:(row+1)*n]
		copy(sums, src)
		if logits {
			v.Softmax(sums, src)
		}
		for i := 1; i < n; i++ {
			sums[i] += sums[i-1]
		}
		key, dst := keyOf(seed), x.OutF32(0)[row*size:(row+1)*size]
		for i := range dst {
			u := float32(draw{key, uint64(row*size + i)}.uniform(0)) * sums[n-1]
			dst[i] = float32(firstAbove(sums, u))
		}
	})
	s.Scratch = 4 * n
	return s, nil
}

// firstAbove is the first index with sums[i] > u, or the last index.
func firstAbove(sums []float32, u float32) int {
	lo, hi := 0, len(sums)-1
	for lo < hi {
		if m := (lo + hi) / 2; sums[m] > u {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}
