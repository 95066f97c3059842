package ops

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// The label is a string or an int64, the probabilities a map[string]float64 or a map[int64]float64.
var classifyOps = []*graph.Op{{
	Name: "classify", Doc: "The label with the highest probability, and the probability of each label.",
	Inputs: []graph.Input{graph.In("probabilities", graph.Float), graph.In("classes", graph.String|graph.Int|graph.List)},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		d, err := classDType(c)
		if err != nil {
			return nil, err
		}
		return []graph.Type{graph.TensorOf(d), {Kind: graph.KindDict}}, nil
	},
	Prepare: prepareClassify,
	NoFold:  true,
}}

func classDType(c *graph.Call) (tensor.DType, error) {
	k, err := c.Const(1)
	if err != nil {
		return 0, err
	}
	n := c.Type(0).Elements()
	if have := k.Type.Elements(); n == 0 || have != n {
		return 0, c.Errorf(1, "%d labels, want one for each of %d probabilities", have, n)
	}
	if k.Strings != nil {
		return tensor.String, nil
	}
	if _, err := k.Ints(); err != nil {
		return 0, c.Errorf(1, "%v, want strings or integers", k.Type)
	}
	return tensor.Int64, nil
}

func prepareClassify(c *graph.Call) (graph.Step, error) {
	k, err := c.Const(1)
	if err != nil {
		return graph.Step{}, err
	}
	if k.Strings != nil {
		return classifyStep(c, k.Strings), nil
	}
	v, err := k.Ints()
	labels := make([]int64, len(v))
	for i := range v {
		labels[i] = int64(v[i])
	}
	return classifyStep(c, labels), err
}

func classifyStep[T comparable](c *graph.Call, labels []T) graph.Step {
	find := kernels(c).ArgMax
	return graph.Serial("classify", func(x *graph.Exec) error {
		p := x.F32(0)
		of := make(map[T]float64, len(labels))
		for i, l := range labels {
			of[l] = float64(p[i])
		}
		x.SetObj(0, labels[find(p)])
		x.SetObj(1, of)
		return nil
	})
}
