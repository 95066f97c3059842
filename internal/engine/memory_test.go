package engine

import (
	"testing"

	"coreml/internal/graph"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// builder makes graphs in tests.
type builder struct {
	*testkit.Builder
	t *testing.T
}

func build(t *testing.T) builder { return builder{testkit.NewBuilder(graph.IOS18), t} }

// op adds an operation and gives its first result, nil if it has none.
func (b builder) op(name string, a testkit.Args, blocks ...*graph.Block) *graph.Value {
	b.t.Helper()
	out, err := b.Op(name, a, blocks...)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(out) == 0 {
		return nil
	}
	return out[0]
}

// check compares the ways to run the graph with these outputs.
func (b builder) check(outputs ...*graph.Value) {
	b.t.Helper()
	fn := b.Function(outputs...)
	slack := make([][]float64, calls)
	for k := range slack {
		slack[k] = make([]float64, len(outputs))
		for i := range slack[k] {
			slack[k][i] = 1e-5
		}
	}
	if err := compareWays(&testkit.Graph{Seed: 1, Fn: fn, Known: b.KnownInputs()}, fn, slack); err != nil {
		b.t.Errorf("%v\n%s", err, fn)
	}
}

// TestInputIsNeededInTwoForms: a convolution takes the input blocked, and after it a call takes it row-major.
func TestInputIsNeededInTwoForms(t *testing.T) {
	b := build(t)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 1, 16, 8, 8))
	c := b.op("conv", testkit.Args{"x": x, "weight": b.Floats(make([]float32, 16*16), 16, 16, 1, 1)})
	e := b.op("expand_dims", testkit.Args{"x": x, "axes": []int{4}})
	b.check(c, e, b.op("cumsum", testkit.Args{"x": x}))
}

// TestOldStateIsReadAfterWriteOfLaterSegment: the plan is cut between a read of a state and its write.
func TestOldStateIsReadAfterWriteOfLaterSegment(t *testing.T) {
	b := build(t)
	s := b.State("s", tensor.Float32, 6, 12)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 6, 12))
	old := b.op("read_state", testkit.Args{"input": s})
	part := b.op("slice_by_size", testkit.Args{"x": old, "begin": []int{2, 0}, "size": []int{1, 12}})
	cut := b.op("reshape", testkit.Args{"x": x, "shape": b.Known("shape", 72)})
	b.op("write_state", testkit.Args{"input": s, "data": x})
	b.Open(cut)
	b.check(old, part, cut)
}

// TestOldStateIsReadAfterWriteOfBlock: a nested block writes what was read before.
func TestOldStateIsReadAfterWriteOfBlock(t *testing.T) {
	b := build(t)
	s := b.State("s", tensor.Float16, 4, 4)
	x := b.Input("x", graph.TensorOf(tensor.Float16, 4, 4))
	p := b.Input("p", graph.TensorOf(tensor.Bool))
	old := b.op("read_state", testkit.Args{"input": s})
	var blocks []*graph.Block
	for range 2 {
		block, err := b.Nested(nil, func([]*graph.Value) ([]*graph.Value, error) {
			b.op("write_state", testkit.Args{"input": s, "data": x})
			return []*graph.Value{b.op("relu", testkit.Args{"x": x})}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, block)
	}
	out := b.Control("cond", testkit.Args{"pred": p}, []graph.Type{b.TypeOf(x)}, blocks...)
	b.check(b.op("add", testkit.Args{"x": old, "y": old}), out[0])
}
