package engine

import (
	"testing"

	"coreml/internal/graph"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// TestUpdatesOfATensorWithItself: what is written comes from the memory that would be overwritten.
func TestUpdatesOfATensorWithItself(t *testing.T) {
	type graphOf func(b builder, x *graph.Value) *graph.Value
	for name, f := range map[string]graphOf{
		"scatter_nd": func(b builder, x *graph.Value) *graph.Value {
			turned := b.Known("turned", 3, 2, 1, 0)
			idx := b.op("expand_dims", testkit.Args{"x": turned, "axes": []int{1}})
			return b.op("scatter_nd", testkit.Args{"data": x, "indices": idx, "updates": x, "mode": "update"})
		},
		"scatter of a view": func(b builder, x *graph.Value) *graph.Value {
			same := b.op("reshape", testkit.Args{"x": x, "shape": []int{4, 3}})
			return b.op("scatter", testkit.Args{"data": x, "indices": []int{3, 2, 1, 0}, "updates": same, "mode": "add"})
		},
		"slice_update backwards": func(b builder, x *graph.Value) *graph.Value {
			return b.op("slice_update", testkit.Args{"x": x, "update": x, "begin": []int{-1, 0}, "end": []int{-5, 3}, "stride": []int{-1, 1}})
		},
		"slice_update of a part": func(b builder, x *graph.Value) *graph.Value {
			part := b.op("slice_by_size", testkit.Args{"x": x, "begin": []int{0, 0}, "size": []int{3, 3}})
			return b.op("slice_update", testkit.Args{"x": x, "update": part, "begin": []int{1, 0}, "end": []int{4, 3}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := build(t)
			in := b.Input("x", graph.TensorOf(tensor.Float32, 4, 3))
			x := b.op("square", testkit.Args{"x": in}) // of this plan, and dead after the update
			b.check(f(b, x))
		})
	}
}

// TestStateShiftsByItself: a rolling buffer drops its first row and gets a new last one.
func TestStateShiftsByItself(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float16, tensor.Float32} {
		b := build(t)
		s := b.State("s", d, 4, 3)
		row := b.Input("row", graph.TensorOf(d, 1, 3))
		old := b.op("read_state", testkit.Args{"input": s})
		rest := b.op("slice_by_index", testkit.Args{"x": old, "begin": []int{1, 0}, "end": []int{4, 3}})
		moved := b.op("slice_update", testkit.Args{"x": old, "update": rest, "begin": []int{0, 0}, "end": []int{3, 3}})
		b.op("write_state", testkit.Args{"input": s, "data": moved})
		again := b.op("read_state", testkit.Args{"input": s})
		full := b.op("slice_update", testkit.Args{"x": again, "update": row, "begin": []int{3, 0}, "end": []int{4, 3}})
		b.op("write_state", testkit.Args{"input": s, "data": full})
		b.check(b.op("read_state", testkit.Args{"input": s}))
	}
}

// TestJoinedBooleansKeepTheirPlaces: elements of one byte are placed inside a result.
func TestJoinedBooleansKeepTheirPlaces(t *testing.T) {
	b := build(t)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 2, 3))
	y := b.Input("y", graph.TensorOf(tensor.Float32, 2, 3))
	p := b.op("greater", testkit.Args{"x": x, "y": y})
	q := b.op("less", testkit.Args{"x": x, "y": y})
	b.check(b.op("concat", testkit.Args{"values": []*graph.Value{p, q, p}, "axis": 0, "interleave": false}))
}
