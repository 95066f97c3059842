package main

import "coreml/internal/kernel/asm/emit"

// The points of wino, and the number of lines and pixels of what it reads and writes: see wino.go there.
const (
	winoA, winoB    = 0.75, 1.5
	winoIn, winoOut = 6, 4
)

// winoTransforms writes the two transforms of tiles. Contract: wino.Args.
func winoTransforms(file *emit.File) {
	winoInput(file)
	winoOutput(file)
}

// winoStep addresses six matrices that follow one another.
type winoStep struct{ p, s1, s3, s5 emit.Reg }

func newWinoStep(f *emit.Func, args emit.Reg) winoStep {
	w := winoStep{f.Reg(), f.Reg(), f.Reg(), f.Reg()}
	f.Set(w.s1, emit.Field(args, "Args_MatrixStep"))
	f.Lea(w.s3, emit.At(w.s1, 0).Idx(w.s1, 2))
	f.Lea(w.s5, emit.At(w.s1, 0).Idx(w.s1, 4))
	return w
}

func (w winoStep) at(i int) emit.Mem {
	m := emit.At(w.p, 0)
	switch i {
	case 0:
		return m
	case 3:
		return m.Idx(w.s3, 1)
	case 5:
		return m.Idx(w.s5, 1)
	}
	return m.Idx(w.s1, i)
}

// next moves to the seventh matrix.
func (w winoStep) next(f *emit.Func) {
	f.AddTo(w.p, w.s5)
	f.AddTo(w.p, w.s1)
}

// winoInput transforms lines, then columns, of 6 × 6 pixels.
func winoInput(file *emit.File) {
	f := file.Func("input_"+file.Target().Name, "reads tiles of 6 × 6 pixels at Image and writes their 36 elements to the matrices.", "a *Args")
	size := f.T.Bytes()
	args := f.Param(0)
	image, line, tmp, matrix := f.Reg(), f.Reg(), f.Reg(), f.Reg()
	f.Set(image, emit.Field(args, "Args_Image"))
	f.Set(tmp, emit.Field(args, "Args_Tmp"))
	f.Set(matrix, emit.Field(args, "Args_Matrix"))
	step := newWinoStep(f, args)
	forward := winoForward(f)
	d := f.Vecs(winoIn)
	top := f.NewLabel("tile")
	f.Bind(top)
	f.Set(line, image)
	for y := range winoIn {
		for i := range d {
			f.Load(d[i], emit.At(line, i*size))
		}
		for i, v := range forward(d) {
			f.Store(emit.At(tmp, (y*winoIn+i)*size), v)
		}
		if y < winoIn-1 {
			f.AddTo(line, emit.Field(args, "Args_ImageLine"))
		}
	}
	f.Set(step.p, matrix)
	for x := range winoIn {
		for i := range d {
			f.Load(d[i], emit.At(tmp, (i*winoIn+x)*size))
		}
		for i, v := range forward(d) {
			f.Store(step.at(i), v)
		}
		if x < winoIn-1 {
			step.next(f)
		}
	}
	f.AddTo(image, emit.Imm(winoOut*size))
	f.AddTo(matrix, emit.Imm(size))
	f.Raw("DECQ", emit.Field(args, "Args_Tiles"))
	f.Jump(emit.NE, top)
	f.Ret()
}

// winoForward transforms six values in place; the result is a new order of their registers.
func winoForward(f *emit.Func) func(d []emit.Vec) []emit.Vec {
	const a2, b2 = winoA * winoA, winoB * winoB
	a, b := f.Const("a", winoA), f.Const("b", winoB)
	aa, bb := f.Const("aa", a2), f.Const("bb", b2)
	sum, product := f.Const("aa_plus_bb", a2+b2), f.Const("aa_times_bb", a2*b2)
	even, odd := f.Vec(), f.Vec()
	return func(d []emit.Vec) []emit.Vec {
		f.MulAdd(d[0], product, d[4])
		f.FNMA(d[0], d[2], sum)
		f.FNMA(d[5], d[3], sum)
		f.FMA(d[5], d[1], product)
		f.Copy(even, d[4])
		f.FNMA(even, d[2], bb)
		f.FNMA(d[4], d[2], aa)
		f.Copy(odd, d[3])
		f.FNMA(odd, d[1], bb)
		f.FNMA(d[3], d[1], aa)
		f.Copy(d[1], even)
		f.FMA(d[1], odd, a)
		f.Copy(d[2], even)
		f.FNMA(d[2], odd, a)
		f.Copy(even, d[4])
		f.FMA(even, d[3], b)
		f.FNMA(d[4], d[3], b)
		f.Copy(d[3], even)
		return d
	}
}

// winoOutput transforms columns, then the lines that are wanted, of 36 elements.
func winoOutput(file *emit.File) {
	f := file.Func("output_"+file.Target().Name, "reads the 36 elements of tiles from the matrices and writes 4 × 4 pixels of each, or fewer, at Image.", "a *Args")
	size := f.T.Bytes()
	w := newWinoTile(f)
	top := f.NewLabel("tile")
	f.Bind(top)
	w.columns()
	w.lines()
	f.AddTo(w.image, emit.Imm(winoOut*size))
	f.AddTo(w.matrix, emit.Imm(size))
	f.Raw("DECQ", emit.Field(w.args, "Args_Tiles"))
	f.Jump(emit.NE, top)
	f.Ret()
}

// winoTile is what winoOutput keeps in registers through all tiles.
type winoTile struct {
	f                       *emit.Func
	args                    emit.Reg
	image, tmp, matrix, add emit.Reg // add: from a pixel to its residual
	back                    func(m []emit.Vec) []emit.Vec
	m                       []emit.Vec
	lo, hi                  emit.Vec
}

func newWinoTile(f *emit.Func) *winoTile {
	w := &winoTile{f: f, args: f.Param(0), image: f.Reg(), tmp: f.Reg(), matrix: f.Reg(), add: f.Reg()}
	f.Set(w.image, emit.Field(w.args, "Args_Image"))
	f.Set(w.tmp, emit.Field(w.args, "Args_Tmp"))
	f.Set(w.matrix, emit.Field(w.args, "Args_Matrix"))
	f.Set(w.add, emit.Field(w.args, "Args_Add"))
	f.Raw("SUBQ", w.image, w.add)
	w.back = winoBack(f)
	w.m = f.Vecs(winoIn)
	w.lo, w.hi = f.Vec(), f.Vec()
	f.Splat(w.lo, emit.Field(w.args, "Args_Lo"))
	f.Splat(w.hi, emit.Field(w.args, "Args_Hi"))
	return w
}

// columns transforms the six columns of a tile, from the matrices to Tmp.
func (w *winoTile) columns() {
	f, size := w.f, w.f.T.Bytes()
	step := newWinoStep(f, w.args)
	f.Set(step.p, w.matrix)
	for x := range winoIn {
		for i := range w.m {
			f.Load(w.m[i], step.at(i))
		}
		for i, v := range w.back(w.m) {
			f.Store(emit.At(w.tmp, (i*winoIn+x)*size), v)
		}
		if x < winoIn-1 {
			step.next(f)
		}
	}
	f.Free(step.p, step.s1, step.s3, step.s5)
}

// lines transforms the lines of a tile that are wanted, and adds bias and residual.
func (w *winoTile) lines() {
	f, size := w.f, w.f.T.Bytes()
	from, to, lines, bias := f.Reg(), f.Reg(), f.Reg(), f.Reg()
	f.Set(from, w.tmp)
	f.Set(to, w.image)
	f.Set(bias, emit.Field(w.args, "Args_Bias"))
	f.Set(lines, emit.Field(w.args, "Args_Lines"))
	f.Loop(lines, func() {
		for i := range w.m {
			f.Load(w.m[i], emit.At(from, i*size))
		}
		y := w.back(w.m)
		for i := range y {
			f.Add(y[i], y[i], emit.At(bias, 0))
		}
		plain, done := f.NewLabel("plain"), f.NewLabel("done")
		f.JumpIf(emit.Field(w.args, "Args_Add"), emit.EQ, emit.Imm(0), plain)
		eachPixel(f, w.args, plain, func(i int) { f.Add(y[i], y[i], emit.At(to, i*size).Idx(w.add, 1)) })
		f.Bind(plain)
		eachPixel(f, w.args, done, func(i int) {
			f.Max(y[i], w.lo, y[i])
			f.Min(y[i], w.hi, y[i])
			f.Store(emit.At(to, i*size), y[i])
		})
		f.Bind(done)
		f.AddTo(from, emit.Imm(winoIn*size))
		f.AddTo(to, emit.Field(w.args, "Args_ImageLine"))
	})
	f.Free(from, to, lines, bias)
}

// eachPixel does something for the pixels of a tile that are wanted, then goes to end.
func eachPixel(f *emit.Func, args emit.Reg, end emit.Label, do func(i int)) {
	for i := range winoOut {
		if i > 0 {
			f.JumpIf(emit.Field(args, "Args_Pixels"), emit.LE, emit.Imm(i), end)
		}
		do(i)
	}
}

// winoBack turns six values into four; it overwrites all six.
func winoBack(f *emit.Func) func(m []emit.Vec) []emit.Vec {
	const a2, b2 = winoA * winoA, winoB * winoB
	a, b := f.Const("a", winoA), f.Const("b", winoB)
	aa, bb := f.Const("aa", a2), f.Const("bb", b2)
	aaa, bbb := f.Const("aaa", a2*winoA), f.Const("bbb", b2*winoB)
	t := f.Vec()
	return func(m []emit.Vec) []emit.Vec {
		f.Sub(t, m[1], m[2])
		f.Add(m[1], m[1], m[2])
		f.Sub(m[2], m[3], m[4])
		f.Add(m[3], m[3], m[4])
		f.Add(m[0], m[0], m[1])
		f.Add(m[0], m[0], m[3])
		f.FMA(m[5], t, aaa)
		f.FMA(m[5], m[2], bbb)
		f.Mul(t, t, a)
		f.FMA(t, m[2], b)
		f.Mul(m[1], m[1], aa)
		f.FMA(m[1], m[3], bb)
		return []emit.Vec{m[0], t, m[1], m[5]}
	}
}
