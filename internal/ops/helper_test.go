package ops

import (
	"context"
	"math"
	"testing"

	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// args are the arguments of an operator under test, by name: a *graph.Const, a
// live value, or a list of these.
type args map[string]any

// live is an argument whose value is known only when the operator runs.
type live struct{ *graph.Const }

// floatsOf and intsOf make constants; shape nil is a scalar.
func floatsOf(shape []int, v ...float32) *graph.Const {
	return &graph.Const{Type: graph.TensorOf(tensor.Float32, shape...), Data: tensor.BytesOf(v)}
}

func intsOf(shape []int, v ...int) *graph.Const {
	k := graph.IntsConst(v...)
	k.Type.Shape = shape
	return k
}

func stringOf(s string) *graph.Const {
	return &graph.Const{Type: graph.TensorOf(tensor.String), Strings: []string{s}}
}

func boolsOf(shape []int, v ...bool) *graph.Const {
	return &graph.Const{Type: graph.TensorOf(tensor.Bool, shape...), Data: tensor.BytesOf(v)}
}

// result is one output of an operator under test.
type result struct {
	graph.Slot
	Type graph.Type
}

func (r result) f32() []float32 { return tensor.View[float32](r.Data) }
func (r result) i32() []int32   { return tensor.View[int32](r.Data) }

// oneNode makes the function that consists of one operation. in are the slots of its live arguments.
func oneNode(op *graph.Op, a args, outputs int) (fn *graph.Function, in []graph.Slot) {
	fn = &graph.Function{Name: "main", Opset: graph.IOS18, Body: &graph.Block{}}
	value := func(name string, t graph.Type) *graph.Value {
		v := &graph.Value{ID: fn.Values, Name: name, Type: t}
		fn.Values++
		return v
	}
	n := &graph.Node{Name: "node", Op: op, Args: make([][]*graph.Value, len(op.Inputs))}
	for i, input := range op.Inputs {
		list, many := a[input.Name].([]any)
		if !many && a[input.Name] != nil {
			list = []any{a[input.Name]}
		}
		for _, x := range list {
			k, known := x.(*graph.Const)
			if !known {
				k = x.(live).Const
			}
			v := value(input.Name, k.Type)
			if known {
				v.Const = k
			} else {
				fn.Body.Inputs = append(fn.Body.Inputs, v)
				in = append(in, eval.ConstSlot(k))
			}
			n.Args[i] = append(n.Args[i], v)
		}
	}
	for range outputs {
		v := value("out", graph.Type{})
		v.Def = n
		n.Out = append(n.Out, v)
	}
	fn.Body.Nodes, fn.Body.Outputs, fn.Nodes = []*graph.Node{n}, n.Out, 1
	return fn, in
}

// tryOp runs an operator serially at generic level.
func tryOp(name string, opset graph.Opset, a args, outputs int) ([]result, error) {
	return tryOpAt(cpu.Generic, name, opset, a, outputs)
}

func tryOpAt(level cpu.Level, name string, opset graph.Opset, a args, outputs int) ([]result, error) {
	fn, in := oneNode(Find(name, opset), a, outputs)
	slots, types, err := eval.New(context.Background(), fn, level, 0).Run(in)
	if err != nil {
		return nil, err
	}
	out := make([]result, len(slots))
	for i := range slots {
		out[i] = result{slots[i], types[i]}
	}
	return out, nil
}

// runOp is tryOp for calls that have to succeed, with the newest definition.
func runOp(t *testing.T, name string, a args, outputs int) []result {
	t.Helper()
	out, err := tryOp(name, graph.IOS18, a, outputs)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// near fails the test if a float result is not want within tol.
func near(t *testing.T, got result, shape []int, want []float32, tol float64) {
	t.Helper()
	if !tensor.EqualShape(got.Type.Shape, shape) {
		t.Fatalf("shape %v, want %v", got.Type.Shape, shape)
	}
	v := got.f32()
	if len(v) != len(want) {
		t.Fatalf("%d elements, want %d", len(v), len(want))
	}
	for i := range v {
		if d := math.Abs(float64(v[i]) - float64(want[i])); !(d <= tol) && v[i] != want[i] {
			t.Fatalf("element %d of %d: %v, want %v", i, len(v), v[i], want[i])
		}
	}
}
