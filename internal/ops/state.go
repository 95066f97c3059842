package ops

import (
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// stateOps read and write states. The memory of a float16 state is always in
// the half form, that of other states is plain.
var stateOps = []*graph.Op{
	{
		Name: "read_state", Since: graph.IOS18, Doc: "The content of a state.",
		Inputs: []graph.Input{graph.In("input", graph.State)}, NoFold: true, Effect: true,
		Infer: func(c *graph.Call) ([]graph.Type, error) { return []graph.Type{content(c)}, nil },
		Prepare: func(c *graph.Call) (graph.Step, error) {
			s := stateStep(c, "read_state", stateForm(c), c.Out[0].Form,
				func(x *graph.Exec) []byte { return x.OutBytes(0) }, func(x *graph.Exec) []byte { return x.Bytes(0) })
			s.NoOp = stateForm(c) == c.Out[0].Form
			return s, nil
		},
		Alias: func(c *graph.Call) []graph.Alias {
			if stateForm(c) != c.Out[0].Form {
				return nil
			}
			return []graph.Alias{{Kind: graph.View}}
		},
		Fit: func(c *graph.Call, f graph.Form) graph.Fit {
			if f != graph.Half || stateForm(c) != graph.Half {
				return graph.Fit{}
			}
			return graph.Fit{In: 1, Out: 1}
		},
	},
	{
		Name: "write_state", Since: graph.IOS18, Doc: "Makes data the content of a state.",
		Inputs: []graph.Input{graph.In("input", graph.State), graph.In("data", graph.Tensor)}, NoFold: true, Effect: true,
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if t := content(c); t.DType != c.Type(1).DType || !slices.Equal(t.Shape, c.Shape(1)) {
				return nil, c.Errorf(1, "%v, want %v", c.Type(1), t)
			}
			return nil, nil
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			return stateStep(c, "write_state", c.In[1].Form, stateForm(c),
				func(x *graph.Exec) []byte { return x.Bytes(0) }, func(x *graph.Exec) []byte { return x.Bytes(1) }), nil
		},
		Fit: func(c *graph.Call, f graph.Form) graph.Fit {
			if f != graph.Half || stateForm(c) != graph.Half {
				return graph.Fit{}
			}
			return graph.Fit{In: 1<<0 | 1<<1}
		},
	},
}

// content is the type of what the state holds.
func content(c *graph.Call) graph.Type {
	t := c.Type(0)
	t.Kind = graph.KindTensor
	return t
}

func stateForm(c *graph.Call) graph.Form {
	if c.Type(0).DType == tensor.Float16 {
		return graph.Half
	}
	return graph.Plain
}

// stateStep copies between memory of two forms; nothing is done where both are the same memory.
func stateStep(c *graph.Call, kernel string, from, to graph.Form, dst, src func(*graph.Exec) []byte) graph.Step {
	n := volume(c.Shape(0))
	if from == to {
		return graph.Step{Kernel: kernel, Phases: []graph.Phase{copyPhase(n*widthOf(graph.Operand{Type: c.Type(0), Form: to}), dst, src)}}
	}
	v := kernels(c)
	return graph.Parallel(kernel, ceilDiv(n, moveElems), func(x *graph.Exec, task int) error {
		lo, hi := task*moveElems, min((task+1)*moveElems, n)
		if to == graph.Half {
			v.ToF16(tensor.View[uint16](dst(x))[lo:hi], tensor.View[float32](src(x))[lo:hi])
		} else {
			v.FromF16(tensor.View[float32](dst(x))[lo:hi], tensor.View[uint16](src(x))[lo:hi])
		}
		return nil
	})
}
