package ops

import (
	"errors"
	"math"
	"slices"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// opCase is an operator applied to small operands whose result is known.
type opCase struct {
	op    string
	opset graph.Opset // 0: the newest
	a     args
	shape []int
	want  []float32 // of any dtype
}

func (c opCase) run(t *testing.T) {
	t.Helper()
	if c.opset == 0 {
		c.opset = graph.IOS18
	}
	got, err := tryOp(c.op, c.opset, c.a, 1)
	if err != nil {
		t.Errorf("%s %v: %v", c.op, c.a, err)
		return
	}
	if !tensor.EqualShape(got[0].Type.Shape, c.shape) || !slices.Equal(elementsOf(got[0]), c.want) {
		t.Errorf("%s %v: %v %v, want %v %v", c.op, c.a, got[0].Type.Shape, elementsOf(got[0]), c.shape, c.want)
	}
}

// elementsOf is a result of any dtype.
func elementsOf(r result) []float32 {
	k := &graph.Const{Type: r.Type, Data: r.Data, Held: true}
	k.Type.Shape = r.Shape
	return k.Floats()
}

// count is the tensor 0, 1, 2, … of a shape, known to the run only.
func count(shape ...int) live { return live{upto(shape...)} }

func upto(shape ...int) *graph.Const {
	v := make([]float32, volume(shape))
	for i := range v {
		v[i] = float32(i)
	}
	return floatsOf(shape, v...)
}

func vector(v ...int) *graph.Const { return intsOf([]int{len(v)}, v...) }
func single(v int) *graph.Const    { return intsOf(nil, v) }

func TestMovingOperators(t *testing.T) {
	yes, no := true, false
	for _, c := range []opCase{
		{"reshape", 0, args{"x": count(2, 3), "shape": vector(3, -1)}, []int{3, 2}, []float32{0, 1, 2, 3, 4, 5}},
		{"reshape", graph.IOS15, args{"x": count(2, 3), "shape": vector(0, 1, -1)}, nil, nil},
		{"reshape", graph.IOS15, args{"x": count(2, 3), "shape": vector(0, -1)}, []int{2, 3}, []float32{0, 1, 2, 3, 4, 5}},
		{"reshape", 0, args{"x": count(2, 3), "shape": vector(1, 0, -1, 0)}, []int{1, 1, 2, 3}, []float32{0, 1, 2, 3, 4, 5}},
		{"reshape_like", 0, args{"x": count(6), "ref_tensors": []any{count(2, 3, 4), count(1, 3, 6)}, "begins": []any{single(0), single(-2)},
			"ends": []any{single(1), single(2)}, "end_masks": []any{boolsOf(nil, no), boolsOf(nil, no)}}, []int{2, 3}, []float32{0, 1, 2, 3, 4, 5}},
		{"expand_dims", 0, args{"x": count(3), "axes": vector(0, -1)}, []int{1, 3, 1}, []float32{0, 1, 2}},
		{"squeeze", 0, args{"x": count(1, 3, 1), "axes": vector(-1, 1)}, []int{1, 3}, []float32{0, 1, 2}},
		{"squeeze", 0, args{"x": count(1, 1)}, []int{}, []float32{0}},
		{"flatten2d", 0, args{"x": count(3), "axis": single(1)}, []int{3, 1}, []float32{0, 1, 2}},
		{"flatten2d", 0, args{"x": count(1, 2, 2), "axis": single(-1)}, []int{2, 2}, []float32{0, 1, 2, 3}},
		{"transpose", 0, args{"x": count(2, 3), "perm": vector(-1, 0)}, []int{3, 2}, []float32{0, 3, 1, 4, 2, 5}},
		{"reverse", 0, args{"x": count(2, 2)}, []int{2, 2}, []float32{3, 2, 1, 0}},
		{"reverse", 0, args{"x": count(2, 2), "axes": vector(-1)}, []int{2, 2}, []float32{1, 0, 3, 2}},
		{"tile", 0, args{"x": count(1, 2), "reps": vector(2, 2)}, []int{2, 4}, []float32{0, 1, 0, 1, 0, 1, 0, 1}},
		{"tile", 0, args{"x": count(2), "reps": vector(0)}, []int{0}, []float32{}},
		{"slice_by_index", 0, args{"x": count(3, 4), "begin": vector(-1, 3), "end": vector(0, 0), "stride": vector(1, -2),
			"squeeze_mask": boolsOf([]int{2}, yes, no)}, []int{2}, []float32{11, 9}},
		{"slice_by_index", 0, args{"x": count(5), "begin": vector(7), "end": vector(9), "stride": vector(-2),
			"begin_mask": boolsOf([]int{1}, yes), "end_mask": boolsOf([]int{1}, yes)}, []int{3}, []float32{4, 2, 0}},
		{"slice_by_index", 0, args{"x": count(5), "begin": vector(3), "end": vector(1)}, []int{0}, []float32{}},
		{"slice_by_index", 0, args{"x": count(3, 2), "begin": live{vector(-2, 7)}, "end": live{vector(0, 0)}, "begin_mask": boolsOf([]int{2}, no, yes),
			"end_mask": boolsOf([]int{2}, no, yes), "squeeze_mask": boolsOf([]int{2}, yes, no)}, []int{2}, []float32{2, 3}},
		{"slice_by_size", 0, args{"x": count(5), "begin": vector(-2), "size": vector(-1)}, []int{2}, []float32{3, 4}},
		{"slice_by_size", 0, args{"x": count(2, 3), "begin": live{vector(1, 1)}, "size": vector(1, 2)}, []int{1, 2}, []float32{4, 5}},
		{"slice_update", 0, args{"x": count(2, 3), "update": live{floatsOf([]int{2}, 8, 9)}, "begin": live{vector(0, 1)}, "end": live{vector(0, 3)},
			"squeeze_mask": boolsOf([]int{2}, yes, no)}, []int{2, 3}, []float32{0, 8, 9, 3, 4, 5}},
		{"slice_update", 0, args{"x": count(4), "update": live{floatsOf([]int{2}, 8, 9)}, "begin": vector(3), "end": vector(0), "stride": vector(-2)},
			[]int{4}, []float32{0, 9, 2, 8}},
		{"crop", 0, args{"x": count(1, 3, 4), "crop_height": vector(1, 0), "crop_width": vector(1, 2)}, []int{1, 2, 1}, []float32{5, 9}},
		{"concat", 0, args{"values": []any{count(1, 2), count(1, 1)}, "axis": single(-1)}, []int{1, 3}, []float32{0, 1, 0}},
		{"concat", 0, args{"values": []any{count(2, 2), floatsOf([]int{2, 2}, 9, 8, 7, 6)}, "axis": single(0), "interleave": boolsOf(nil, yes)},
			[]int{4, 2}, []float32{0, 1, 9, 8, 2, 3, 7, 6}},
		{"concat", 0, args{"values": []any{live{floatsOf(nil, 4)}, floatsOf(nil, 5)}, "axis": single(0)}, []int{2}, []float32{4, 5}},
		{"stack", 0, args{"values": []any{count(2), floatsOf([]int{2}, 8, 9)}, "axis": single(-1)}, []int{2, 2}, []float32{0, 8, 1, 9}},
		{"identity", 0, args{"x": live{boolsOf([]int{3}, yes, no, yes)}}, []int{3}, []float32{1, 0, 1}},
	} {
		if c.want != nil {
			c.run(t)
		} else if _, err := tryOp(c.op, c.opset, c.a, 1); err == nil {
			t.Errorf("%s %v of %v: accepted", c.op, c.a, c.opset)
		}
	}
}

// TestIndicesThatAreLeftToTheRun: shapes that do not depend on them are known before.
func TestIndicesThatAreLeftToTheRun(t *testing.T) {
	masks := args{"x": count(3, 2), "begin": live{vector(1, 0)}, "end": live{vector(2, 0)}, "begin_mask": boolsOf([]int{2}, false, true),
		"end_mask": boolsOf([]int{2}, false, true), "squeeze_mask": boolsOf([]int{2}, true, false)}
	for op, a := range map[string]args{
		"slice_by_index": masks,
		"slice_by_size":  {"x": count(3, 2), "begin": live{vector(1, 0)}, "size": vector(1, 2)},
		"slice_update":   {"x": count(3, 2), "update": count(1, 2), "begin": live{vector(1, 0)}, "end": live{vector(2, 2)}},
	} {
		fn, _ := oneNode(Find(op, graph.IOS18), a, 1)
		c := graph.NewCall(fn.Body.Nodes[0], cpu.Generic, func(v *graph.Value) graph.Operand { return graph.Operand{Value: v, Type: v.Type, Const: v.Const} })
		if _, err := c.Op.Infer(c); err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	masks["squeeze_mask"] = boolsOf([]int{2}, false, false)
	fn, _ := oneNode(Find("slice_by_index", graph.IOS18), masks, 1)
	c := graph.NewCall(fn.Body.Nodes[0], cpu.Generic, func(v *graph.Value) graph.Operand { return graph.Operand{Value: v, Type: v.Type, Const: v.Const} })
	if _, err := c.Op.Infer(c); !errors.As(err, new(graph.NeedValue)) {
		t.Errorf("a size that depends on begin: %v", err)
	}
}

func TestSplit(t *testing.T) {
	got := runOp(t, "split", args{"x": count(2, 5), "split_sizes": vector(2, 0, 3), "axis": single(1)}, 3)
	for i, want := range [][]float32{{0, 1, 5, 6}, {}, {2, 3, 4, 7, 8, 9}} {
		if !slices.Equal(got[i].f32(), want) {
			t.Errorf("part %d: %v, want %v", i, got[i].f32(), want)
		}
	}
	got = runOp(t, "split", args{"x": count(4), "num_splits": single(2), "axis": single(0)}, 2)
	if !slices.Equal(got[1].f32(), []float32{2, 3}) {
		t.Errorf("half: %v", got[1].f32())
	}
}

func TestMakingOperators(t *testing.T) {
	for _, c := range []opCase{
		{"shape", 0, args{"x": count(2, 3)}, []int{2}, []float32{2, 3}},
		{"fill", 0, args{"shape": vector(2), "value": single(7)}, []int{2}, []float32{7, 7}},
		{"fill_like", 0, args{"ref_tensor": count(2), "value": boolsOf(nil, true)}, []int{2}, []float32{1, 1}},
		{"one_hot", 0, args{"indices": live{vector(1, -1, 5)}, "one_hot_vector_size": single(2), "axis": single(0), "on_value": floatsOf(nil, 3),
			"off_value": floatsOf(nil, 4)}, []int{2, 3}, []float32{4, 4, 4, 3, 4, 4}},
		{"one_hot", 0, args{"indices": live{single(1)}, "one_hot_vector_size": single(2)}, []int{2}, []float32{0, 1}},
		{"range_1d", 0, args{"start": single(5), "end": single(0), "step": single(-2)}, []int{3}, []float32{5, 3, 1}},
		{"range_1d", 0, args{"start": floatsOf(nil, 0), "end": floatsOf(nil, 1), "step": floatsOf(nil, 0.25)}, []int{4}, []float32{0, 0.25, 0.5, 0.75}},
		{"range_1d", 0, args{"start": single(3), "end": single(1), "step": single(1)}, []int{0}, []float32{}},
		{"non_zero", 0, args{"x": live{floatsOf([]int{2, 2}, 0, 3, -1, float32(math.Copysign(0, -1)))}}, []int{2, 2}, []float32{0, 1, 1, 0}},
		{"band_part", 0, args{"x": count(3, 3), "lower": single(0), "upper": single(1)}, []int{3, 3}, []float32{0, 1, 0, 0, 4, 5, 0, 0, 8}},
		{"pad", 0, args{"x": count(2, 2), "pad": vector(1, 0), "constant_val": floatsOf(nil, 9)}, []int{2, 3}, []float32{9, 0, 1, 9, 2, 3}},
		{"pad", 0, args{"x": count(1, 2), "pad": vector(1, 0, 0, 1), "constant_val": floatsOf(nil, 9)}, []int{2, 3}, []float32{9, 9, 9, 0, 1, 9}},
		{"pad", 0, args{"x": count(3), "pad": vector(2, 1), "mode": stringOf("reflect")}, []int{6}, []float32{2, 1, 0, 1, 2, 1}},
		{"pad", 0, args{"x": count(2, 2), "pad": vector(1, 0, 0, 2), "mode": stringOf("replicate")}, []int{3, 4},
			[]float32{0, 1, 1, 1, 0, 1, 1, 1, 2, 3, 3, 3}},
	} {
		c.run(t)
	}
}

func TestGatheringOperators(t *testing.T) {
	for _, c := range []opCase{
		{"gather", 0, args{"x": count(3, 2), "indices": live{vector(2, -3)}}, []int{2, 2}, []float32{4, 5, 0, 1}},
		{"gather", 0, args{"x": count(2, 3), "indices": live{single(1)}, "axis": single(-1)}, []int{2}, []float32{1, 4}},
		{"gather", 0, args{"x": count(2, 3, 1), "indices": live{intsOf([]int{2, 1}, 2, 0)}, "axis": single(1), "batch_dims": single(1)},
			[]int{2, 1, 1}, []float32{2, 3}},
		{"gather_along_axis", 0, args{"x": count(2, 3), "indices": live{intsOf([]int{2, 2}, 2, 0, -1, 1)}, "axis": single(1)}, []int{2, 2}, []float32{2, 0, 5, 4}},
		{"gather_nd", 0, args{"x": count(2, 3), "indices": live{intsOf([]int{2, 2}, 1, 2, 0, -1)}}, []int{2}, []float32{5, 2}},
		{"gather_nd", 0, args{"x": count(2, 3), "indices": live{intsOf([]int{2, 1, 1}, 2, 0)}, "batch_dims": single(1)}, []int{2, 1}, []float32{2, 3}},
		{"scatter", 0, args{"data": count(3, 2), "indices": live{vector(2, 2)}, "updates": live{floatsOf([]int{2, 2}, 1, 2, 3, 4)}},
			[]int{3, 2}, []float32{0, 1, 2, 3, 8, 11}},
		{"scatter", 0, args{"data": count(2, 2), "indices": live{vector(-1)}, "updates": live{floatsOf([]int{2, 1}, 8, 9)}, "axis": single(1), "mode": stringOf("update")},
			[]int{2, 2}, []float32{0, 8, 2, 9}},
		{"scatter_along_axis", 0, args{"data": count(2, 2), "indices": live{intsOf([]int{1, 2}, 1, 0)}, "updates": live{floatsOf([]int{1, 2}, 5, 6)},
			"mode": stringOf("max")}, []int{2, 2}, []float32{0, 6, 5, 3}},
		{"scatter_nd", 0, args{"data": count(2, 2), "indices": live{intsOf([]int{2, 1}, 1, 1)}, "updates": live{floatsOf([]int{2, 2}, 1, 1, 2, 2)}, "mode": stringOf("sub")},
			[]int{2, 2}, []float32{0, 1, -1, 0}},
		{"scatter_nd", 0, args{"data": live{vector(7, -7, 5)}, "indices": live{intsOf([]int{3, 1}, 0, 1, 2)}, "updates": live{vector(2, 2, 0)}, "mode": stringOf("div")},
			[]int{3}, []float32{3, -4, 0}},
	} {
		c.run(t)
	}
}

func TestGatherOfALargeConstantReadsItsRows(t *testing.T) {
	table := upto(decodeElems+2, 2)
	half := make([]uint16, len(table.Data)/4)
	tensor.F16Slice(half, tensor.View[float32](table.Data))
	table = &graph.Const{Type: graph.TensorOf(tensor.Float16, table.Type.Shape...), Data: tensor.BytesOf(half)}
	opCase{"gather", 0, args{"x": table, "indices": live{vector(3, 100, 0)}}, []int{3, 2}, []float32{6, 7, 200, 201, 0, 1}}.run(t)
}

func TestIndicesOutOfRangeAreErrors(t *testing.T) {
	for _, c := range []struct {
		op string
		a  args
	}{
		{"gather", args{"x": count(3), "indices": live{vector(3)}}},
		{"gather", args{"x": upto(decodeElems + 1), "indices": live{vector(decodeElems + 1)}}},
		{"gather_along_axis", args{"x": count(3), "indices": live{vector(-4)}}},
		{"gather_nd", args{"x": count(3, 2), "indices": live{vector(0, 2)}}},
		{"scatter", args{"data": count(3), "indices": live{vector(3)}, "updates": count(1)}},
		{"scatter", args{"data": count(3), "indices": live{vector(-1)}, "updates": count(1), "validate_indices": boolsOf(nil, true)}},
		{"scatter_nd", args{"data": count(3), "indices": live{intsOf([]int{1, 1}, -1)}, "updates": count(1), "validate_indices": boolsOf(nil, true)}},
		{"scatter_along_axis", args{"data": count(3), "indices": live{vector(1 << 30)}, "updates": count(1)}},
		{"slice_by_size", args{"x": count(3), "begin": live{vector(2)}, "size": vector(2)}},
		{"slice_by_index", args{"x": count(3), "begin": live{vector(3)}, "end": live{vector(0)}, "squeeze_mask": boolsOf([]int{1}, true)}},
		{"slice_update", args{"x": count(3), "update": count(2), "begin": live{vector(2)}, "end": live{vector(5)}}},
	} {
		if _, err := tryOp(c.op, graph.IOS18, c.a, 1); err == nil {
			t.Errorf("%s %v: no error", c.op, c.a)
		}
	}
}
