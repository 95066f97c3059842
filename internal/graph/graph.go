// Package graph is the intermediate representation that every model becomes:
// typed, versioned MIL operators over named values, in blocks.
//
// A [Function] is immutable once built and is the same on every machine. What
// depends on concrete shapes or on this machine lives in a [Call]: one node as
// a plan sees it, with all types, known values and memory forms filled in.
package graph

import (
	"fmt"
	"strings"

	"coreml/tensor"
)

// Type is what is known of a value before it is computed.
type Type struct {
	DType tensor.DType
	Shape []int // in a Function -1 marks a dimension that the file leaves open; in a Call all are concrete
	// Kind tells tensors, lists, dictionaries and states apart.
	Kind Kind
	// Elem is the element type of a list.
	Elem *Type
	// Bound says that Shape is an upper bound: the step calls Exec.SetShape.
	Bound bool
}

// MaxRank bounds the rank of every tensor of a program. The format has no such bound;
// this one is ours, well above what models have.
const MaxRank = 16

// Kind says what sort of thing a value is.
type Kind uint8

const (
	KindTensor Kind = iota
	KindList
	KindDict
	KindState
)

// TensorOf is the type of a dense tensor.
func TensorOf(d tensor.DType, shape ...int) Type { return Type{DType: d, Shape: shape} }

// Elements is the number of elements; the caller has checked the shape.
func (t Type) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Rank is the number of dimensions.
func (t Type) Rank() int { return len(t.Shape) }

// Equal compares everything but Bound.
func (t Type) Equal(u Type) bool {
	if t.DType != u.DType || t.Kind != u.Kind || !tensor.EqualShape(t.Shape, u.Shape) {
		return false
	}
	return t.Elem == u.Elem || t.Elem != nil && u.Elem != nil && t.Elem.Equal(*u.Elem)
}

// Static reports whether every dimension is known.
func (t Type) Static() bool {
	for _, d := range t.Shape {
		if d < 0 {
			return false
		}
	}
	return true
}

func (t Type) String() string {
	var b strings.Builder
	switch t.Kind {
	case KindList:
		if t.Elem != nil {
			return "list<" + t.Elem.String() + ">"
		}
		return "list<?>"
	case KindDict:
		return "dict"
	case KindState:
		b.WriteString("state<")
	}
	b.WriteString("tensor<" + t.DType.String() + ", [")
	for i, d := range t.Shape {
		if i > 0 {
			b.WriteString(", ")
		}
		if d < 0 {
			b.WriteByte('?')
		} else {
			fmt.Fprint(&b, d)
		}
	}
	b.WriteString("]>")
	if t.Kind == KindState {
		b.WriteByte('>')
	}
	return b.String()
}

// Value is a constant, a block's input, or one result of a node.
type Value struct {
	ID    int // dense in the Function, so that tables can be indexed by it
	Name  string
	Type  Type   // as the file declares it
	Const *Const // not nil: known when the model is loaded
	Def   *Node  // the node that computes it; nil for constants and block inputs
}

// Node is one operation of a block. Immutable after the Function is built.
type Node struct {
	ID     int
	Name   string
	Op     *Op
	Args   [][]*Value // by position in Op.Inputs; absent arguments are empty
	Out    []*Value
	Blocks []*Block
}

// Block is a list of nodes in an order in which they can run.
type Block struct {
	Inputs  []*Value
	Nodes   []*Node
	Outputs []*Value
}

// Function is one entry point of a model.
type Function struct {
	Name   string
	Opset  Opset
	Body   *Block
	States []*Value // the inputs of Body that are states
	Values int      // number of Value IDs in use
	Nodes  int      // number of Node IDs in use
}

// Opset is the version of Core ML's operator set: 5 is CoreML5 (iOS 15).
type Opset int

const (
	IOS15 Opset = 5
	IOS16 Opset = 6
	IOS17 Opset = 7
	IOS18 Opset = 8
	IOS26 Opset = 9
)

func (o Opset) String() string { return fmt.Sprintf("CoreML%d", int(o)) }

// Walk calls f for every node of the block and of the blocks inside it.
func (b *Block) Walk(f func(*Node)) {
	for _, n := range b.Nodes {
		f(n)
		for _, in := range n.Blocks {
			in.Walk(f)
		}
	}
}
