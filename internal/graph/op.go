package graph

import (
	"coreml/tensor"
)

// Op is everything the project knows of one operator: reader, folding, planner,
// engine, documentation and tests find it here.
//
// A redefinition in a later opset is a further literal of the same Name; the
// newest with Since <= the function's opset is used.
type Op struct {
	Name   string
	Since  Opset // zero: from the first opset on
	Doc    string
	Inputs []Input

	// Infer gives the types of the outputs. All operand types are concrete.
	// It may read constant operands; one that is not known yet is answered
	// with a NeedValue error, and the plan is cut there.
	Infer func(*Call) ([]Type, error)

	// Prepare makes the step. Types and forms are final. It packs only through
	// Call.Pack and is cheap to repeat.
	Prepare func(*Call) (Step, error)

	// Alias says which output may share memory with which input.
	Alias func(*Call) []Alias

	// Fit says which operands may be in a form other than Plain; nil: none.
	Fit func(*Call, Form) Fit

	// Elem describes an elementwise operator, so that it can run inside another one's step.
	Elem func(*Call) (Elem, error)

	// Expand gives the coded constants that a constexpr_* operator stands for.
	Expand func(*Call) ([]*Const, error)

	Post     bool // its step runs the elementwise calls in Call.Post
	Effect   bool // order matters: state, list, random
	FromType bool // its value depends on the types of its operands alone
	NoFold   bool // never folded: fill, tile and whatever grows
}

// Input is one parameter of an operator.
type Input struct {
	Name     string
	Accept   Accept
	Optional bool // may be absent
	Variadic bool // takes any number of values
	Default  any  // int, float64, bool, string, []int, []bool; not nil: used when absent

	def *Const
}

// Accept is the set of things that an input takes.
type Accept uint8

const (
	Float Accept = 1 << iota
	Int
	Bool
	String
	List
	State
	Numeric = Float | Int
	Tensor  = Float | Int | Bool
)

// Takes reports whether a value of type t may be given.
func (a Accept) Takes(t Type) bool {
	switch {
	case t.Kind == KindList:
		return a&List != 0
	case t.Kind == KindState:
		return a&State != 0
	case t.DType == tensor.Bool:
		return a&Bool != 0
	case t.DType == tensor.String:
		return a&String != 0
	case t.DType.IsFloat():
		return a&Float != 0
	}
	return a&Int != 0
}

func (a Accept) String() string {
	s := ""
	for i, n := range []string{"float", "integer", "bool", "string", "list", "state"} {
		if a&(1<<i) != 0 {
			if s != "" {
				s += " or "
			}
			s += n
		}
	}
	return s
}

// In, Opt, Def and Var write an operator's inputs: required, optional, with a
// default, and variadic.
func In(name string, a Accept) Input  { return Input{Name: name, Accept: a} }
func Opt(name string, a Accept) Input { return Input{Name: name, Accept: a, Optional: true} }
func Var(name string, a Accept) Input { return Input{Name: name, Accept: a, Variadic: true} }
func Def(name string, a Accept, v any) Input {
	return Input{Name: name, Accept: a, Optional: true, Default: v, def: scalar(v)}
}

// DefaultConst is the constant used when the input is absent; nil if there is none.
func (in Input) DefaultConst() *Const { return in.def }

// Form is how memory holds a tensor.
type Form uint8

const (
	// Plain: row-major; float dtypes as float32, integers as int32, bool as one byte.
	Plain Form = iota
	// Blocked: rank 3 or 4, [N, C, spatial…] stored as [N, ⌈C/b⌉, spatial…, b] float32 with b lanes of
	// Call.Lanes; the pad lanes of the last block are zero.
	Blocked
	// Half: row-major IEEE float16, as states are kept.
	Half

	Forms = 3
)

func (f Form) String() string { return [...]string{"plain", "blocked", "half"}[f] }

// Fit says how a call gets along with a form.
type Fit struct {
	In    uint64 // bit i: operand i may be (Half) or has to be (Blocked) in this form
	Out   uint64 // bit i: output i is then in this form
	Wants bool   // the call gains from it; a region without one that wants it stays Plain
}

// Alias lets an output share the memory of an input.
type Alias struct {
	Kind AliasKind
	Out  int
	In   int // index among the operands
	Off  int // offset in elements of the smaller inside the larger
	// Alone says of InPlace that no other operand may lie in the memory that is
	// overwritten: the step does not read element i of them before it writes element i.
	Alone bool
}

// AliasKind says who lies inside whom.
type AliasKind uint8

const (
	View    AliasKind = iota // the output lies inside the input: reshape, squeeze, dense slice, read_state. Such a step must be a no-op when the memory coincides
	InPlace                  // the output may overwrite the input if the input dies here: elementwise, slice_update
	Place                    // the input may be computed inside the output: concat, write_state
)

// Elem is an elementwise operator bound to its parameters. Exactly one of F1, F2 is set. dst may be a or b.
type Elem struct {
	F1 func(dst, a []float32)
	// F2 combines equally long slices; F2S has b as one number, F2R has a as one number.
	F2  func(dst, a, b []float32)
	F2S func(dst, a []float32, b float32)
	F2R func(dst []float32, a float32, b []float32)
	// Channel says that b of F2 has one value per channel: it is a vector along dimension 1.
	Channel bool
	// Zero reports f(0) = 0, or f(0, 0) = 0, so that pad lanes of a blocked tensor stay zero.
	Zero bool
	// Kind names the few operators that kernels do in registers: "add", "relu", "clip" with Lo and Hi.
	Kind   string
	Lo, Hi float32
}
