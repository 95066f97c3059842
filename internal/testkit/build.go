package testkit

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/ops"
	"coreml/tensor"
)

// Builder makes the graph of a function, one operation after the other.
type Builder struct {
	fn    *graph.Function
	block *graph.Block
	// known are values that the builder's user will give to inputs: shapes are inferred from them.
	known map[*graph.Value]*graph.Const
	types map[*graph.Value]graph.Type // concrete, where Value.Type leaves sizes open
}

// NewBuilder starts a function.
func NewBuilder(opset graph.Opset) *Builder {
	body := &graph.Block{}
	return &Builder{fn: &graph.Function{Name: "main", Opset: opset, Body: body}, block: body,
		known: map[*graph.Value]*graph.Const{}, types: map[*graph.Value]graph.Type{}}
}

// Function ends the function.
func (b *Builder) Function(outputs ...*graph.Value) *graph.Function {
	b.fn.Body.Outputs = outputs
	return b.fn
}

func (b *Builder) value(name string, t graph.Type) *graph.Value {
	v := &graph.Value{ID: b.fn.Values, Name: name, Type: t}
	b.fn.Values++
	b.types[v] = t
	return v
}

// Input adds an input.
func (b *Builder) Input(name string, t graph.Type) *graph.Value {
	v := b.value(name, t)
	b.fn.Body.Inputs = append(b.fn.Body.Inputs, v)
	return v
}

// State adds a state.
func (b *Builder) State(name string, d tensor.DType, shape ...int) *graph.Value {
	v := b.Input(name, graph.Type{DType: d, Shape: shape, Kind: graph.KindState})
	b.fn.States = append(b.fn.States, v)
	return v
}

// Known adds an int32 vector as an input that will be given exactly these
// values: results may have shapes that only the run knows.
func (b *Builder) Known(name string, v ...int) *graph.Value {
	in := b.Input(name, graph.TensorOf(tensor.Int32, len(v)))
	b.known[in] = graph.IntsConst(v...)
	return in
}

// KnownInputs are the inputs made by Known, and their values.
func (b *Builder) KnownInputs() map[*graph.Value]*graph.Const { return b.known }

// Const adds a constant.
func (b *Builder) Const(k *graph.Const) *graph.Value {
	v := b.value(fmt.Sprintf("k%d", b.fn.Values), k.Type)
	v.Const = k
	return v
}

// Floats adds a float32 constant.
func (b *Builder) Floats(data []float32, shape ...int) *graph.Value {
	return b.Const(&graph.Const{Type: graph.TensorOf(tensor.Float32, shape...), Data: tensor.BytesOf(data)})
}

// TypeOf is a value's type with all sizes.
func (b *Builder) TypeOf(v *graph.Value) graph.Type { return b.types[v] }

// Args are the arguments of an operation by name: values, lists of values, or Go values that become constants.
type Args map[string]any

// Op adds an operation and infers its results.
func (b *Builder) Op(name string, args Args, blocks ...*graph.Block) ([]*graph.Value, error) {
	op := ops.Find(name, b.fn.Opset)
	if op == nil {
		return nil, fmt.Errorf("testkit: no operator %s in opset %v", name, b.fn.Opset)
	}
	n := &graph.Node{ID: b.fn.Nodes, Name: fmt.Sprintf("%s_%d", name, b.fn.Nodes), Op: op, Args: make([][]*graph.Value, len(op.Inputs)), Blocks: blocks}
	used := 0
	for i, in := range op.Inputs {
		a, ok := args[in.Name]
		if !ok {
			if !in.Optional && !in.Variadic {
				return nil, fmt.Errorf("testkit: %s: no %s", name, in.Name)
			}
			continue
		}
		used++
		n.Args[i] = b.argument(a)
	}
	if used != len(args) {
		return nil, fmt.Errorf("testkit: %s: arguments %v, some of which it does not have", name, args)
	}
	for range results(name, args) {
		n.Out = append(n.Out, &graph.Value{Def: n})
	}
	types, err := b.infer(n)
	if err == nil && len(types) != len(n.Out) {
		err = fmt.Errorf("%d results, want %d", len(types), len(n.Out))
	}
	if err != nil {
		return nil, fmt.Errorf("testkit: %s: %w", name, err)
	}
	b.add(n, types)
	return n.Out, nil
}

// results is the number of results of an operation.
func results(name string, args Args) int {
	switch name {
	case "split":
		if s, ok := args["split_sizes"].([]int); ok {
			return len(s)
		}
		return args["num_splits"].(int)
	case "topk":
		return 2
	case "write_state":
		return 0
	}
	return 1
}

// add appends a node whose results have the given types.
func (b *Builder) add(n *graph.Node, types []graph.Type) {
	b.fn.Nodes++
	n.Out = nil
	for i, t := range types {
		v := b.value(fmt.Sprintf("%s_%d", n.Name, i), t)
		v.Def = n
		n.Out = append(n.Out, v)
	}
	b.block.Nodes = append(b.block.Nodes, n)
}

func (b *Builder) argument(a any) []*graph.Value {
	switch a := a.(type) {
	case *graph.Value:
		return []*graph.Value{a}
	case []*graph.Value:
		return a
	case int:
		k := graph.IntsConst(a)
		k.Type.Shape = nil
		return []*graph.Value{b.Const(k)}
	case []int:
		return []*graph.Value{b.Const(graph.IntsConst(a...))}
	case float64:
		return []*graph.Value{b.Floats([]float32{float32(a)})}
	case bool:
		k := graph.Const{Type: graph.TensorOf(tensor.Bool), Data: []byte{0}}
		if a {
			k.Data[0] = 1
		}
		return []*graph.Value{b.Const(&k)}
	case []bool:
		k := graph.Const{Type: graph.TensorOf(tensor.Bool, len(a)), Data: make([]byte, len(a))}
		for i, x := range a {
			if x {
				k.Data[i] = 1
			}
		}
		return []*graph.Value{b.Const(&k)}
	case string:
		return []*graph.Value{b.Const(&graph.Const{Type: graph.TensorOf(tensor.String), Strings: []string{a}})}
	}
	panic(fmt.Sprintf("BUG: testkit: argument of type %T", a))
}

func (b *Builder) infer(n *graph.Node) ([]graph.Type, error) {
	c := graph.NewCall(n, cpu.Generic, func(v *graph.Value) graph.Operand {
		k := v.Const
		if k == nil {
			k = b.known[v]
		}
		return graph.Operand{Value: v, Type: b.types[v], Const: k}
	})
	return op(c)
}

// op asks an operator for its types; a panic is its error.
func op(c *graph.Call) (types []graph.Type, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Infer: %v", p)
		}
	}()
	return c.Op.Infer(c)
}

// Nested makes a block: f adds its operations and gives its results.
func (b *Builder) Nested(inputs []graph.Type, f func(in []*graph.Value) ([]*graph.Value, error)) (*graph.Block, error) {
	outer := b.block
	defer func() { b.block = outer }()
	b.block = &graph.Block{}
	for i, t := range inputs {
		b.block.Inputs = append(b.block.Inputs, b.value(fmt.Sprintf("b%d_%d", b.fn.Values, i), t))
	}
	out, err := f(b.block.Inputs)
	b.block.Outputs = out
	return b.block, err
}

// Control adds cond or while_loop, whose results have the given types.
func (b *Builder) Control(name string, args Args, types []graph.Type, blocks ...*graph.Block) []*graph.Value {
	op := ops.Find(name, b.fn.Opset)
	n := &graph.Node{ID: b.fn.Nodes, Name: fmt.Sprintf("%s_%d", name, b.fn.Nodes), Op: op, Args: make([][]*graph.Value, len(op.Inputs)), Blocks: blocks}
	for i, in := range op.Inputs {
		n.Args[i] = b.argument(args[in.Name])
	}
	b.add(n, types)
	return n.Out
}

// Open declares the sizes of v unknown before the run.
func (b *Builder) Open(v *graph.Value) {
	open := make([]int, len(v.Type.Shape))
	for i := range open {
		open[i] = -1
	}
	v.Type.Shape = open
}
