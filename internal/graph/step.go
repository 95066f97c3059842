package graph

import (
	"context"
	"sync"
	"sync/atomic"

	"coreml/tensor"
)

// Packing says how a constant becomes what a kernel reads. Form identifies the
// result together with the constant, so it names every parameter that matters:
// "panel16 k=(1,2,0)". It never depends on the number of rows of the other operand.
type Packing struct {
	Form  string
	Size  int // bytes of the result
	Items int // independent units of work
	// Do fills the units lo … hi of dst (the whole result).
	Do func(dst []byte, src *Const, lo, hi int)
}

// Packed is a constant in a kernel's form. Its bytes exist once Ready.
type Packed struct {
	Packing Packing
	Src     *Const
	Data    []byte
	Ready   atomic.Bool

	filling sync.Mutex
}

// Fill has the bytes made, once: who comes meanwhile waits, and tries again if that failed.
func (p *Packed) Fill(bytes func() ([]byte, error)) error {
	p.filling.Lock()
	defer p.filling.Unlock()
	if p.Ready.Load() {
		return nil
	}
	data, err := bytes()
	if err != nil {
		return err
	}
	p.Data = data
	p.Ready.Store(true)
	return nil
}

// F32 views the packed bytes as float32.
func (p *Packed) F32() []float32 { return tensor.View[float32](p.Data) }

// Step is what a call does at run time. Phases are separated by barriers.
type Step struct {
	Kernel  string // for the profile: "conv avx512 14x2"
	Phases  []Phase
	Scratch int     // bytes that each worker needs
	Flops   float64 // floating-point operations of one run, for the profile; 0 unknown
	NoOp    bool    // nothing to do when the output lies inside the input (Alias View)
}

// Phase is a set of independent tasks. Their number depends on shapes and CPU
// level only, never on the number of threads.
type Phase struct {
	Tasks int
	Run   func(x *Exec, task int) error
}

// Serial is a step of one task.
func Serial(kernel string, run func(x *Exec) error) Step {
	return Step{Kernel: kernel, Phases: []Phase{{Tasks: 1, Run: func(x *Exec, _ int) error { return run(x) }}}}
}

// Parallel is a step of independent tasks.
func Parallel(kernel string, tasks int, run func(x *Exec, task int) error) Step {
	return Step{Kernel: kernel, Phases: []Phase{{Tasks: tasks, Run: run}}}
}

// Slot is the memory of one value during a run.
type Slot struct {
	Data  []byte // in the form that the plan chose
	Shape []int
	Obj   any // lists, dictionaries, strings
}

// Bytes is what the slot keeps in memory.
func (s *Slot) Bytes() int64 {
	n := int64(cap(s.Data))
	if o, ok := s.Obj.(interface{ Bytes() int64 }); ok { // a list
		n += o.Bytes()
	}
	return n
}

// Exec is what a running step sees. Each worker has its own.
type Exec struct {
	Node    *Node
	Slots   []Slot       // of the run
	In, Out []int32      // indices of the call's operands in Slots
	Buf     []byte       // scratch
	Tmp     [256]float32 // for spreading repeated operands
	Env     Env
}

// Env is what a step may ask of its run.
type Env interface {
	Context() context.Context
	// RunBlock runs block b of the call with the given arguments and copies its results to out.
	RunBlock(x *Exec, b int, args, out []Slot) error
	// Grow counts bytes that a step is about to allocate against the run's limit. They count until the run or
	// the block ends; results of blocks are counted by what they keep.
	Grow(bytes int64) error
}

func (x *Exec) F32(in int) []float32   { return tensor.View[float32](x.Slots[x.In[in]].Data) }
func (x *Exec) I32(in int) []int32     { return tensor.View[int32](x.Slots[x.In[in]].Data) }
func (x *Exec) U16(in int) []uint16    { return tensor.View[uint16](x.Slots[x.In[in]].Data) }
func (x *Exec) Bytes(in int) []byte    { return x.Slots[x.In[in]].Data }
func (x *Exec) Obj(in int) any         { return x.Slots[x.In[in]].Obj }
func (x *Exec) OutF32(o int) []float32 { return tensor.View[float32](x.Slots[x.Out[o]].Data) }
func (x *Exec) OutI32(o int) []int32   { return tensor.View[int32](x.Slots[x.Out[o]].Data) }
func (x *Exec) OutU16(o int) []uint16  { return tensor.View[uint16](x.Slots[x.Out[o]].Data) }
func (x *Exec) OutBytes(o int) []byte  { return x.Slots[x.Out[o]].Data }
func (x *Exec) SetObj(o int, v any)    { x.Slots[x.Out[o]].Obj = v }

// SetShape gives an output of a Bound type its real shape.
func (x *Exec) SetShape(o int, shape ...int) {
	s := &x.Slots[x.Out[o]]
	n := 1
	for _, d := range shape {
		n *= d
	}
	per := 0
	if was := elements(s.Shape); was > 0 {
		per = len(s.Data) / was
	}
	s.Data = s.Data[:n*per]
	s.Shape = append([]int(nil), shape...)
}

// Scratch views the worker's scratch memory as float32.
func (x *Exec) Scratch() []float32 { return tensor.View[float32](x.Buf) }

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// StoreSize is the number of bytes per element of a dtype in Plain form.
func StoreSize(d tensor.DType) int {
	switch d {
	case tensor.Bool:
		return 1
	case tensor.String:
		return 0
	}
	return 4
}

// Bytes is the memory that a value of type t takes in form f, with b lanes; 0
// for what a step allocates itself: lists, and shapes that only the run knows.
func Bytes(t Type, f Form, b int) int {
	if t.Kind == KindList || t.Kind == KindDict || t.DType == tensor.String || !t.Static() {
		return 0
	}
	n := t.Elements()
	switch f {
	case Half:
		return 2 * n
	case Blocked:
		if n == 0 {
			return 0
		}
		return n / t.Shape[1] * ((t.Shape[1] + b - 1) / b * b) * 4
	}
	return n * StoreSize(t.DType)
}

// Aligned allocates n bytes that start on a cache line.
func Aligned(n int) []byte {
	if n == 0 {
		return nil
	}
	return tensor.Aligned(n)
}
