package main

import (
	"coreml/internal/kernel/asm/emit"
)

// Rows of package vec: one call normalises many rows of n elements, n from 1 on, so that short
// rows do not pay for a call each.

// rowKernel is one kernel.
type rowKernel struct {
	Name   string
	Params []string
	Emit   func(k *rows)
}

// rows is the state while one kernel is written.
type rows struct {
	*kern
	ptrs      []emit.Reg // dst, src, then vectors that every row uses
	n         emit.Reg   // elements of a row
	off, left emit.Reg   // of a pass: bytes done, elements to do
}

// rowKernels are the kernels of vec/rows_*_amd64.s. Floats come last among the parameters.
var rowKernels = []rowKernel{
	{"layerNormRows", []string{"dst unsafe.Pointer", "src unsafe.Pointer", "gamma unsafe.Pointer", "beta unsafe.Pointer",
		"count int", "n int", "eps float32", "inverse float32"}, layerNormRow},
	{"softmaxRows", []string{"dst unsafe.Pointer", "src unsafe.Pointer", "count int", "n int"}, softmaxRow},
}

// write writes the kernel twice, as elementwise kernels are, to place its constants.
func (r rowKernel) write(file *emit.File) {
	dry := r.emit(emit.NewFile(file.Package, "", file.Target()), nil)
	r.emit(file, dry.mostUsed(dry.Spare()))
}

func (r rowKernel) emit(file *emit.File, held []uint32) *kern {
	f := file.Func(r.Name+"_"+file.Target().Name, "", r.Params...)
	k := &rows{kern: newKern(f, 4)}
	var count emit.Reg
	for i, p := range r.Params {
		switch p {
		case "count int":
			count = f.Param(i)
		case "n int":
			k.n = f.Param(i)
		case "eps float32", "inverse float32":
		default:
			k.ptrs = append(k.ptrs, f.Param(i))
		}
	}
	k.off, k.left = f.Reg(), f.Reg()
	k.hold(held)
	k.LoopOrNone(count, func() {
		r.Emit(k)
		k.Set(k.left, k.n)
		k.ShiftLeft(k.left, 2)
		k.AddTo(k.ptrs[0], k.left)
		k.AddTo(k.ptrs[1], k.left)
	})
	f.Ret()
	return k.kern
}

// pass goes through the row, width vectors at a time and then one by one. The step finds its
// elements with at; m is the mask of the last ones.
func (k *rows) pass(width int, step func(m emit.Mask)) {
	one, tail, done := k.NewLabel("one"), k.NewLabel("tail"), k.NewLabel("done")
	k.Raw("XORL", k.off, k.off)
	k.Set(k.left, k.n)
	k.steps(width, one, step)
	if width > 1 {
		k.Bind(one)
		k.steps(1, tail, step)
		k.Bind(tail)
	} else {
		k.Bind(one)
	}
	k.JumpIf(k.left, emit.LE, emit.Imm(0), done)
	k.width = 1
	m := k.MaskN(k.left)
	step(m)
	k.drop()
	k.Free(m)
	k.Bind(done)
}

// steps repeats the step while there are width whole vectors, then goes to end.
func (k *rows) steps(width int, end emit.Label, step func(m emit.Mask)) {
	top := k.NewLabel("loop")
	k.JumpIf(k.left, emit.LT, emit.Imm(width*k.T.Lanes), end)
	k.Bind(top)
	k.width = width
	step(emit.Mask{})
	k.drop()
	k.AddTo(k.off, emit.Imm(width*k.T.Bytes()))
	k.AddTo(k.left, emit.Imm(-width*k.T.Lanes))
	k.JumpIf(k.left, emit.GE, emit.Imm(width*k.T.Lanes), top)
}

// at is vector i of the current step in the row at p.
func (k *rows) at(p emit.Reg, i int) emit.Mem { return emit.At(p, i*k.T.Bytes()).Idx(k.off, 1) }

// load allocates the current vectors of the row at p.
func (k *rows) load(p emit.Reg, m emit.Mask) wide {
	x := k.wide()
	for i := range x {
		k.LoadMask(x[i], k.at(p, i), m)
	}
	return x
}

func (k *rows) store(y wide, m emit.Mask) {
	for i := range y {
		k.StoreMask(k.at(k.ptrs[0], i), y[i], m)
	}
}

// total leaves the sum of all vectors of acc in every lane of the first.
func (k *rows) total(acc wide, fold func(d, a emit.Vec, b any), last func(a, t emit.Vec)) {
	for h := len(acc) / 2; h > 0; h /= 2 {
		for i := range h {
			fold(acc[i], acc[i], acc[i+h])
		}
	}
	last(acc[0], acc[1])
	k.SplatLane0(acc[0], acc[0])
}

// layerNormRow is (x-mean)/sqrt(variance+eps)·gamma + beta in three passes over the row.
func layerNormRow(k *rows) {
	dst, src, gamma, beta := k.ptrs[0], k.ptrs[1], k.ptrs[2], k.ptrs[3]
	_ = dst
	acc := wide(k.Vecs(4))
	mean, scale := k.Vec(), k.Vec()
	mean0 := func(d wide) { // the mean of the row of which d holds sums
		k.total(d, k.Add, k.SumLanes)
		k.SplatParam(scale, 7)
		k.Mul(d[0], d[0], scale)
	}
	k.fill(acc, 0)
	k.pass(4, func(m emit.Mask) {
		k.add(acc[:k.width], acc[:k.width], k.load(src, m))
	})
	mean0(acc)
	k.Copy(mean, acc[0])
	k.fill(acc, 0)
	k.pass(4, func(m emit.Mask) {
		x := k.load(src, m)
		k.sub(x, x, mean)
		k.keep(x, m, 0)
		k.fma(acc[:k.width], x, x)
	})
	mean0(acc)
	k.SplatParam(scale, 6)
	k.Add(acc[0], acc[0], scale)
	k.Sqrt(acc[0], acc[0])
	k.constant(scale, one)
	k.Div(scale, scale, acc[0])
	k.pass(2, func(m emit.Mask) {
		x, g, b := k.load(src, m), k.load(gamma, m), k.load(beta, m)
		k.sub(x, x, mean)
		k.mul(x, x, scale)
		k.mulAdd(x, g, b)
		k.store(x, m)
	})
	k.Free([]emit.Vec(acc), mean, scale)
}

// softmaxRow is exp(x-max), stored and summed, and then divided by the sum.
func softmaxRow(k *rows) {
	dst, src := k.ptrs[0], k.ptrs[1]
	acc, top := wide(k.Vecs(4)), k.Vec()
	k.fill(acc, konst(minusInf))
	k.pass(4, func(m emit.Mask) {
		x := k.load(src, m)
		k.keep(x, m, konst(minusInf))
		k.each(k.Max, acc[:k.width], acc[:k.width], x)
	})
	k.total(acc, k.Max, k.MaxLanes)
	k.Copy(top, acc[0])
	k.fill(acc, 0)
	k.pass(2, func(m emit.Mask) {
		x := k.load(src, m)
		k.sub(x, x, top)
		y := k.expNegative(x)
		k.keep(y, m, 0)
		k.add(acc[:k.width], acc[:k.width], y)
		k.store(y, m)
	})
	k.total(acc, k.Add, k.SumLanes)
	k.constant(top, one)
	k.Div(top, top, acc[0])
	k.pass(4, func(m emit.Mask) {
		y := k.load(dst, m)
		k.mul(y, y, top)
		k.store(y, m)
	})
	k.Free([]emit.Vec(acc), top)
}

func rowsFile(file *emit.File) {
	for _, r := range rowKernels {
		r.write(file)
	}
}
