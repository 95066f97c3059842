package testkit

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// nested adds a few operations inside a block; values of outer blocks may be read. It gives a value of type t.
func (g *random) nested(in []graph.Type, t graph.Type, start func(in []*graph.Value) error, first func(in []*graph.Value) *pooled) (*graph.Block, error) {
	pool := g.pool
	g.depth++
	defer func() { g.pool, g.depth = pool, g.depth-1 }()
	g.pool = append([]*pooled(nil), pool...)
	return g.Nested(in, func(in []*graph.Value) ([]*graph.Value, error) {
		p := first(in)
		for range 1 + g.r.IntN(3) {
			if err := blockKinds[g.r.IntN(len(blockKinds))](g); err != nil {
				return nil, err
			}
		}
		// The block's value: what it made last of that type, brought near 1.
		for i := len(g.pool) - 1; i >= len(pool); i-- {
			if q := g.pool[i]; q.t.Equal(t) {
				p = q
				break
			}
		}
		out, err := g.op(false, "tanh", Args{"x": p.v})
		if err != nil {
			return nil, err
		}
		if start != nil {
			if err := start(in); err != nil {
				return nil, err
			}
		}
		return []*graph.Value{out[0].v}, nil
	})
}

// blockKinds are what blocks are made of.
var blockKinds = []func(*random) error{activation, binary, binary, conv, pool, linear, softmax, reduce, reshape, transpose, split, layerNorm, pad}

func cond(g *random) error {
	if g.depth > 1 {
		return nil
	}
	x := g.float(1, 4)
	p := g.pick(func(p *pooled) bool { return p.t.DType == tensor.Bool && p.rank() == 0 })
	if p == nil {
		if g.depth > 0 {
			return nil
		}
		p = g.input(tensor.Bool, nil)
	}
	var blocks []*graph.Block
	for range 2 {
		b, err := g.nested(nil, x.t, nil, func([]*graph.Value) *pooled { return x })
		if err != nil {
			return err
		}
		blocks = append(blocks, b)
	}
	out := g.Control("cond", Args{"pred": p.v}, []graph.Type{x.t}, blocks...)
	g.keep(out[0], x.t, false)
	return nil
}

// whileLoop runs a block a few times over a value; the counter goes beside it.
func whileLoop(g *random) error {
	if g.depth > 1 {
		return nil
	}
	x := g.float(1, 4)
	counter := graph.TensorOf(tensor.Int32)
	vars := []graph.Type{counter, x.t}
	test, err := g.Nested(vars, func(in []*graph.Value) ([]*graph.Value, error) {
		return g.Op("less", Args{"x": in[0], "y": 1 + g.r.IntN(3)})
	})
	if err != nil {
		return err
	}
	var next *graph.Value
	body, err := g.nested(vars, x.t, func(in []*graph.Value) error {
		out, err := g.Op("add", Args{"x": in[0], "y": 1})
		if err == nil {
			next = out[0]
		}
		return err
	}, func(in []*graph.Value) *pooled { return g.keep(in[1], x.t, false) })
	if err != nil {
		return err
	}
	body.Outputs = append([]*graph.Value{next}, body.Outputs...)
	zero := g.argument(0)[0]
	out := g.Control("while_loop", Args{"loop_vars": []*graph.Value{zero, x.v}}, vars, test, body)
	g.keep(out[0], counter, true)
	g.keep(out[1], x.t, false)
	return nil
}

// useState reads a state, and most often writes something back and reads it again.
func useState(g *random) error {
	if len(g.fn.States) == 0 || g.depth > 0 {
		return nil
	}
	s := g.fn.States[g.r.IntN(len(g.fn.States))]
	old, err := g.op(false, "read_state", Args{"input": s})
	if err != nil || g.r.IntN(4) == 0 {
		return err
	}
	x := old[0]
	var data *graph.Value
	switch g.r.IntN(4) {
	case 0:
		y := g.partner(x)
		if len(y.t.Shape) > x.rank() || !broadcastsInto(y.t.Shape, x.t.Shape) {
			return nil
		}
		out, err := g.op(false, []string{"add", "mul"}[g.r.IntN(2)], Args{"x": x.v, "y": y.v})
		if err != nil {
			return err
		}
		if out, err = g.op(false, "tanh", Args{"x": out[0].v}); err != nil {
			return err
		}
		data = out[0].v
	case 1:
		p := g.pick(func(p *pooled) bool { return p.t.Equal(x.t) })
		data = p.v
	default:
		begin, end := make([]int, x.rank()), append([]int(nil), x.t.Shape...)
		begin[0] = g.r.IntN(x.t.Shape[0])
		end[0] = begin[0] + 1
		shape := append([]int{1}, x.t.Shape[1:]...)
		u := g.pick(func(p *pooled) bool { return p.t.DType == x.t.DType && equal(p.t.Shape, shape) })
		if u == nil {
			u = g.input(x.t.DType, shape)
		}
		out, err := g.op(false, "slice_update", Args{"x": x.v, "update": u.v, "begin": begin, "end": end})
		if err != nil {
			return err
		}
		data = out[0].v
	}
	if g.noise && x.t.DType == tensor.Float16 { // which way a float16 is rounded depends on what comes before
		if data, err = g.disturb(data, x.t, 0x1p-11); err != nil {
			return err
		}
	}
	if _, err := g.Op("write_state", Args{"input": s, "data": data}); err != nil {
		return err
	}
	if g.flip() {
		_, err = g.op(false, "read_state", Args{"input": s})
	}
	return err
}

// broadcastsInto reports whether the result of a and b has the shape b.
func broadcastsInto(a, b []int) bool {
	return len(a) <= len(b) && broadcasts(a, b)
}
