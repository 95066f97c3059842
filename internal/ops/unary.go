package ops

import (
	"math"

	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

var unaryOps = []*graph.Op{
	alsoInts(unary("abs", "The absolute value.", simple(func(v *vec.Funcs) vec.Unary { return v.Abs }, zeroAtZero)), absInt),
	unary("acos", "The inverse cosine.", simple(func(v *vec.Funcs) vec.Unary { return v.Acos }, 0)),
	unary("asin", "The inverse sine.", simple(func(v *vec.Funcs) vec.Unary { return v.Asin }, zeroAtZero)),
	unary("atan", "The inverse tangent.", simple(func(v *vec.Funcs) vec.Unary { return v.Atan }, zeroAtZero)),
	unary("atanh", "The inverse hyperbolic tangent.", simple(func(v *vec.Funcs) vec.Unary { return v.Atanh }, zeroAtZero)),
	unary("ceil", "The smallest integer not below x.", simple(func(v *vec.Funcs) vec.Unary { return v.Ceil }, zeroAtZero)),
	unary("cos", "The cosine.", simple(func(v *vec.Funcs) vec.Unary { return v.Cos }, 0)),
	unary("cosh", "The hyperbolic cosine.", simple(func(v *vec.Funcs) vec.Unary { return v.Cosh }, 0)),
	unary("erf", "The error function.", simple(func(v *vec.Funcs) vec.Unary { return v.Erf }, zeroAtZero)),
	unary("exp", "e to the power x.", simple(func(v *vec.Funcs) vec.Unary { return v.Exp }, 0)),
	alsoInts(unary("exp2", "2 to the power x.", simple(func(v *vec.Funcs) vec.Unary { return v.Exp2 }, 0)), exp2Int),
	unary("floor", "The largest integer not above x.", simple(func(v *vec.Funcs) vec.Unary { return v.Floor }, zeroAtZero)),
	unary("inverse", "1 / (x + epsilon).", bindInverse, graph.Def("epsilon", graph.Float, 1e-4)),
	unary("log", "The natural logarithm of x + epsilon.", bindLog, graph.Def("epsilon", graph.Float, 1e-45)),
	unary("round", "The nearest integer, ties to even.", simple(func(v *vec.Funcs) vec.Unary { return v.Round }, zeroAtZero)),
	unary("rsqrt", "1 / sqrt(x + epsilon).", bindRsqrt, graph.Def("epsilon", graph.Float, 1e-12)),
	alsoInts(unary("sign", "-1, 0 or 1 by the sign of x.", simple(func(v *vec.Funcs) vec.Unary { return v.Sign }, zeroAtZero)), signInt),
	unary("sin", "The sine.", simple(func(v *vec.Funcs) vec.Unary { return v.Sin }, zeroAtZero)),
	unary("sinh", "The hyperbolic sine.", simple(func(v *vec.Funcs) vec.Unary { return v.Sinh }, zeroAtZero)),
	unary("sqrt", "The square root.", simple(func(v *vec.Funcs) vec.Unary { return v.Sqrt }, zeroAtZero)),
	alsoInts(unary("square", "x times x.", simple(func(v *vec.Funcs) vec.Unary { return v.Square }, zeroAtZero)), squareInt),
	unary("tan", "The tangent.", simple(func(v *vec.Funcs) vec.Unary { return v.Tan }, zeroAtZero)),
	unary("tanh", "The hyperbolic tangent.", simple(func(v *vec.Funcs) vec.Unary { return v.Tanh }, zeroAtZero)),
	clipOp("threshold", "max(x, alpha).", false, graph.In("alpha", graph.Numeric)),
	clipOp("clip", "x limited to alpha … beta.", true, graph.In("alpha", graph.Numeric), graph.In("beta", graph.Numeric)),
}

// traits of a function without parameters.
type traits uint8

const zeroAtZero traits = 1 // f(0) = 0

// simple is a function without parameters.
func simple(pick func(*vec.Funcs) vec.Unary, t traits) binder {
	return func(_ *graph.Call, v *vec.Funcs) (graph.Elem, error) {
		return graph.Elem{F1: pick(v), Zero: t&zeroAtZero != 0}, nil
	}
}

// epsilon reads argument 1; its default is a number of x's dtype, so that float16 may round it to 0.
func epsilon(c *graph.Call) (float32, error) {
	e, err := c.Float(1)
	if !c.Given(1) && c.Type(0).DType == tensor.Float16 {
		e = tensor.F32(tensor.F16(e))
	}
	return e, err
}

func bindInverse(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
	e, err := epsilon(c)
	return graph.Elem{F1: func(dst, a []float32) { v.Inverse(dst, a, e) }}, err
}

func bindRsqrt(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
	e, err := epsilon(c)
	return graph.Elem{F1: func(dst, a []float32) { v.Rsqrt(dst, a, e) }}, err
}

func bindLog(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
	e, err := epsilon(c)
	if e == 0 {
		return graph.Elem{F1: v.Log}, err
	}
	return graph.Elem{F1: func(dst, a []float32) {
		v.AddS(dst, a, e)
		v.Log(dst, dst)
	}}, err
}

// clipOp limits x from below, and from above if there is a beta.
func clipOp(name, doc string, above bool, params ...graph.Input) *graph.Op {
	op := unary(name, doc, func(c *graph.Call, v *vec.Funcs) (graph.Elem, error) {
		lo, err := c.Float(1)
		hi := float32(math.Inf(1))
		if above && err == nil {
			hi, err = c.Float(2)
		}
		e := clipElem(v, lo, hi)
		if !above {
			e.F1 = func(dst, a []float32) { v.MaxS(dst, a, lo) }
		}
		return e, err
	}, params...)
	return alsoInts(op, func(c *graph.Call) (func(int32) int32, error) {
		lo, err := c.Float(1)
		hi := float32(math.Inf(1))
		if above && err == nil {
			hi, err = c.Float(2)
		}
		l, h := saturate(float64(lo)), saturate(float64(hi))
		return func(x int32) int32 { return min(max(x, l), h) }, err
	})
}

func clipElem(v *vec.Funcs, lo, hi float32) graph.Elem {
	return graph.Elem{
		F1:   func(dst, a []float32) { v.Clip(dst, a, lo, hi) },
		Zero: min(max(0, lo), hi) == 0, Kind: "clip", Lo: lo, Hi: hi,
	}
}

// bindInt gives a unary operator's arithmetic on integers.
type bindInt func(*graph.Call) (func(int32) int32, error)

// alsoInts lets a unary operator take integers too.
func alsoInts(op *graph.Op, bind bindInt) *graph.Op {
	floats, infer := op.Elem, op.Infer
	op.Inputs[0].Accept = graph.Numeric
	op.Infer = func(c *graph.Call) ([]graph.Type, error) {
		if !c.Type(0).DType.IsFloat() {
			_, err := bind(c)
			return likeX(c), err
		}
		return infer(c)
	}
	op.Elem = func(c *graph.Call) (graph.Elem, error) {
		if !c.Type(0).DType.IsFloat() {
			return graph.Elem{}, c.Errorf(0, "%v, want floats", c.Type(0))
		}
		return floats(c)
	}
	op.Prepare = func(c *graph.Call) (graph.Step, error) {
		if c.Type(0).DType.IsFloat() {
			return prepareElem(c)
		}
		f, err := bind(c)
		return mapInts(c, f), err
	}
	return op
}

// mapInts applies f to every element, in the arithmetic of the result's dtype.
func mapInts(c *graph.Call, f func(int32) int32) graph.Step {
	n, wrap := c.Out[0].Type.Elements(), wrapFor(c.Out[0].Type.DType)
	return graph.Parallel("elementwise "+c.Op.Name, tasksOf(n), func(x *graph.Exec, task int) error {
		lo, hi := task*taskElems, min((task+1)*taskElems, n)
		dst := x.OutI32(0)[lo:hi]
		for i, v := range x.I32(0)[lo:hi] {
			dst[i] = f(v)
		}
		wrap(dst, dst)
		return nil
	})
}

// wrapFor reduces numbers to the range of an integer dtype, as its own arithmetic would.
func wrapFor(d tensor.DType) func(dst, src []int32) {
	switch d {
	case tensor.Int8:
		return wrapTo[int8]
	case tensor.UInt8:
		return wrapTo[uint8]
	case tensor.Int16:
		return wrapTo[int16]
	case tensor.UInt16:
		return wrapTo[uint16]
	}
	return wrapTo[int32]
}

func wrapTo[T int8 | uint8 | int16 | uint16 | int32](dst, src []int32) {
	for i, v := range src {
		dst[i] = int32(T(v))
	}
}

// saturate truncates toward zero; what does not fit becomes the nearest int32, NaN becomes 0.
func saturate(x float64) int32 {
	switch {
	case x != x:
		return 0
	case x >= math.MaxInt32:
		return math.MaxInt32
	case x <= math.MinInt32:
		return math.MinInt32
	}
	return int32(x)
}

func absInt(*graph.Call) (func(int32) int32, error) {
	return func(x int32) int32 { return max(x, -x) }, nil
}

func squareInt(*graph.Call) (func(int32) int32, error) {
	return func(x int32) int32 { return x * x }, nil
}

func signInt(*graph.Call) (func(int32) int32, error) {
	return func(x int32) int32 { return min(max(x, -1), 1) }, nil
}

func exp2Int(*graph.Call) (func(int32) int32, error) {
	return func(x int32) int32 {
		switch {
		case x < 0:
			return 0
		case x > 30:
			return math.MaxInt32
		}
		return 1 << x
	}, nil
}
