package ops

import (
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

var layerNormOp = &graph.Op{
	Name: "layer_norm", Doc: "x brought to mean 0 and variance 1 over the given axes, times gamma plus beta.",
	Inputs: []graph.Input{
		graph.In("x", graph.Float), graph.Opt("axes", graph.Int), graph.Opt("gamma", graph.Float),
		graph.Opt("beta", graph.Float), graph.Def("epsilon", graph.Float, 1e-5),
	},
	Infer:   inferLayerNorm,
	Prepare: prepareLayerNorm, Alias: overwrite,
}

func inferLayerNorm(c *graph.Call) ([]graph.Type, error) {
	axes, err := reduceAxes(c)
	if err != nil {
		return nil, err
	}
	var over []int
	for i, d := range c.Shape(0) {
		if slices.Contains(axes, i) {
			over = append(over, d)
		}
	}
	for arg := 2; arg <= 3; arg++ {
		if c.Given(arg) && !tensor.EqualShape(c.Shape(arg), over) {
			return nil, c.Errorf(arg, "shape %v, want %v", c.Shape(arg), over)
		}
	}
	_, err = c.Float(4)
	return likeX(c), err
}

func prepareLayerNorm(c *graph.Call) (graph.Step, error) {
	axes, err := reduceAxes(c)
	if err != nil {
		return graph.Step{}, err
	}
	eps, err := c.Float(4)
	if err != nil {
		return graph.Step{}, err
	}
	kept, over := loopsOn(c.Shape(0), func(i int) bool { return slices.Contains(axes, i) })
	gamma, beta := optionalInput(c, 2), optionalInput(c, 3)
	switch {
	case len(over.size) == 0 || len(over.size) == 1 && over.stride[0] == 1:
		return layerNormRows(c, kept.count(), over.count(), eps, gamma, beta), nil
	case len(over.size) == 1 && over.stride[0] >= lineWide:
		// All kept dimensions are outside the axis or inside it.
		inner := over.stride[0]
		n := newLineNorm(c, line{kept.count() / inner, over.size[0], inner}, eps)
		return n.step(c, func(x *graph.Exec, _ int) (perLine, perLine) {
			return perLine{along: gamma(x)}, perLine{along: beta(x)}
		}), nil
	}
	return layerNormGroups(c, kept, over, eps, gamma, beta), nil
}

// lineWide is the number of lines side by side from which on whole rows of them are worth while.
const lineWide = 8

// optionalInput reads an argument at run time; nil if absent.
func optionalInput(c *graph.Call, arg int) func(x *graph.Exec) []float32 {
	i := c.At(arg)
	return func(x *graph.Exec) []float32 {
		if i < 0 {
			return nil
		}
		return x.F32(i)
	}
}

func layerNormRows(c *graph.Call, rows, n int, eps float32, gamma, beta func(*graph.Exec) []float32) graph.Step {
	v := kernels(c)
	return bySpans("layer_norm", rows, normCost*n, func(x *graph.Exec, lo, hi int) {
		v.LayerNormRows(x.OutF32(0)[lo*n:hi*n], x.F32(0)[lo*n:hi*n], gamma(x), beta(x), n, eps)
	})
}

// layerNormGroups gathers the elements of each group, which lie anywhere, in scratch memory.
func layerNormGroups(c *graph.Call, kept, over nest, eps float32, gamma, beta func(*graph.Exec) []float32) graph.Step {
	v, n := kernels(c), over.count()
	k := len(over.size) - 1
	outer := nest{over.size[:k], over.stride[:k]}
	run, st := over.size[k], over.stride[k]
	s := byRows("layer_norm gathered", kept.count(), 2*normCost*n, func(x *graph.Exec, i int) {
		t, src, dst, at := x.Scratch()[:n], x.F32(0), x.OutF32(0), kept.at(i)
		for o := range outer.count() {
			p, row := at+outer.at(o), t[o*run:(o+1)*run]
			for j := range row {
				row[j] = src[p+j*st]
			}
		}
		v.LayerNorm(t, t, gamma(x), beta(x), eps)
		for o := range outer.count() {
			p := at + outer.at(o)
			for j, y := range t[o*run : (o+1)*run] {
				dst[p+j*st] = y
			}
		}
	})
	s.Scratch = 4 * n
	return s
}
