package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

var lstmOp = &graph.Op{
	Name: "lstm",
	Doc:  "Long short-term memory with the gates input, forget, output and cell, in one or both directions.",
	Inputs: []graph.Input{
		graph.In("x", graph.Float), graph.In("initial_h", graph.Float), graph.In("initial_c", graph.Float),
		graph.In("weight_ih", graph.Float), graph.In("weight_hh", graph.Float),
		graph.Opt("bias", graph.Float), graph.Opt("peephole", graph.Float),
		graph.Opt("weight_ih_back", graph.Float), graph.Opt("weight_hh_back", graph.Float),
		graph.Opt("bias_back", graph.Float), graph.Opt("peephole_back", graph.Float),
		graph.Def("direction", graph.String, "forward"), graph.Def("output_sequence", graph.Bool, false),
		graph.Def("recurrent_activation", graph.String, "sigmoid"), graph.Def("cell_activation", graph.String, "tanh"),
		graph.Def("activation", graph.String, "tanh"), graph.Opt("clip", graph.Float),
	},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		r, dirs, err := newLSTM(c)
		if err != nil {
			return nil, err
		}
		return r.types(c, len(dirs), 2), nil
	},
	Prepare: func(c *graph.Call) (graph.Step, error) {
		r, dirs, err := newLSTM(c)
		if err != nil {
			return graph.Step{}, err
		}
		for _, l := range dirs {
			if err := r.add(c, l.args, &direction{backward: l.backward, place: len(dirs) > 1, update: l.update}); err != nil {
				return graph.Step{}, err
			}
			l.weight = c.Pack(c.At(l.args.hh), packPanels(1, 4*r.hidden, r.hidden, r.gemm.Lanes, true))
		}
		return r.step("lstm", c.Level.String()), nil
	},
}

// lstmCell has the parameters of one direction.
type lstmCell struct {
	args            weightArgs
	backward        bool
	gate, cell, out vec.Unary
	weight          *graph.Packed
	peephole        []float32 // of input, forget and output gate; nil: none
	clip            float32   // bound of the cell's state
	clipped         bool
}

// newLSTM reads the parameters, with one cell for each direction.
func newLSTM(c *graph.Call) (*recurrence, []*lstmCell, error) {
	dir, err := readDirection(c, 11, "forward", "reverse", "bidirectional")
	if err != nil {
		return nil, nil, err
	}
	first := lstmCell{args: weightArgs{ih: 3, hh: 4, bias: 5}, backward: dir == "reverse"}
	if err := first.read(c); err != nil {
		return nil, nil, err
	}
	cells := []*lstmCell{&first}
	if dir == "bidirectional" {
		if !c.Given(7) || !c.Given(8) {
			return nil, nil, c.Errorf(7, "weights of the way back: absent, want them for direction bidirectional")
		}
		second := first
		second.args, second.backward = weightArgs{ih: 7, hh: 8, bias: 9}, true
		cells = append(cells, &second)
	}
	r, err := newRecurrence(c, 4, len(cells), first.args)
	if err != nil {
		return nil, nil, err
	}
	if r.sequence, err = c.Bool(12); err != nil {
		return nil, nil, err
	}
	r.memory, r.c0 = true, c.At(2)
	if err := r.checkState(c, 2, len(cells)); err != nil {
		return nil, nil, err
	}
	for i, l := range cells {
		if err := r.checkWeights(c, l.args); err != nil {
			return nil, nil, err
		}
		peep := 6 + 4*i
		if c.Given(peep) && (c.Type(peep).Rank() != 1 || c.Type(peep).Elements() != 3*r.hidden) {
			return nil, nil, c.Errorf(peep, "shape %v, want [%d]", c.Shape(peep), 3*r.hidden)
		}
		if l.peephole, err = c.Floats(peep); err != nil {
			return nil, nil, err
		}
	}
	return r, cells, nil
}

// read reads what both directions share.
func (l *lstmCell) read(c *graph.Call) (err error) {
	for i, f := range []*vec.Unary{&l.gate, &l.cell, &l.out} {
		if *f, err = cellActivation(c, 13+i); err != nil {
			return err
		}
	}
	if l.clipped = c.Given(16); l.clipped {
		l.clip, err = c.Float(16)
	}
	return err
}

func (l *lstmCell) update(t *recurrentTask, sums []float32) {
	n, width := t.hidden, 4*t.hidden
	t.product(l.weight, width, t.h, sums, width, nil)
	for i := range t.n {
		row, c, tmp := sums[i*width:][:width], t.c[i*n:][:n], t.tmp[i*n:][:n]
		input, forget, output, cell := row[:n], row[n:2*n], row[2*n:3*n], row[3*n:]
		if l.peephole != nil {
			t.vec.MulAdd(input, l.peephole[:n], c, input)
			t.vec.MulAdd(forget, l.peephole[n:2*n], c, forget)
			l.gate(row[:2*n], row[:2*n])
		} else {
			l.gate(row[:3*n], row[:3*n])
		}
		l.cell(cell, cell)
		t.vec.Mul(tmp, input, cell)
		t.vec.MulAdd(c, forget, c, tmp)
		if l.clipped {
			t.vec.Clip(c, c, -l.clip, l.clip)
		}
		if l.peephole != nil {
			t.vec.MulAdd(output, l.peephole[2*n:], c, output)
			l.gate(output, output)
		}
		l.out(tmp, c)
		t.vec.Mul(t.h[i*n:][:n], output, tmp)
	}
}
