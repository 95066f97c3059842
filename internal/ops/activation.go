package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

var activationOps = []*graph.Op{
	activation("clamped_relu", "min(x, beta) where x >= 0, else min(alpha·x, beta).", func(v *vec.Funcs, a, b float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.ClampedRelu(dst, x, a, b) }, Zero: b >= 0}
	}, "alpha", "beta"),
	activation("elu", "x where x > 0, else alpha·(exp(x) - 1).", func(v *vec.Funcs, a, _ float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.Elu(dst, x, a) }, Zero: true}
	}, "alpha"),
	unary("gelu", "The Gaussian error linear unit, exact or by one of two approximations.", bindGelu, graph.Def("mode", graph.String, "EXACT")),
	activation("leaky_relu", "x where x >= 0, else alpha·x.", func(v *vec.Funcs, a, _ float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.LeakyRelu(dst, x, a) }, Zero: true}
	}, "alpha"),
	activation("linear_activation", "alpha·x + beta.", func(v *vec.Funcs, a, b float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.ScaleShift(dst, x, a, b) }, Zero: b == 0}
	}, "alpha", "beta"),
	preluOp,
	activation("relu", "max(x, 0).", func(v *vec.Funcs, _, _ float32) graph.Elem {
		return graph.Elem{F1: v.Relu, Zero: true, Kind: "relu"}
	}),
	activation("relu6", "x limited to 0 … 6.", func(v *vec.Funcs, _, _ float32) graph.Elem { return clipElem(v, 0, 6) }),
	activation("scaled_tanh", "alpha·tanh(beta·x).", func(v *vec.Funcs, a, b float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.ScaledTanh(dst, x, a, b) }, Zero: true}
	}, "alpha", "beta"),
	unary("sigmoid", "1 / (1 + exp(-x)).", simple(func(v *vec.Funcs) vec.Unary { return v.Sigmoid }, 0)),
	activation("sigmoid_hard", "alpha·x + beta limited to 0 … 1.", func(v *vec.Funcs, a, b float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.SigmoidHard(dst, x, a, b) }, Zero: b <= 0}
	}, "alpha", "beta"),
	unary("silu", "x·sigmoid(x).", simple(func(v *vec.Funcs) vec.Unary { return v.Silu }, zeroAtZero)),
	unary("softplus", "log(1 + exp(x)).", simple(func(v *vec.Funcs) vec.Unary { return v.Softplus }, 0)),
	softplusParametric,
	unary("softsign", "x / (1 + |x|).", simple(func(v *vec.Funcs) vec.Unary { return v.Softsign }, zeroAtZero)),
	activation("thresholded_relu", "x where x >= alpha, else 0.", func(v *vec.Funcs, a, _ float32) graph.Elem {
		return graph.Elem{F1: func(dst, x []float32) { v.ThresholdedRelu(dst, x, a) }, Zero: true}
	}, "alpha"),
}

// GatedSigmoidHard is an operator and its own gate in one. It stands for mul(x, sigmoid_hard(x)); it has no
// opset and can never come from, or go to, a file.
var GatedSigmoidHard = activation("gated_sigmoid_hard", "x·sigmoid_hard(x).", func(v *vec.Funcs, a, b float32) graph.Elem {
	return graph.Elem{F1: func(dst, x []float32) { v.HardSwish(dst, x, a, b) }, Zero: true}
}, "alpha", "beta")

// activation is a unary operator with up to two numbers as parameters.
func activation(name, doc string, f func(v *vec.Funcs, alpha, beta float32) graph.Elem, params ...string) *graph.Op {
	var in []graph.Input
	for _, p := range params {
		in = append(in, graph.In(p, graph.Float))
	}
	return unary(name, doc, func(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
		var p [2]float32
		for i := range params {
			var err error
			if p[i], err = c.Float(1 + i); err != nil {
				return graph.Elem{}, err
			}
		}
		return f(v, p[0], p[1]), nil
	}, in...)
}

func bindGelu(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
	mode, err := c.Str(1)
	if err != nil {
		return graph.Elem{}, err
	}
	switch mode {
	case "EXACT":
		return graph.Elem{F1: v.GeluExact, Zero: true}, nil
	case "TANH_APPROXIMATION":
		return graph.Elem{F1: v.GeluTanh, Zero: true}, nil
	case "SIGMOID_APPROXIMATION":
		return graph.Elem{F1: v.GeluSigmoid, Zero: true}, nil
	}
	return graph.Elem{}, c.Errorf(1, "%q, want EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION", mode)
}

var preluOp = unary("prelu", "x where x > 0, else alpha·x with an alpha per channel.", bindPrelu, graph.In("alpha", graph.Float))

func bindPrelu(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
	if _, err := channelVector(c, 1); err != nil {
		return graph.Elem{}, err
	}
	return graph.Elem{
		Channel: true, Zero: true,
		F2: func(dst, x, alpha []float32) {
			alpha = alpha[:len(dst)]
			for i, t := range x[:len(dst)] {
				if !(t > 0) {
					t *= alpha[i]
				}
				dst[i] = t
			}
		},
		F2S: v.LeakyRelu,
	}, nil
}

// channelVector reads a vector with one number per channel of x.
func channelVector(c *graph.Call, arg int) ([]float32, error) {
	x, v := c.Shape(0), c.Shape(arg)
	if len(x) < 2 {
		return nil, c.Errorf(0, "rank %d, want at least 2", len(x))
	}
	if len(v) != 1 || v[0] != x[1] {
		return nil, c.Errorf(arg, "shape %v, want [%d], one number per channel", v, x[1])
	}
	return c.Floats(arg)
}

var softplusParametric = &graph.Op{
	Name: "softplus_parametric", Doc: "alpha·log(1 + exp(beta·x)) with an alpha and a beta per channel.",
	Inputs: []graph.Input{graph.In("x", graph.Float), graph.In("alpha", graph.Float), graph.In("beta", graph.Float)},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		for arg := 1; arg <= 2; arg++ {
			if _, err := channelVector(c, arg); err != nil {
				return nil, err
			}
		}
		return likeX(c), nil
	},
	Prepare: prepareSoftplus, Alias: overwrite,
}

func prepareSoftplus(c *graph.Call) (graph.Step, error) {
	alpha, err := channelVector(c, 1)
	if err != nil {
		return graph.Step{}, err
	}
	beta, err := channelVector(c, 2)
	v, per := kernels(c), volume(c.Shape(0)[2:])
	rows := c.Shape(0)[0] * c.Shape(0)[1]
	return byRows("softplus_parametric", rows, per, func(x *graph.Exec, row int) {
		dst, ch := x.OutF32(0)[row*per:(row+1)*per], row%len(alpha)
		v.MulS(dst, x.F32(0)[row*per:(row+1)*per], beta[ch])
		v.Softplus(dst, dst)
		v.MulS(dst, dst, alpha[ch])
	}), err
}

// byRows is a step that treats rows of per elements each, as many in a task as make it worth while.
func byRows(kernel string, rows, per int, f func(x *graph.Exec, row int)) graph.Step {
	return bySpans(kernel, rows, per, func(x *graph.Exec, lo, hi int) {
		for row := lo; row < hi; row++ {
			f(x, row)
		}
	})
}

// bySpans is byRows for a function that treats the rows lo … hi at once.
func bySpans(kernel string, rows, per int, f func(x *graph.Exec, lo, hi int)) graph.Step {
	some := max(1, taskElems/max(per, 1))
	return graph.Parallel(kernel, ceilDiv(rows, some), func(x *graph.Exec, task int) error {
		f(x, task*some, min((task+1)*some, rows))
		return nil
	})
}
