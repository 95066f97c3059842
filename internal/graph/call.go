package graph

import (
	"fmt"

	"coreml/internal/fault"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// Operand is one input or output of a Call.
type Operand struct {
	Value *Value
	Type  Type
	Form  Form
	Const *Const // its value, when a plan knows it: a constant, or folded from shapes
}

// Call is a node as a plan sees it. Infer and Prepare read it; nobody else keeps it.
type Call struct {
	Node  *Node
	Op    *Op
	In    []Operand // all arguments, one after the other, absent ones take no place; from Own on: what Post needs
	Own   int
	Out   []Operand
	Post  []Post
	Level cpu.Level
	// Packs collects what Prepare asked for, in order.
	Packs []*Packed

	first []int // of each argument in In; -1 absent
	raw   uint64
	late  uint64
	Store PackStore
}

// Post is an elementwise call that runs on this call's result, piece by piece, while it is in cache.
type Post struct {
	Call  *Call
	Chain int // which of the post call's operands is the running value
	Other int // for binary ones: index in the host call's In of the other operand; -1: none
}

// PackStore keeps packed weights for all plans of a program.
type PackStore interface {
	Get(c *Call, in int, p Packing) *Packed
	// Cold reports that the function's compressed weights, as float16, would not stay in cache from
	// one run to the next, so that reading them is what a matrix-vector product costs. Only then
	// may a kernel decode a weight without rounding it to its dtype.
	Cold() bool
}

// NewCall lays out the operands of a node. Types and constants come from look.
func NewCall(n *Node, level cpu.Level, look func(*Value) Operand) *Call {
	c := &Call{Node: n, Op: n.Op, Level: level, first: make([]int, len(n.Op.Inputs))}
	total := 0
	for _, a := range n.Args {
		total += len(a)
	}
	operands := make([]Operand, total+len(n.Out))
	c.In, c.Out = operands[:0:total], operands[total:]
	for i, a := range n.Args {
		c.first[i] = -1
		for k, v := range a {
			if k == 0 {
				c.first[i] = len(c.In)
			}
			c.In = append(c.In, look(v))
		}
	}
	c.Own = len(c.In)
	for i, v := range n.Out {
		c.Out[i] = Operand{Value: v, Type: v.Type}
	}
	return c
}

// Infer asks the operator for the types of the results. The types of the operands
// were inferred as well, so that they may be others than the file declares.
func (c *Call) Infer() ([]Type, error) {
	for arg, in := range c.Op.Inputs {
		for k := range c.Node.Args[arg] {
			if t := c.In[c.first[arg]+k].Type; !in.Accept.Takes(t) {
				return nil, c.Errorf(arg, "%v, want %v", t, in.Accept)
			}
		}
	}
	return c.Op.Infer(c)
}

// Has reports whether argument arg is given or has a default.
func (c *Call) Has(arg int) bool { return c.first[arg] >= 0 || c.Op.Inputs[arg].def != nil }

// Given reports whether argument arg is given.
func (c *Call) Given(arg int) bool { return c.first[arg] >= 0 }

// At is the index in In of the first value of argument arg; -1 if absent.
func (c *Call) At(arg int) int { return c.first[arg] }

// N is the number of values of argument arg.
func (c *Call) N(arg int) int { return len(c.Node.Args[arg]) }

// Type is the type of argument arg; the zero Type if absent.
func (c *Call) Type(arg int) Type {
	if c.first[arg] < 0 {
		if d := c.Op.Inputs[arg].def; d != nil {
			return d.Type
		}
		return Type{}
	}
	return c.In[c.first[arg]].Type
}

// Shape is the shape of argument arg.
func (c *Call) Shape(arg int) []int { return c.Type(arg).Shape }

// Lanes is the number of channels in a block of the Blocked form.
func (c *Call) Lanes() int { return c.Level.Lanes() }

// NeedValue says that Infer cannot go on before argument Arg has been computed.
type NeedValue struct{ Operand int }

func (e NeedValue) Error() string {
	return fmt.Sprintf("operand %d is not known before the run", e.Operand)
}

// Const is the value of argument arg, nil if absent without default; NeedValue if it is not known yet.
func (c *Call) Const(arg int) (*Const, error) {
	i := c.first[arg]
	if i < 0 {
		return c.Op.Inputs[arg].def, nil
	}
	if k := c.In[i].Const; k != nil {
		return k, nil
	}
	return nil, NeedValue{i}
}

// Ints reads an argument of integer or boolean type; nil if absent.
func (c *Call) Ints(arg int) ([]int, error) {
	k, err := c.Const(arg)
	if err != nil || k == nil {
		return nil, err
	}
	v, err := k.Ints()
	if err != nil {
		return nil, c.Errorf(arg, "%v", err)
	}
	return v, nil
}

// Int reads an argument of one integer.
func (c *Call) Int(arg int) (int, error) {
	v, err := c.Ints(arg)
	if err == nil && len(v) != 1 {
		err = c.Errorf(arg, "%d values, want 1", len(v))
	}
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// Bool reads an argument of one boolean.
func (c *Call) Bool(arg int) (bool, error) {
	v, err := c.Int(arg)
	return v != 0, err
}

// Bools reads an argument of booleans.
func (c *Call) Bools(arg int) ([]bool, error) {
	v, err := c.Ints(arg)
	if err != nil || v == nil {
		return nil, err
	}
	b := make([]bool, len(v))
	for i := range v {
		b[i] = v[i] != 0
	}
	return b, nil
}

// Floats reads a numeric argument; nil if absent.
func (c *Call) Floats(arg int) ([]float32, error) {
	k, err := c.Const(arg)
	if err != nil || k == nil {
		return nil, err
	}
	if k.Type.DType == tensor.String {
		return nil, c.Errorf(arg, "a string, want numbers")
	}
	return k.Floats(), nil
}

// Float reads an argument of one number.
func (c *Call) Float(arg int) (float32, error) {
	v, err := c.Floats(arg)
	if err == nil && len(v) != 1 {
		err = c.Errorf(arg, "%d values, want 1", len(v))
	}
	if err != nil {
		return 0, err
	}
	return v[0], nil
}

// Str reads an argument of one string.
func (c *Call) Str(arg int) (string, error) {
	k, err := c.Const(arg)
	if err != nil {
		return "", err
	}
	if k == nil || len(k.Strings) != 1 {
		return "", c.Errorf(arg, "no string")
	}
	return k.Strings[0], nil
}

// Raw says that the step reads operand In[in], a constant, through its Const
// and not through Exec, so that it is not brought into Plain form.
func (c *Call) Raw(in int) { c.raw |= 1 << min(in, 63) }

// IsRaw reports whether Raw or Pack was called for In[in].
func (c *Call) IsRaw(in int) bool { return c.raw>>min(in, 63)&1 != 0 }

// Late says that the step reads operand In[in] through Exec only: whatever its
// value, Prepare and Alias give the same.
func (c *Call) Late(in int) {
	if in < 64 {
		c.late |= 1 << in
	}
}

// IsLate reports whether Late was called for In[in].
func (c *Call) IsLate(in int) bool { return in < 64 && c.late>>in&1 != 0 }

// Errorf names argument arg: "weight: rank 3, want 4". Texts of the file are cut.
// The caller of Infer and Prepare adds the operation's name.
func (c *Call) Errorf(arg int, format string, a ...any) error {
	for i := range a {
		if s, ok := a[i].(string); ok {
			a[i] = fault.Cut(s)
		}
	}
	return fmt.Errorf("%s: %s", c.Op.Inputs[arg].Name, fmt.Sprintf(format, a...))
}

// Pack asks for operand In[in], a constant, in the form that a kernel reads.
// It is shared by all plans and filled before the step first runs.
func (c *Call) Pack(in int, p Packing) *Packed {
	c.Raw(in)
	k := c.Store.Get(c, in, p)
	c.Packs = append(c.Packs, k)
	return k
}
