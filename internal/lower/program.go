// Package lower turns models into graphs. [Graph] is the only entry.
package lower

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/mlmodel"
	"coreml/internal/ops"
	"coreml/internal/spec"
	"coreml/tensor"
)

// maxDepth bounds how deep blocks may be nested.
const maxDepth = 64

// Graph makes the graph of one function of a model; name "" is the default one.
// Operators that do not exist here fail with ErrUnsupported, by name.
func Graph(m *mlmodel.Model, name string) (*graph.Function, error) {
	p := m.Spec.GetMlProgram()
	if p == nil {
		return nil, fmt.Errorf("lower: model type %s: %w: want mlProgram", m.Description.ModelType, fault.Unsupported)
	}
	name, f, err := pick(m, p, name)
	if err != nil {
		return nil, err
	}
	opset, err := opsetOf(f.GetOpset())
	if err != nil {
		return nil, fmt.Errorf("lower: function %s: %w", fault.Quote(name), err)
	}
	b := f.GetBlockSpecializations()[f.GetOpset()]
	if b == nil {
		return nil, fmt.Errorf("lower: function %s: no block for its opset %s: %w", fault.Quote(name), fault.Quote(f.GetOpset()), fault.Invalid)
	}
	r := &reader{model: m, fn: &graph.Function{Name: name, Opset: opset}}
	r.fn.Body, err = r.block(nil, f.GetInputs(), b, 0)
	if err != nil {
		return nil, fmt.Errorf("lower: function %s: %w", fault.Quote(name), err)
	}
	for _, v := range r.fn.Body.Inputs {
		if v.Type.Kind == graph.KindState {
			if !v.Type.Static() || v.Type.DType == tensor.String {
				return nil, fmt.Errorf("lower: function %s: state %s: %v: %w: want numbers, and a known size", fault.Quote(name), fault.Quote(v.Name), v.Type, fault.Unsupported)
			}
			r.fn.States = append(r.fn.States, v)
		}
	}
	return r.fn, nil
}

func pick(m *mlmodel.Model, p *spec.Program, name string) (string, *spec.Function, error) {
	fs := p.GetFunctions()
	if name == "" {
		name = m.Spec.GetDescription().GetDefaultFunctionName()
	}
	if name == "" {
		name = "main"
	}
	if f := fs[name]; f != nil {
		return name, f, nil
	}
	var have []string
	for n := range fs {
		have = append(have, n)
	}
	sort.Strings(have)
	return "", nil, fmt.Errorf("lower: function %s: not in this model: %w: want %s", fault.Quote(name), fault.Invalid, fault.OneOf(have))
}

func opsetOf(s string) (graph.Opset, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "CoreML"))
	if err != nil || !strings.HasPrefix(s, "CoreML") {
		return 0, fmt.Errorf("opset %s: %w: want CoreML5 to CoreML9", fault.Quote(s), fault.Invalid)
	}
	if n < int(graph.IOS15) || n > int(graph.IOS26) {
		return 0, fmt.Errorf("opset %s: %w: want CoreML5 to CoreML9", fault.Quote(s), fault.Unsupported)
	}
	return graph.Opset(n), nil
}

type reader struct {
	model *mlmodel.Model
	fn    *graph.Function
}

// scope finds values by name, in this block and in those around it.
type scope struct {
	up     *scope
	values map[string]*graph.Value
}

func (s *scope) find(name string) *graph.Value {
	for ; s != nil; s = s.up {
		if v := s.values[name]; v != nil {
			return v
		}
	}
	return nil
}

func (s *scope) add(v *graph.Value) error {
	if s.values[v.Name] != nil {
		return fmt.Errorf("value %s: defined twice: %w", fault.Quote(v.Name), fault.Invalid)
	}
	s.values[v.Name] = v
	return nil
}

func (r *reader) value(name string, t graph.Type, def *graph.Node) *graph.Value {
	v := &graph.Value{ID: r.fn.Values, Name: name, Type: t, Def: def}
	r.fn.Values++
	return v
}

func (r *reader) block(up *scope, inputs []*spec.NamedValueType, b *spec.Block, depth int) (*graph.Block, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("blocks nested deeper than %d: %w", maxDepth, fault.Limit)
	}
	s := &scope{up: up, values: map[string]*graph.Value{}}
	out := &graph.Block{}
	for _, in := range append(inputs, b.GetInputs()...) {
		t, err := typeOf(in.GetType())
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", fault.Quote(in.GetName()), err)
		}
		v := r.value(in.GetName(), t, nil)
		if err := s.add(v); err != nil {
			return nil, err
		}
		out.Inputs = append(out.Inputs, v)
	}
	for i, o := range b.GetOperations() {
		n, err := r.operation(s, o, depth)
		if err != nil {
			return nil, fmt.Errorf("operation %s: %w", describe(o, i), err)
		}
		if n != nil {
			out.Nodes = append(out.Nodes, n)
		}
	}
	for _, name := range b.GetOutputs() {
		v := s.find(name)
		if v == nil {
			return nil, fmt.Errorf("output %s: no operation computes it: %w", fault.Quote(name), fault.Invalid)
		}
		if v.Type.Kind == graph.KindState {
			return nil, fmt.Errorf("output %s: %v: %w: want what an operation computes", fault.Quote(name), v.Type, fault.Invalid)
		}
		out.Outputs = append(out.Outputs, v)
	}
	return out, nil
}

// describe names an operation in an error: "conv_3" (conv).
func describe(o *spec.Operation, i int) string {
	name := "#" + strconv.Itoa(i)
	if outs := o.GetOutputs(); len(outs) > 0 {
		name = fault.Quote(outs[0].GetName())
	}
	return name + " (" + fault.Name(o.GetType()) + ")"
}

// operation adds one operation; nil for a constant, which is only a value.
func (r *reader) operation(s *scope, o *spec.Operation, depth int) (*graph.Node, error) {
	if o.GetType() == "const" {
		return nil, r.constant(s, o)
	}
	op := ops.Find(o.GetType(), r.fn.Opset)
	if op == nil {
		return nil, fmt.Errorf("%w: op %s of opset %v", fault.Unsupported, fault.Name(o.GetType()), r.fn.Opset)
	}
	n := &graph.Node{ID: r.fn.Nodes, Op: op, Name: nodeName(o), Args: make([][]*graph.Value, len(op.Inputs))}
	r.fn.Nodes++
	if err := r.arguments(s, o, n); err != nil {
		return nil, err
	}
	for _, b := range o.GetBlocks() {
		in, err := r.block(s, nil, b, depth+1)
		if err != nil {
			return nil, err
		}
		n.Blocks = append(n.Blocks, in)
	}
	for _, out := range o.GetOutputs() {
		t, err := resultType(out.GetType())
		if err != nil {
			return nil, fmt.Errorf("output %s: %w", fault.Quote(out.GetName()), err)
		}
		v := r.value(out.GetName(), t, n)
		if err := s.add(v); err != nil {
			return nil, err
		}
		n.Out = append(n.Out, v)
	}
	return n, nil
}

func nodeName(o *spec.Operation) string {
	if v := o.GetAttributes()["name"].GetImmediateValue().GetTensor().GetStrings().GetValues(); len(v) == 1 {
		return v[0]
	}
	if outs := o.GetOutputs(); len(outs) > 0 {
		return outs[0].GetName()
	}
	return o.GetType()
}

func (r *reader) constant(s *scope, o *spec.Operation) error {
	if len(o.GetOutputs()) != 1 {
		return fmt.Errorf("%d outputs, want 1: %w", len(o.GetOutputs()), fault.Invalid)
	}
	val := o.GetAttributes()["val"]
	if val == nil {
		val = firstValue(o.GetInputs()["val"])
	}
	if val == nil {
		return fmt.Errorf("no attribute val: %w", fault.Invalid)
	}
	k, err := r.constOf(val)
	if err != nil {
		return err
	}
	v := r.value(o.GetOutputs()[0].GetName(), k.Type, nil)
	v.Const = k
	return s.add(v)
}

func firstValue(a *spec.Argument) *spec.Value {
	if b := a.GetArguments(); len(b) == 1 {
		return b[0].GetValue()
	}
	return nil
}

// arguments binds an operation's inputs and attributes to the operator's inputs.
func (r *reader) arguments(s *scope, o *spec.Operation, n *graph.Node) error {
	op := n.Op
	for i, in := range op.Inputs {
		arg, attr := o.GetInputs()[in.Name], o.GetAttributes()[in.Name]
		switch {
		case arg != nil:
			if err := r.bind(s, arg, n, i); err != nil {
				return fmt.Errorf("%s: %w", in.Name, err)
			}
		case attr != nil && in.Name != "name":
			k, err := r.constOf(attr)
			if err != nil {
				return fmt.Errorf("%s: %w", in.Name, err)
			}
			n.Args[i] = []*graph.Value{r.literal(n, in.Name, k)}
		case !in.Optional && !in.Variadic:
			return fmt.Errorf("%s: missing: %w: want %v", in.Name, fault.Invalid, in.Accept)
		}
		for _, v := range n.Args[i] {
			if !in.Accept.Takes(v.Type) {
				return fmt.Errorf("%s: %v: %w: want %v", in.Name, v.Type, fault.Invalid, in.Accept)
			}
		}
	}
	return r.strangers(o, op)
}

// strangers refuses inputs and attributes that the operator does not have: ignoring one would change the result.
func (r *reader) strangers(o *spec.Operation, op *graph.Op) error {
	known := func(name string) bool {
		for _, in := range op.Inputs {
			if in.Name == name {
				return true
			}
		}
		return name == "name"
	}
	for name := range o.GetInputs() {
		if !known(name) {
			return fmt.Errorf("%s: %w: the operator has no such input", fault.Name(name), fault.Unsupported)
		}
	}
	for name := range o.GetAttributes() {
		if !known(name) {
			return fmt.Errorf("%s: %w: the operator has no such attribute", fault.Name(name), fault.Unsupported)
		}
	}
	return nil
}

func (r *reader) literal(n *graph.Node, input string, k *graph.Const) *graph.Value {
	v := r.value(n.Name+"."+input, k.Type, nil)
	v.Const = k
	return v
}

func (r *reader) bind(s *scope, arg *spec.Argument, n *graph.Node, i int) error {
	in := n.Op.Inputs[i]
	bs := arg.GetArguments()
	if !in.Variadic && len(bs) != 1 {
		return fmt.Errorf("%d values: %w: want 1", len(bs), fault.Invalid)
	}
	for _, b := range bs {
		if lit := b.GetValue(); lit != nil {
			k, err := r.constOf(lit)
			if err != nil {
				return err
			}
			n.Args[i] = append(n.Args[i], r.literal(n, in.Name, k))
			continue
		}
		v := s.find(b.GetName())
		if v == nil {
			return fmt.Errorf("value %s is not defined before: %w", fault.Quote(b.GetName()), fault.Invalid)
		}
		n.Args[i] = append(n.Args[i], v)
	}
	return nil
}
