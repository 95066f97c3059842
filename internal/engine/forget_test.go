package engine

import (
	"errors"
	"testing"
	"unsafe"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// keeps reports whether an idle run of the program has a slot inside a tensor, or one with a dictionary.
func keeps(p *program, x *tensor.Tensor) (memory, object bool) {
	lo := uintptr(unsafe.Pointer(unsafe.SliceData(x.Bytes())))
	for _, r := range p.idle {
		for _, s := range r.slots {
			at := uintptr(unsafe.Pointer(unsafe.SliceData(s.Data)))
			memory = memory || len(s.Data) > 0 && at >= lo && at < lo+uintptr(len(x.Bytes()))
			_, dict := s.Obj.(map[string]float64)
			object = object || dict
		}
	}
	return memory, object
}

// viewsAndLabels reads views of an input x, of views and in blocks, and the last result is a dictionary.
func viewsAndLabels(b builder) *graph.Function {
	block := func(in []graph.Type, f func(in []*graph.Value) *graph.Value) *graph.Block {
		n, err := b.Nested(in, func(in []*graph.Value) ([]*graph.Value, error) { return []*graph.Value{f(in)}, nil })
		if err != nil {
			b.t.Fatal(err)
		}
		return n
	}
	squeezed := func(v *graph.Value) *graph.Value { return b.op("squeeze", testkit.Args{"x": v}) }
	x, i := b.Input("x", graph.TensorOf(tensor.Float32, 2, 8)), b.Input("i", graph.TensorOf(tensor.Int32))
	flat := b.op("reshape", testkit.Args{"x": x, "shape": []int{16}})
	part := b.op("slice_by_size", testkit.Args{"x": flat, "begin": []int{4}, "size": []int{8}})
	first := b.op("gather", testkit.Args{"x": part, "indices": i, "axis": 0})
	half := func([]*graph.Value) *graph.Value {
		return b.op("reduce_sum", testkit.Args{"x": b.op("reshape", testkit.Args{"x": part, "shape": []int{2, 4}}), "axes": []int{0}})
	}
	one := b.op("reshape", testkit.Args{"x": first, "shape": []int{1}})
	sum := b.Control("cond", testkit.Args{"pred": squeezed(b.op("greater", testkit.Args{"x": one, "y": 0.0}))},
		[]graph.Type{graph.TensorOf(tensor.Float32, 4)}, block(nil, half), block(nil, half))[0]
	vars := []graph.Type{b.TypeOf(part)}
	test := block(vars, func(in []*graph.Value) *graph.Value {
		return squeezed(b.op("less", testkit.Args{"x": b.op("slice_by_size", testkit.Args{"x": in[0], "begin": []int{0}, "size": []int{1}}), "y": -1e9}))
	})
	body := block(vars, func(in []*graph.Value) *graph.Value { return in[0] })
	looped := b.Control("while_loop", testkit.Args{"loop_vars": []*graph.Value{part}}, vars, test, body)[0]
	labels := b.Const(&graph.Const{Type: graph.TensorOf(tensor.String, 4), Strings: []string{"a", "b", "c", "d"}})
	class := b.Control("classify", testkit.Args{"probabilities": sum, "classes": labels},
		[]graph.Type{graph.TensorOf(tensor.String), {Kind: graph.KindDict}})
	return b.Function(sum, looped, class[0], class[1])
}

func TestIdleRunsKeepNothingOfTheCaller(t *testing.T) {
	p := newProgram(viewsAndLabels(build(t)), cpu.Best(), backend.Config{})
	defer p.Close()
	p.feats, _ = newFeatures(p.fn, nothing)
	in, err := tensor.Make(tensor.Float32, []int{2, 8})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out, err := predict(p, nil, tensor.Features{"x": in, "i": int64(0)})
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := out[p.feats.out[3].name].(map[string]float64); !ok || len(d) != 4 {
			t.Errorf("probabilities %v, want four", d)
		}
		if memory, object := keeps(p, in); memory || object {
			t.Errorf("an idle run keeps the input: %v, a result: %v", memory, object)
		}
	}
	if _, err := predict(p, nil, tensor.Features{"x": in, "i": int64(99)}); !errors.Is(err, fault.Runtime) {
		t.Fatalf("an index out of range: %v, want %v", err, fault.Runtime)
	}
	if memory, object := keeps(p, in); memory || object {
		t.Errorf("after a run that failed an idle one keeps the input: %v, a result: %v", memory, object)
	}
}
