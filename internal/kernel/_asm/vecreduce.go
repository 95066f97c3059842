package main

import (
	"fmt"
	"math"
	"strings"

	"coreml/internal/kernel/asm/emit"
)

// Reductions of package vec. There are 64 partial results whatever the width of a vector:
// element i goes to number i mod 64, and in the end they are folded by halving. So sums without a
// product are the same at every level.

const stripes = 64

// reduction is one kernel.
type reduction struct {
	Field   string // of vec.chunks
	Sources int
	Scalar  bool
	Store   bool    // the body's result is stored to dst
	Init    float32 // of the partial results; lanes beyond the end count as Init
	NaN     bool    // a NaN among the elements is the result
	Width   int     // partial vectors at a time
	Body    func(k *kern, acc wide, in []wide, s emit.Vec, m emit.Mask) wide
	Fold    func(k *kern, d, a emit.Vec, b any)
	Last    func(k *kern, a, t emit.Vec) // folds the lanes of a
}

func sumFold(k *kern, d, a emit.Vec, b any) { k.Add(d, a, b) }
func sumLast(k *kern, a, t emit.Vec)        { k.SumLanes(a, t) }

// extremeBody replaces lanes beyond the end by the identity.
func extremeBody(op func(k *kern, d, a emit.Vec, b any), init float32) func(*kern, wide, []wide, emit.Vec, emit.Mask) wide {
	return func(k *kern, acc wide, in []wide, _ emit.Vec, m emit.Mask) wide {
		k.keep(in[0], m, konst(init))
		for i, x := range in[0] {
			op(k, acc[i], acc[i], x)
			u := k.Cmp(emit.Unordered, x, x)
			k.addLanes(k.flags, u)
			k.Free(u)
		}
		return nil
	}
}

var (
	minusInf = float32(math.Inf(-1))
	plusInf  = float32(math.Inf(1))
)

// reduceKernels are the kernels of vec/reduce_*_amd64.s.
var reduceKernels = []reduction{
	{Field: "sum", Sources: 1, Width: 4, Fold: sumFold, Last: sumLast, Body: func(k *kern, acc wide, in []wide, _ emit.Vec, _ emit.Mask) wide {
		k.add(acc, acc, in[0])
		return nil
	}},
	{Field: "sumAbs", Sources: 1, Width: 4, Fold: sumFold, Last: sumLast, Body: func(k *kern, acc wide, in []wide, _ emit.Vec, _ emit.Mask) wide {
		k.add(acc, acc, k.unsigned(in[0]))
		return nil
	}},
	{Field: "sumSquare", Sources: 1, Width: 4, Fold: sumFold, Last: sumLast, Body: func(k *kern, acc wide, in []wide, _ emit.Vec, _ emit.Mask) wide {
		k.fma(acc, in[0], in[0])
		return nil
	}},
	{Field: "deviation", Sources: 1, Scalar: true, Width: 4, Fold: sumFold, Last: sumLast, Body: func(k *kern, acc wide, in []wide, s emit.Vec, m emit.Mask) wide {
		k.sub(in[0], in[0], s)
		k.keep(in[0], m, 0)
		k.fma(acc, in[0], in[0])
		return nil
	}},
	{Field: "dot", Sources: 2, Width: 4, Fold: sumFold, Last: sumLast, Body: func(k *kern, acc wide, in []wide, _ emit.Vec, _ emit.Mask) wide {
		k.fma(acc, in[0], in[1])
		return nil
	}},
	{Field: "expSum", Sources: 1, Scalar: true, Store: true, Width: 2, Fold: sumFold, Last: sumLast, Body: func(k *kern, acc wide, in []wide, s emit.Vec, m emit.Mask) wide {
		k.sub(in[0], in[0], s)
		y := k.exp(in[0])
		k.keep(y, m, 0)
		k.add(acc, acc, y)
		return y
	}},
	{Field: "highest", Sources: 1, Init: minusInf, NaN: true, Width: 4, Body: extremeBody(maxOf, minusInf), Fold: maxOf,
		Last: func(k *kern, a, t emit.Vec) { k.MaxLanes(a, t) }},
	{Field: "lowest", Sources: 1, Init: plusInf, NaN: true, Width: 4, Body: extremeBody(minOf, plusInf), Fold: minOf,
		Last: func(k *kern, a, t emit.Vec) { k.MinLanes(a, t) }},
}

// keep replaces the lanes of x that are not in m.
func (k *kern) keep(x wide, m emit.Mask, other konst) {
	if m == (emit.Mask{}) {
		return
	}
	v, temp := k.inRegister(other)
	for _, x := range x {
		k.Select(x, v, x, m)
	}
	if temp {
		k.Free(v)
	}
}

// reducerParams are the parameters of vec.reducer, whatever the kernel uses of them.
var reducerParams = []string{"dst unsafe.Pointer", "a unsafe.Pointer", "b unsafe.Pointer", "n int", "s float32"}

func (r reduction) write(file *emit.File) {
	dry := r.emit(emit.NewFile(file.Package, "", file.Target()), nil)
	r.emit(file, dry.mostUsed(dry.Spare()))
}

func (r reduction) name(t emit.Target) string { return r.Field + "_" + t.Name }

func (r reduction) emit(file *emit.File, held []uint32) *kern {
	f := file.Func(r.name(file.Target()), "", reducerParams...)
	f.Returns("float32")
	k := newKern(f, r.Width)
	ptrs := []emit.Reg{f.Param(0)}
	for i := range r.Sources {
		ptrs = append(ptrs, f.Param(1+i))
	}
	n := f.Param(3)
	var s emit.Vec
	if r.Scalar {
		s = f.Vec()
		f.SplatParam(s, 4)
	}
	acc := wide(f.Vecs(stripes / f.T.Lanes))
	k.fill(acc, konst(r.Init))
	if r.NaN {
		k.flags = k.noLanes()
	}
	k.hold(held)
	r.loops(k, ptrs, n, s, acc)
	r.fold(k, acc)
	f.Ret()
	return k
}

func (r reduction) loops(k *kern, ptrs []emit.Reg, n emit.Reg, s emit.Vec, acc wide) {
	tail, done, top := k.NewLabel("tail"), k.NewLabel("done"), k.NewLabel("loop")
	k.JumpIf(n, emit.LT, emit.Imm(stripes), tail)
	k.Bind(top)
	for g := 0; g < len(acc); g += k.width {
		r.step(k, ptrs, s, acc, g, emit.Mask{})
	}
	for _, p := range ptrs {
		k.AddTo(p, emit.Imm(4*stripes))
	}
	k.AddTo(n, emit.Imm(-stripes))
	k.JumpIf(n, emit.GE, emit.Imm(stripes), top)
	k.Bind(tail)
	k.width = 1
	for g := range acc {
		k.JumpIf(n, emit.LE, emit.Imm(0), done)
		m := k.MaskN(n)
		r.step(k, ptrs, s, acc, g, m)
		k.Free(m)
		k.AddTo(n, emit.Imm(-k.T.Lanes))
	}
	k.Bind(done)
}

// step takes in the vectors of accumulators g … g+width-1.
func (r reduction) step(k *kern, ptrs []emit.Reg, s emit.Vec, acc wide, g int, m emit.Mask) {
	at := func(p emit.Reg, i int) emit.Mem { return emit.At(p, (g+i)*k.T.Bytes()) }
	var in []wide
	for _, p := range ptrs[1:] {
		x := k.wide()
		for i := range x {
			k.LoadMask(x[i], at(p, i), m)
		}
		in = append(in, x)
	}
	y := r.Body(k, acc[g:g+k.width], in, s, m)
	if r.Store {
		for i := range y {
			k.StoreMask(at(ptrs[0], i), y[i], m)
		}
	}
	k.drop()
}

func (r reduction) fold(k *kern, acc wide) {
	for h := len(acc) / 2; h > 0; h /= 2 {
		for i := range h {
			r.Fold(k, acc[i], acc[i], acc[i+h])
		}
	}
	if len(acc) > 1 {
		r.Last(k, acc[0], acc[1])
	}
	if r.NaN {
		end := k.NewLabel("number")
		k.JumpIf(k.anyLane(k.flags), emit.EQ, emit.Imm(0), end)
		k.Splat(acc[0], emit.Mem(k.File().Each(math.Float32bits(float32(math.NaN())))))
		k.Bind(end)
	}
	k.ReturnFloat(acc[0])
}

func reduceFile(file *emit.File) {
	for _, r := range reduceKernels {
		r.write(file)
	}
}

func reduceTable(file *emit.File) string {
	var b strings.Builder
	t := file.Target()
	fmt.Fprintf(&b, "\n// fillReduce_%s fills in the kernels of this file.\nfunc fillReduce_%s(f *Funcs) {\n", t.Name, t.Name)
	for _, r := range reduceKernels {
		shape := fmt.Sprintf("%d", r.Sources)
		if r.Scalar {
			shape += "s"
		}
		if r.Store {
			shape += "Store"
		}
		fmt.Fprintf(&b, "\tf.%s = reduce%s(%s)\n", r.Field, shape, r.name(t))
	}
	b.WriteString("}\n")
	return b.String()
}
