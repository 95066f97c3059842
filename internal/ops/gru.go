package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

var gruOp = &graph.Op{
	Name: "gru",
	Doc:  "A gated recurrent unit with the gates reset, output and update; the reset gate applies before the product, or with reset_after behind it.",
	Inputs: []graph.Input{
		graph.In("x", graph.Float), graph.In("initial_h", graph.Float),
		graph.In("weight_ih", graph.Float), graph.In("weight_hh", graph.Float), graph.Opt("bias", graph.Float),
		graph.Def("direction", graph.String, "forward"), graph.Def("output_sequence", graph.Bool, false),
		graph.Def("recurrent_activation", graph.String, "sigmoid"), graph.Def("activation", graph.String, "tanh"),
		graph.Def("reset_after", graph.Bool, false), graph.Opt("input_bias", graph.Float),
	},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		r, _, err := newGRU(c)
		if err != nil {
			return nil, err
		}
		return r.types(c, 1, 1), nil
	},
	Prepare: func(c *graph.Call) (graph.Step, error) {
		r, cell, err := newGRU(c)
		if err != nil {
			return graph.Step{}, err
		}
		d := &direction{backward: cell.reverse, bias: cell.bias, update: cell.update}
		if err := r.add(c, gruWeights, d); err != nil {
			return graph.Step{}, err
		}
		for gate := range cell.weight {
			cell.weight[gate] = c.Pack(c.At(gruWeights.hh), packGate(gate, r.hidden, r.gemm.Lanes))
		}
		return r.step("gru", c.Level.String()), nil
	},
}

var gruWeights = weightArgs{ih: 2, hh: 3, bias: 4}

// gruCell has the parameters of a gated recurrent unit.
type gruCell struct {
	reverse, after bool
	gate, out      vec.Unary
	weight         [3]*graph.Packed // reset, output, update
	bias           []float32        // added to the sums over the input
	outBias        []float32        // of the output gate's product with the hidden state, where the reset comes after it
}

func newGRU(c *graph.Call) (*recurrence, *gruCell, error) {
	r, err := newRecurrence(c, 3, 1, gruWeights)
	if err != nil {
		return nil, nil, err
	}
	dir, err := readDirection(c, 5, "forward", "reverse")
	if err != nil {
		return nil, nil, err
	}
	cell := &gruCell{reverse: dir == "reverse"}
	if r.sequence, err = c.Bool(6); err != nil {
		return nil, nil, err
	}
	if cell.gate, err = cellActivation(c, 7); err != nil {
		return nil, nil, err
	}
	if cell.out, err = cellActivation(c, 8); err != nil {
		return nil, nil, err
	}
	if cell.after, err = c.Bool(9); err != nil {
		return nil, nil, err
	}
	return r, cell, cell.setBias(c, r.hidden)
}

// setBias adds the two biases up where they meet in one sum.
func (g *gruCell) setBias(c *graph.Call, hidden int) error {
	if c.Given(10) && (c.Type(10).Rank() != 1 || c.Type(10).Elements() != 3*hidden) {
		return c.Errorf(10, "shape %v, want [%d]", c.Shape(10), 3*hidden)
	}
	state, err := c.Floats(4)
	if err != nil {
		return err
	}
	input, err := c.Floats(10)
	if err != nil {
		return err
	}
	if g.after {
		g.outBias = make([]float32, hidden)
		if state != nil {
			copy(g.outBias, state[hidden:2*hidden])
			clear(state[hidden : 2*hidden])
		}
	}
	g.bias = make([]float32, 3*hidden)
	for i := range g.bias {
		if state != nil {
			g.bias[i] += state[i]
		}
		if input != nil {
			g.bias[i] += input[i]
		}
	}
	return nil
}

func (g *gruCell) update(t *recurrentTask, sums []float32) {
	n, width := t.hidden, 3*t.hidden
	t.product(g.weight[0], n, t.h, sums, width, nil)
	t.product(g.weight[2], n, t.h, sums[2*n:], width, nil)
	if g.after {
		t.product(g.weight[1], n, t.h, t.tmp, n, g.outBias)
	}
	for i := range t.n {
		row := sums[i*width:][:width]
		reset, tmp := row[:n], t.tmp[i*n:][:n]
		g.gate(reset, reset)
		if g.after {
			t.vec.MulAdd(row[n:2*n], reset, tmp, row[n:2*n])
		} else {
			t.vec.Mul(tmp, reset, t.h[i*n:][:n])
		}
	}
	if !g.after {
		t.product(g.weight[1], n, t.tmp, sums[n:], width, nil)
	}
	for i := range t.n {
		row, h := sums[i*width:][:width], t.h[i*n:][:n]
		out, update := row[n:2*n], row[2*n:]
		g.gate(update, update)
		g.out(out, out)
		// h = out + update·(h - out)
		t.vec.Sub(h, h, out)
		t.vec.MulAdd(h, update, h, out)
	}
}
