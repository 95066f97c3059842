package ops

import "coreml/internal/graph"

var rnnOp = &graph.Op{
	Name: "rnn",
	Doc:  "A recurrent network: h = activation(weight_ih·x + weight_hh·h + bias).",
	Inputs: []graph.Input{
		graph.In("x", graph.Float), graph.In("initial_h", graph.Float),
		graph.In("weight_ih", graph.Float), graph.In("weight_hh", graph.Float), graph.Opt("bias", graph.Float),
		graph.Def("direction", graph.String, "forward"), graph.Def("output_sequence", graph.Bool, false),
		graph.Def("activation", graph.String, "tanh"),
	},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		r, _, err := newRNN(c)
		if err != nil {
			return nil, err
		}
		return r.types(c, 1, 1), nil
	},
	Prepare: func(c *graph.Call) (graph.Step, error) {
		r, d, err := newRNN(c)
		if err != nil {
			return graph.Step{}, err
		}
		f, err := cellActivation(c, 7)
		if err != nil {
			return graph.Step{}, err
		}
		if err := r.add(c, rnnWeights, d); err != nil {
			return graph.Step{}, err
		}
		weight := c.Pack(c.At(3), packGate(0, r.hidden, r.gemm.Lanes))
		d.update = func(t *recurrentTask, g []float32) {
			t.product(weight, t.hidden, t.h, g, t.hidden, nil)
			f(t.h, g)
		}
		return r.step("rnn", c.Level.String()), nil
	},
}

var rnnWeights = weightArgs{ih: 2, hh: 3, bias: 4}

func newRNN(c *graph.Call) (*recurrence, *direction, error) {
	r, err := newRecurrence(c, 1, 1, rnnWeights)
	if err != nil {
		return nil, nil, err
	}
	dir, err := readDirection(c, 5, "forward", "reverse")
	if err != nil {
		return nil, nil, err
	}
	if r.sequence, err = c.Bool(6); err != nil {
		return nil, nil, err
	}
	_, err = cellActivation(c, 7)
	return r, &direction{backward: dir == "reverse"}, err
}
