package ops

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// hostileType is a tensor type as a file may declare it, up to sizes that nobody has memory for.
func hostileType(r *rand.Rand, a graph.Accept) graph.Type {
	var of []tensor.DType
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float16, tensor.Int32, tensor.Int8, tensor.UInt16, tensor.Bool, tensor.String} {
		if a.Takes(graph.TensorOf(d)) {
			of = append(of, d)
		}
	}
	if len(of) == 0 {
		return graph.TensorOf(tensor.Float32)
	}
	d := of[r.IntN(len(of))]
	if likely := [][]int{{}, {3}, {1, 3, 4}, {2, 4, 3}}; r.IntN(2) == 0 {
		return graph.TensorOf(d, likely[r.IntN(len(likely))]...)
	}
	sizes := []int{0, 1, 2, 3, 4, 7, 1 << 20}
	shape := make([]int, r.IntN(6))
	for i := range shape {
		shape[i] = sizes[r.IntN(len(sizes))]
	}
	if _, ok := tensor.Elements(shape); !ok {
		shape = nil
	}
	return graph.TensorOf(d, shape...)
}

// hostileConst is a small constant with extreme values.
func hostileConst(r *rand.Rand, a graph.Accept) *graph.Const {
	t := hostileType(r, a)
	if n := t.Elements(); n > 64 {
		t.Shape = nil
	}
	k := &graph.Const{Type: t}
	if t.DType == tensor.String {
		words := []string{"", "fp16", "int32", "EXACT", "logits", "constant", "same", "none"}
		for range t.Elements() {
			k.Strings = append(k.Strings, words[r.IntN(len(words))])
		}
		return k
	}
	k.Data = make([]byte, t.Elements()*max(t.DType.Size(), 1))
	switch small := []int{-3, -2, -1, 0, 1, 2, 3}; {
	case t.DType == tensor.Int32 && r.IntN(3) > 0:
		v := tensor.View[int32](k.Data)
		for i := range v {
			v[i] = int32(small[r.IntN(len(small))])
		}
	case t.DType == tensor.Bool:
		for i := range k.Data {
			k.Data[i] = byte(r.IntN(2))
		}
	default:
		for i := range k.Data {
			k.Data[i] = byte(r.IntN(256))
		}
	}
	return k
}

// TestInferSurvivesAnything gives operators types and attributes that no converter would write: Infer,
// and Prepare of what Infer lets through, answer or refuse, and allocate nothing by declared sizes.
func TestInferSurvivesAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for _, op := range slices.Concat(unaryOps, activationOps, binaryOps, compareOps, convertOps, reduceOps, normOps, softmaxOps, sortOps, nmsOps, classifyOps, randomOps) {
		accepted := 0
		for i := 0; i < 1000 || accepted < 5 && i < 100000; i++ {
			if hostileCall(t, r, op) {
				accepted++
			}
		}
		if accepted == 0 {
			t.Errorf("%s: no call was accepted, the test does not reach it", op.Name)
		}
	}
}

// hostileCall makes one call and reports whether Infer took it.
func hostileCall(t *testing.T, r *rand.Rand, op *graph.Op) (taken bool) {
	a := args{}
	for i, in := range op.Inputs {
		if (in.Optional && r.IntN(2) == 0) || in.Accept.Takes(graph.Type{Kind: graph.KindState}) {
			continue
		}
		if i == 0 && in.Accept&graph.Float != 0 || r.IntN(4) == 0 {
			a[in.Name] = live{&graph.Const{Type: hostileType(r, in.Accept&^graph.String)}}
		} else {
			a[in.Name] = hostileConst(r, in.Accept)
		}
	}
	c := graph.NewCall(typedNode(op, a), cpu.Generic, func(v *graph.Value) graph.Operand {
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	c.Store = atOnce{}
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s of %s: %v", op.Name, describeArgs(c), p)
		}
	}()
	types, err := op.Infer(c)
	if err != nil {
		return false
	}
	for i := range types {
		if _, ok := tensor.Elements(types[i].Shape); !ok {
			t.Fatalf("%s of %s: result %v", op.Name, describeArgs(c), types[i])
		}
		if i < len(c.Out) {
			c.Out[i].Type = types[i]
		}
	}
	if op.Fit != nil {
		op.Fit(c, graph.Blocked)
	}
	if op.Alias != nil {
		op.Alias(c)
	}
	op.Prepare(c)
	return true
}

func describeArgs(c *graph.Call) string {
	s := ""
	for i := range c.Op.Inputs {
		if c.Given(i) {
			s += fmt.Sprintf(" %s=%v", c.Op.Inputs[i].Name, c.Type(i))
			if k := c.In[c.At(i)].Const; k != nil {
				s += fmt.Sprint(k.Strings, k.Data)
			}
		}
	}
	return s
}

// typedNode is an operation whose live arguments have a type and no memory.
func typedNode(op *graph.Op, a args) *graph.Node {
	n := &graph.Node{Name: "node", Op: op, Args: make([][]*graph.Value, len(op.Inputs))}
	for i, in := range op.Inputs {
		switch x := a[in.Name].(type) {
		case *graph.Const:
			n.Args[i] = []*graph.Value{{ID: i, Name: in.Name, Type: x.Type, Const: x}}
		case live:
			n.Args[i] = []*graph.Value{{ID: i, Name: in.Name, Type: x.Type}}
		}
	}
	for k := range 4 {
		n.Out = append(n.Out, &graph.Value{ID: len(op.Inputs) + k, Name: "out", Def: n})
	}
	return n
}
