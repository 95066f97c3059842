package ops

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// builder makes functions with nested blocks.
type builder struct{ fn graph.Function }

func (b *builder) value(t graph.Type) *graph.Value {
	v := &graph.Value{ID: b.fn.Values, Name: "v", Type: t}
	b.fn.Values++
	return v
}

func (b *builder) constant(k *graph.Const) *graph.Value {
	v := b.value(k.Type)
	v.Const = k
	return v
}

// node makes an operation with one value for each argument; a slice of values for a variadic one.
func (b *builder) node(op string, out []graph.Type, in map[string]any, blocks ...*graph.Block) *graph.Node {
	n := &graph.Node{ID: b.fn.Nodes, Name: op, Op: Find(op, graph.IOS18), Blocks: blocks}
	b.fn.Nodes++
	for _, p := range n.Op.Inputs {
		var vs []*graph.Value
		switch v := in[p.Name].(type) {
		case *graph.Value:
			vs = []*graph.Value{v}
		case []*graph.Value:
			vs = v
		}
		n.Args = append(n.Args, vs)
	}
	for _, t := range out {
		v := b.value(t)
		v.Def = n
		n.Out = append(n.Out, v)
	}
	return n
}

func (b *builder) run(ctx context.Context, body *graph.Block, in ...graph.Slot) ([]graph.Slot, error) {
	b.fn.Body = body
	out, _, err := eval.New(ctx, &b.fn, cpu.Generic, 1<<20).Run(in)
	return out, err
}

var (
	flag   = graph.TensorOf(tensor.Bool)
	number = graph.TensorOf(tensor.Int32)
	pair   = graph.TensorOf(tensor.Float32, 2)
)

// doubling makes while_loop over (i, x): i counts from 0 as long as it is below trips, x doubles.
func doubling(b *builder, trips int, x graph.Type) (*graph.Block, *graph.Node) {
	one, two, limit := b.constant(single(1)), b.constant(floatsOf(nil, 2)), b.constant(single(trips))
	test := &graph.Block{Inputs: []*graph.Value{b.value(number), b.value(x)}}
	less := b.node("less", []graph.Type{flag}, map[string]any{"x": test.Inputs[0], "y": limit})
	test.Nodes, test.Outputs = []*graph.Node{less}, less.Out
	body := &graph.Block{Inputs: []*graph.Value{b.value(number), b.value(x)}}
	add := b.node("add", []graph.Type{number}, map[string]any{"x": body.Inputs[0], "y": one})
	mul := b.node("mul", []graph.Type{x}, map[string]any{"x": body.Inputs[1], "y": two})
	body.Nodes, body.Outputs = []*graph.Node{add, mul}, []*graph.Value{add.Out[0], mul.Out[0]}
	start, v := b.constant(single(0)), b.value(x)
	w := b.node("while_loop", []graph.Type{number, x}, map[string]any{"loop_vars": []*graph.Value{start, v}}, test, body)
	return &graph.Block{Inputs: []*graph.Value{v}, Nodes: []*graph.Node{w}, Outputs: w.Out}, w
}

func slotOf32(v ...float32) graph.Slot {
	return graph.Slot{Data: tensor.BytesOf(v), Shape: []int{len(v)}}
}

func TestWhileLoop(t *testing.T) {
	for trips, want := range map[int][]float32{0: {1, 3}, 1: {2, 6}, 5: {32, 96}} {
		for _, typ := range []graph.Type{pair, graph.TensorOf(tensor.Float32, -1)} {
			b := &builder{}
			body, _ := doubling(b, trips, typ)
			in := slotOf32(1, 3)
			out, err := b.run(context.Background(), body, in)
			if err != nil {
				t.Fatalf("%d trips: %v", trips, err)
			}
			if i := tensor.View[int32](out[0].Data)[0]; int(i) != trips {
				t.Errorf("%d trips: counted %d", trips, i)
			}
			if got := tensor.View[float32](out[1].Data); !slices.Equal(got, want) || !slices.Equal(out[1].Shape, []int{2}) {
				t.Errorf("%d trips: %v of shape %v, want %v", trips, got, out[1].Shape, want)
			}
			if !slices.Equal(tensor.View[float32](in.Data), []float32{1, 3}) {
				t.Error("the loop changed its operand")
			}
		}
	}
}

func TestWhileLoopStopsWithItsContext(t *testing.T) {
	b := &builder{}
	body, _ := doubling(b, 1<<30, pair)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.run(ctx, body, slotOf32(1, 3)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

func TestControlFlowIsChecked(t *testing.T) {
	for what, spoil := range map[string]func(n *graph.Node){
		"one block":                 func(n *graph.Node) { n.Blocks = n.Blocks[:1] },
		"an input less":             func(n *graph.Node) { n.Blocks[0].Inputs = n.Blocks[0].Inputs[:1] },
		"an output less":            func(n *graph.Node) { n.Blocks[1].Outputs = n.Blocks[1].Outputs[:1] },
		"a result less":             func(n *graph.Node) { n.Out = n.Out[:1] },
		"a body of another dtype":   func(n *graph.Node) { n.Blocks[1].Inputs[1].Type.DType = tensor.Bool },
		"a result of another dtype": func(n *graph.Node) { n.Out[1].Type.DType = tensor.Bool },
		"a condition that is none":  func(n *graph.Node) { n.Blocks[0].Outputs = n.Blocks[0].Inputs[:1] },
		"a result of another size":  func(n *graph.Node) { n.Out[1].Type.Shape = []int{3} },
	} {
		b := &builder{}
		body, n := doubling(b, 2, pair)
		spoil(n)
		body.Outputs = n.Out
		if _, err := b.run(context.Background(), body, slotOf32(1, 3)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestCond(t *testing.T) {
	for _, pred := range []byte{0, 1} {
		b := &builder{}
		x, y, p := b.constant(floatsOf([]int{2}, 1, 2)), b.constant(floatsOf([]int{2}, 3, 4)), b.value(flag)
		n := b.node("cond", []graph.Type{pair}, map[string]any{"pred": p},
			&graph.Block{Outputs: []*graph.Value{x}}, &graph.Block{Outputs: []*graph.Value{y}})
		out, err := b.run(context.Background(), &graph.Block{Inputs: []*graph.Value{p}, Nodes: []*graph.Node{n}, Outputs: n.Out},
			graph.Slot{Data: []byte{pred}, Shape: []int{}})
		if err != nil {
			t.Fatal(err)
		}
		want := map[byte]float32{0: 3, 1: 1}[pred]
		if got := tensor.View[float32](out[0].Data); got[0] != want || len(got) != 2 {
			t.Errorf("pred %d: %v", pred, got)
		}
	}
}

// lists makes a list of two elements, writes value as element 3 and gives the old list, the new one and what f adds.
func lists(elem []any, f func(b *builder, old, fresh *graph.Value) *graph.Node) ([]graph.Slot, error) {
	b := &builder{}
	var shape []*graph.Value
	for _, d := range elem {
		switch d := d.(type) {
		case int:
			shape = append(shape, b.constant(single(d)))
		case string:
			shape = append(shape, b.constant(stringOf(d)))
		}
	}
	v := b.value(pair)
	unknown := []graph.Type{{Kind: graph.KindList}}
	list := b.node("make_list", unknown, map[string]any{"init_length": b.constant(single(2)), "elem_shape": shape})
	write := b.node("list_write", unknown, map[string]any{"ls": list.Out[0], "index": b.constant(single(3)), "value": v})
	n := f(b, list.Out[0], write.Out[0])
	return b.run(context.Background(), &graph.Block{Inputs: []*graph.Value{v}, Nodes: []*graph.Node{list, write, n}, Outputs: n.Out}, slotOf32(8, 9))
}

func TestLists(t *testing.T) {
	dynamic := []any{"n"}
	index := func(op string, i int, old bool) func(b *builder, a, z *graph.Value) *graph.Node {
		return func(b *builder, a, z *graph.Value) *graph.Node {
			if old {
				z = a
			}
			return b.node(op, []graph.Type{pair}, map[string]any{"ls": z, "index": b.constant(single(i)), "indices": b.constant(vector(i, 3))})
		}
	}
	for _, c := range []struct {
		what string
		elem []any
		f    func(b *builder, old, fresh *graph.Value) *graph.Node
		want []float32 // nil: an error
	}{
		{"the element written", []any{2}, index("list_read", 3, false), []float32{8, 9}},
		{"an element never written", []any{2}, index("list_read", 2, false), []float32{0, 0}},
		{"beyond the end", []any{2}, index("list_read", 4, false), nil},
		{"the old list", []any{2}, index("list_read", 3, true), nil},
		{"before the start", []any{2}, index("list_read", -1, false), nil},
		{"of unknown size", dynamic, index("list_read", 3, false), []float32{8, 9}},
		{"never written, of unknown size", dynamic, index("list_read", 0, false), nil},
		{"two elements", []any{2}, index("list_gather", 0, false), []float32{0, 0, 8, 9}},
		{"two elements of unknown size", dynamic, index("list_gather", 3, false), []float32{8, 9, 8, 9}},
		{"an element of another shape", []any{3}, index("list_read", 3, false), nil},
		{"an element of another rank", []any{1, 2}, index("list_read", 3, false), nil},
	} {
		out, err := lists(c.elem, c.f)
		switch {
		case c.want == nil && err == nil:
			t.Errorf("%s: accepted", c.what)
		case c.want != nil && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.want != nil && !slices.Equal(tensor.View[float32](out[0].Data), c.want):
			t.Errorf("%s: %v, want %v", c.what, tensor.View[float32](out[0].Data), c.want)
		}
	}
}

func TestListScatterAndLength(t *testing.T) {
	out, err := lists([]any{2}, func(b *builder, _, z *graph.Value) *graph.Node {
		return b.node("list_length", []graph.Type{number}, map[string]any{"ls": z})
	})
	if err != nil || tensor.View[int32](out[0].Data)[0] != 4 {
		t.Errorf("length: %v, %v", out, err)
	}
	for _, index := range []int{0, 1 << 30} {
		b := &builder{}
		unknown := []graph.Type{{Kind: graph.KindList}}
		l := b.node("make_list", unknown, map[string]any{"elem_shape": []*graph.Value{b.constant(single(1))}})
		s := b.node("list_scatter", unknown, map[string]any{"ls": l.Out[0], "indices": b.constant(vector(index, 2)), "value": b.constant(floatsOf([]int{2, 1}, 5, 6))})
		g := b.node("list_gather", []graph.Type{pair}, map[string]any{"ls": s.Out[0], "indices": b.constant(vector(2, 1, 0))})
		out, err := b.run(context.Background(), &graph.Block{Nodes: []*graph.Node{l, s, g}, Outputs: g.Out})
		if index > 2 {
			if err == nil || !strings.Contains(err.Error(), "index") {
				t.Errorf("index %d: %v", index, err)
			}
		} else if err != nil || !slices.Equal(tensor.View[float32](out[0].Data), []float32{6, 0, 5}) {
			t.Errorf("%v, %v", out, err)
		}
	}
}

func TestStates(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float16, tensor.Float32, tensor.Int32} {
		b := &builder{}
		s, v := b.value(graph.Type{DType: d, Shape: []int{2}, Kind: graph.KindState}), b.value(graph.TensorOf(d, 2))
		read := b.node("read_state", []graph.Type{graph.TensorOf(d, 2)}, map[string]any{"input": s})
		sum := b.node("add", []graph.Type{graph.TensorOf(d, 2)}, map[string]any{"x": read.Out[0], "y": v})
		write := b.node("write_state", nil, map[string]any{"input": s, "data": sum.Out[0]})
		again := b.node("read_state", []graph.Type{graph.TensorOf(d, 2)}, map[string]any{"input": s})
		body := &graph.Block{Inputs: []*graph.Value{s, v}, Nodes: []*graph.Node{read, sum, write, again}, Outputs: again.Out}
		memory, add, want := tensor.BytesOf([]int32{1, 2}), tensor.BytesOf([]int32{3, 4}), tensor.BytesOf([]int32{4, 6})
		if d.IsFloat() {
			memory, add, want = tensor.BytesOf([]float32{1, 2}), tensor.BytesOf([]float32{3, 4}), tensor.BytesOf([]float32{4, 6})
		}
		if d == tensor.Float16 {
			memory = tensor.BytesOf([]uint16{tensor.F16(1), tensor.F16(2)})
		}
		state := graph.Slot{Data: memory, Shape: []int{2}}
		out, err := b.run(context.Background(), body, state, graph.Slot{Data: add, Shape: []int{2}})
		if err != nil {
			t.Fatalf("%v: %v", d, err)
		}
		if !slices.Equal(out[0].Data, want) {
			t.Errorf("%v: read %v, want %v", d, out[0].Data, want)
		}
		if d == tensor.Float16 && tensor.View[uint16](memory)[1] != tensor.F16(6) {
			t.Errorf("%v: the state holds %#x", d, tensor.View[uint16](memory))
		}
	}
}
