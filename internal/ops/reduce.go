package ops

import (
	"math"
	"slices"

	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

var reduceOps = []*graph.Op{
	reduceOp("reduce_l1_norm", "The sum of absolute values.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.SumAbs, each: v.Abs, fold: v.Add, join: plus}
	}), l1Int),
	reduceOp("reduce_l2_norm", "The square root of the sum of squares.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.SumSquare, each: v.Square, fold: v.Add, join: plus, last: func(d []float32, _ int) { v.Sqrt(d, d) }}
	}), l2Int),
	reduceOp("reduce_log_sum", "The logarithm of the sum.", byGroups(logSum), logSumInt),
	reduceOp("reduce_log_sum_exp", "The logarithm of the sum of exponentials.", byGroups(logSumExp[float32]), func(g group[int32]) int32 {
		return saturate(float64(logSumExp(g)))
	}),
	reduceOp("reduce_max", "The largest element.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.ReduceMax, fold: v.Max, join: math.Max, none: math.Inf(-1)}
	}), maxInt),
	reduceOp("reduce_mean", "The mean.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.Sum, fold: v.Add, join: plus, last: func(d []float32, n int) { v.DivS(d, d, float32(n)) }}
	}), meanInt),
	reduceOp("reduce_min", "The smallest element.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.ReduceMin, fold: v.Min, join: math.Min, none: math.Inf(1)}
	}), minInt),
	reduceOp("reduce_prod", "The product.", byGroups(prodFloat), prodInt),
	reduceOp("reduce_sum", "The sum.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.Sum, fold: v.Add, join: plus}
	}), sumInt),
	reduceOp("reduce_sum_square", "The sum of squares.", byColumns(func(v *vec.Funcs) columns {
		return columns{run: v.SumSquare, each: v.Square, fold: v.Add, join: plus}
	}), sumSquareInt),
	reduceArg("reduce_argmax", "The index of the first largest element.", true),
	reduceArg("reduce_argmin", "The index of the first smallest element.", false),
}

// floatReduction makes the step of a reduction of floats.
type floatReduction struct {
	prepare func(*graph.Call, reducing) graph.Step
	blocked bool // on zeros the result is zero, and it works on any memory shape
}

// reducing is the shape of a reduction: every element of kept gives the result of one group of over.
type reducing struct {
	kept, over nest
}

func reduceOp(name, doc string, floats floatReduction, ints func(group[int32]) int32) *graph.Op {
	op := &graph.Op{
		Name: name, Doc: doc,
		Inputs: []graph.Input{graph.In("x", graph.Numeric), graph.Opt("axes", graph.Int), graph.Def("keep_dims", graph.Bool, false)},
		Infer:  inferReduce,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			axes, err := reduceAxes(c)
			if err != nil {
				return graph.Step{}, err
			}
			var r reducing
			r.kept, r.over = loopsOn(physical(c.In[0], c.Lanes()), func(i int) bool { return slices.Contains(axes, i) })
			if c.Type(0).DType.IsFloat() {
				return floats.prepare(c, r), nil
			}
			return groupStep(c, r, ints), nil
		},
	}
	if floats.blocked {
		op.Fit = fitReduce
	}
	return op
}

// reduceAxes are the dimensions that go: all where none are named.
func reduceAxes(c *graph.Call) ([]int, error) {
	rank := len(c.Shape(0))
	axes, err := axesOf(c, 1, rank)
	if err == nil && len(axes) == 0 {
		for i := range rank {
			axes = append(axes, i)
		}
	}
	return axes, err
}

func inferReduce(c *graph.Call) ([]graph.Type, error) {
	axes, err := reduceAxes(c)
	if err != nil {
		return nil, err
	}
	keep, err := c.Bool(2)
	if err != nil {
		return nil, err
	}
	return []graph.Type{graph.TensorOf(c.Type(0).DType, reduced(c.Shape(0), axes, keep)...)}, nil
}

func reduced(shape, axes []int, keep bool) []int {
	out := []int{}
	for i, d := range shape {
		switch {
		case !slices.Contains(axes, i):
			out = append(out, d)
		case keep:
			out = append(out, 1)
		}
	}
	return out
}

// fitReduce takes a blocked x whose spatial dimensions go. A result without spatial dimensions left is Plain.
func fitReduce(c *graph.Call, f graph.Form) graph.Fit {
	axes, err := reduceAxes(c)
	if err != nil || f != graph.Blocked || !blockable(c.Type(0)) || slices.Min(axes) < 2 {
		return graph.Fit{}
	}
	if blockable(c.Out[0].Type) {
		return graph.Fit{In: 1, Out: 1}
	}
	return graph.Fit{In: 1}
}

// byGroups is a reduction that sees its elements one by one.
func byGroups(f func(group[float32]) float32) floatReduction {
	return floatReduction{prepare: func(c *graph.Call, r reducing) graph.Step { return groupStep(c, r, f) }}
}

func groupStep[T int32 | float32](c *graph.Call, r reducing, f func(group[T]) T) graph.Step {
	n := r.kept.count()
	return byRows(c.Op.Name, n, r.over.count(), func(x *graph.Exec, i int) {
		g := group[T]{x: tensor.View[T](x.Bytes(0)), off: r.kept.at(i), over: &r.over}
		tensor.View[T](x.OutBytes(0))[i] = f(g)
	})
}

func plus(a, b float64) float64 { return a + b }

func prodFloat(g group[float32]) float32 {
	p := 1.0
	g.each(func(v float32) { p *= float64(v) })
	return float32(p)
}

func logSum(g group[float32]) float32 {
	s := 0.0
	g.each(func(v float32) { s += float64(v) })
	return float32(math.Log(s))
}

// logSumExp subtracts the largest element before it takes exponentials.
func logSumExp[T int32 | float32](g group[T]) float32 {
	m, s := math.Inf(-1), 0.0
	g.each(func(v T) { m = math.Max(m, float64(v)) })
	if math.IsInf(m, 0) {
		return float32(m)
	}
	g.each(func(v T) { s += math.Exp(float64(v) - m) })
	return float32(m + math.Log(s))
}

// Reductions of integers wrap; what is not a whole number is truncated.

func sumInt(g group[int32]) int32 {
	s := int32(0)
	g.each(func(v int32) { s += v })
	return s
}

func meanInt(g group[int32]) int32 {
	s, n := int64(0), int64(0)
	g.each(func(v int32) { s, n = s+int64(v), n+1 })
	return int32(s / max(n, 1))
}

func l1Int(g group[int32]) int32 {
	s := int32(0)
	g.each(func(v int32) { s += max(v, -v) })
	return s
}

func sumSquareInt(g group[int32]) int32 {
	s := int32(0)
	g.each(func(v int32) { s += v * v })
	return s
}

func l2Int(g group[int32]) int32 {
	s := 0.0
	g.each(func(v int32) { s += float64(v) * float64(v) })
	return saturate(math.Sqrt(s))
}

func logSumInt(g group[int32]) int32 {
	s := int64(0)
	g.each(func(v int32) { s += int64(v) })
	return saturate(math.Log(float64(s)))
}

func prodInt(g group[int32]) int32 {
	p := int32(1)
	g.each(func(v int32) { p *= v })
	return p
}

func maxInt(g group[int32]) int32 {
	m := int32(math.MinInt32)
	g.each(func(v int32) { m = max(m, v) })
	return m
}

func minInt(g group[int32]) int32 {
	m := int32(math.MaxInt32)
	g.each(func(v int32) { m = min(m, v) })
	return m
}
