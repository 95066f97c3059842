package main

import (
	"fmt"

	"coreml/internal/kernel/asm/emit"
)

// form is a way to store weights that is decoded in registers: gemm.Form.
type form struct {
	name  string
	bytes func(t emit.Target) int // of eight steps of K of one panel
	// begin reads what eight steps share; step leaves the weights of step j in d. tail: a step can stand alone.
	begin func(c *compressed, v int, d emit.Vec)
	step  func(c *compressed, v, j int, raw, d emit.Vec)
	tail  bool
}

// steps is how many steps of K one pass handles.
const steps = 8

var forms = []form{
	{name: "half", bytes: func(t emit.Target) int { return steps * 2 * t.Lanes }, step: (*compressed).half, tail: true},
	{name: "int8", bytes: func(t emit.Target) int { return steps * t.Lanes }, step: (*compressed).int8, tail: true},
	{name: "lut4", bytes: func(t emit.Target) int { return steps / 2 * t.Lanes }, begin: (*compressed).packed, step: (*compressed).lut4},
}

// compressedVectors is the number of vectors of the widest tile of r rows: two accumulators each,
// the packed words of each, a broadcast for each row, and what decoding needs.
func compressedVectors(t emit.Target, r int) int {
	if t == emit.AVX512 {
		return []int{0, 4, 4, 4, 3}[r]
	}
	return []int{0, 4, 2, 1, 1}[r]
}

const compressedRows = 4

// compressedTiles writes tiles of few rows over compressed weights, and for each form the
// expansion of one panel into float32. Contract: gemm.Compressed and gemm.Args.
func compressedTiles(file *emit.File) {
	for _, fm := range forms {
		for r := 1; r <= compressedRows; r++ {
			for v := 1; v <= compressedVectors(file.Target(), r); v++ {
				c := &compressed{tile: newTile(file, compressedName(fm, file.Target(), v, r), v, r), form: fm}
				c.write()
			}
		}
		c := &compressed{tile: newTile(file, "expand_"+fm.name+"_"+file.Target().Name, 0, 0), form: fm}
		c.expand()
	}
}

func compressedName(fm form, t emit.Target, v, r int) string {
	return fmt.Sprintf("%s%dx%d_%s", fm.name, r, v, t.Name)
}

// compressedDispatch declares, for each form, the vectors of the widest tile by number of rows, and the switch.
func compressedDispatch(file *emit.File) string {
	t := file.Target()
	text := ""
	vectors := []int{0}
	for r := 1; r <= compressedRows; r++ {
		vectors = append(vectors, compressedVectors(t, r))
	}
	for _, fm := range forms {
		text += tileSwitch(fm.name+"_"+t.Name, vectors, func(r, v int) string { return compressedName(fm, t, v, r) })
	}
	return text
}

// compressed is a tile whose weights are decoded. One block of K is summed in part, which is then
// scaled and added to acc.
type compressed struct {
	*tile
	form   form
	part   [][]emit.Vec
	a      emit.Reg
	lut    emit.Reg
	blocks emit.Reg
}

func (c *compressed) write() {
	f := c.f
	c.args = f.Param(0)
	c.start()
	c.walk(c.v)
	c.a = f.Reg()
	f.Set(c.a, emit.Field(c.args, "Args_A"))
	c.stride, c.st3 = f.Reg(), f.Reg()
	f.Set(c.stride, emit.Field(c.args, "Args_RowStride"))
	f.Lea(c.st3, emit.At(c.stride, 0).Idx(c.stride, 2))
	for range c.r {
		c.part = append(c.part, f.Vecs(c.v))
	}
	f.Loop(c.blocks, func() {
		for _, row := range c.part {
			for _, p := range row {
				f.Zero(p)
			}
		}
		c.passes(c.v, c.products)
		c.fold()
		c.nextBlock()
	})
	for _, row := range c.part {
		f.Free(row)
	}
	c.free()
	f.Free(c.a, c.stride, c.st3)
	c.finish()
	f.Ret()
}

// walk sets the registers that follow W, the tables and the blocks.
func (c *compressed) walk(v int) {
	f := c.f
	c.w, c.lut, c.blocks = f.Reg(), f.Reg(), f.Reg()
	f.Set(c.w, emit.Field(c.args, "Args_W"))
	f.Set(c.lut, emit.Field(c.args, "Args_Lut"))
	f.Set(c.blocks, emit.Field(c.args, "Args_Blocks"))
	c.wStride, c.wSt3 = "", ""
	if v > 1 {
		c.wStride = f.Reg()
		f.Set(c.wStride, emit.Field(c.args, "Args_WStride"))
	}
	if v > 3 {
		c.wSt3 = f.Reg()
		f.Lea(c.wSt3, emit.At(c.wStride, 0).Idx(c.wStride, 2))
	}
}

func (c *compressed) free() {
	c.f.Free(c.w, c.lut, c.blocks)
	for _, r := range []emit.Reg{c.wStride, c.wSt3} {
		if r != "" {
			c.f.Free(r)
		}
	}
}

// passes runs body over the steps of one block, eight at a time and then one by one.
func (c *compressed) passes(v int, body func(n int)) {
	f := c.f
	n := f.Reg()
	f.Set(n, emit.Field(c.args, "Args_BlockK"))
	f.ShiftRight(n, 3)
	f.LoopOrNone(n, func() {
		body(steps)
		f.AddTo(c.w, emit.Imm(c.form.bytes(f.T)))
	})
	if c.form.tail {
		f.Set(n, emit.Field(c.args, "Args_BlockK"))
		f.AndImm(n, steps-1)
		f.LoopOrNone(n, func() {
			body(1)
			f.AddTo(c.w, emit.Imm(c.form.bytes(f.T)/steps))
		})
	}
	f.Free(n)
}

// products adds n steps to part.
func (c *compressed) products(n int) {
	f := c.f
	raw := c.begin(c.v)
	d := f.Vec()
	wide := c.wideBroadcast()
	var x []emit.Vec
	if wide {
		x = f.Vecs(c.r)
	}
	for j := range n {
		for r := range x {
			f.Splat(x[r], c.aAt(r, j))
		}
		for v := range c.v {
			c.step(v, j, raw, d)
			for r := range c.r {
				if wide {
					f.FMA(c.part[r][v], d, x[r])
					continue
				}
				t := f.Vec()
				f.FMALane(c.part[r][v], d, c.aAt(r, j), t)
				f.Free(t)
			}
		}
	}
	f.AddTo(c.a, emit.Imm(4*n))
	f.Free(d, raw, x)
}

// wideBroadcast: the rows of A fit in registers of their own.
func (c *compressed) wideBroadcast() bool { return c.f.T.Masks || c.r*c.v <= 2 }

func (c *compressed) begin(v int) []emit.Vec {
	if c.form.begin == nil {
		return nil
	}
	raw := c.f.Vecs(v)
	for i, r := range raw {
		c.form.begin(c, i, r)
	}
	return raw
}

func (c *compressed) step(v, j int, raw []emit.Vec, d emit.Vec) {
	var packed emit.Vec
	if raw != nil {
		packed = raw[v]
	}
	c.form.step(c, v, j, packed, d)
}

// aAt is step j of row r of A.
func (c *compressed) aAt(r, j int) emit.Mem {
	m := emit.At(c.a, 4*j)
	switch r {
	case 0:
		return m
	case 3:
		return m.Idx(c.st3, 1)
	}
	return m.Idx(c.stride, r)
}

// wBytes is the memory of panel v, disp bytes ahead.
func (c *compressed) wBytes(v, disp int) emit.Mem {
	m := c.wAt(v, 0)
	return m.Plus(disp)
}

func (c *compressed) half(v, j int, _, d emit.Vec) {
	c.f.Widen16(d, c.wBytes(v, 2*j*c.f.T.Lanes))
}

func (c *compressed) int8(v, j int, _, d emit.Vec) {
	c.f.Raw("VPMOVSXBD", c.wBytes(v, j*c.f.T.Lanes), d)
	c.f.ToFloat(d, d)
}

func (c *compressed) packed(v int, d emit.Vec) { c.f.Load(d, c.wBytes(v, 0)) }

// lut4 looks up the low nibble of each word and shifts the next one down.
func (c *compressed) lut4(v, j int, raw, d emit.Vec) {
	f := c.f
	table := emit.At(c.lut, 64*v)
	if f.T.Lanes == 16 {
		f.Raw("VPERMPS", table, raw, d)
	} else {
		hi, bit3 := f.Vec(), f.Vec()
		f.Shl(bit3, raw, 28)
		f.Raw("VPERMPS", table, raw, d)
		f.Raw("VPERMPS", table.Plus(32), raw, hi)
		f.Raw("VBLENDVPS", bit3, hi, d, d)
		f.Free(hi, bit3)
	}
	if j < steps-1 {
		f.Shr(raw, raw, 4)
	}
}

// fold is acc += part·scale + asum·shift; without Scale, acc += part.
func (c *compressed) fold() {
	f := c.f
	plain, end := f.NewLabel("plain"), f.NewLabel("folded")
	p, sums := f.Reg(), f.Reg()
	s := f.Vec()
	c.table(p, "Args_Scale", plain)
	for v := range c.v {
		c.loadScale(s, p)
		for r := range c.r {
			f.FMA(c.acc[r][v], c.part[r][v], s)
		}
		f.AddTo(p, emit.Field(c.args, "Args_ScalePanel"))
	}
	c.table(p, "Args_Shift", end)
	f.Set(sums, emit.Field(c.args, "Args_ASum"))
	f.AddTo(sums, emit.Field(c.args, "Args_ASumOff"))
	for v := range c.v {
		c.loadScale(s, p)
		for r := range c.r {
			t := f.Vec()
			f.FMALane(c.acc[r][v], s, emit.At(sums, 4*r), t)
			f.Free(t)
		}
		f.AddTo(p, emit.Field(c.args, "Args_ScalePanel"))
	}
	f.Jump(emit.Always, end)
	f.Bind(plain)
	for r, row := range c.part {
		for v, x := range row {
			f.Add(c.acc[r][v], c.acc[r][v], x)
		}
	}
	f.Bind(end)
	f.Free(p, sums, s)
}

// table points p at the current block of a table of scales, or jumps where there is none.
func (c *compressed) table(p emit.Reg, field string, none emit.Label) {
	f := c.f
	f.Set(p, emit.Field(c.args, field))
	f.Raw("TESTQ", p, p)
	f.Jump(emit.EQ, none)
	f.AddTo(p, emit.Field(c.args, "Args_ScaleOff"))
}

// loadScale reads a vector of scales, float16 or float32.
func (c *compressed) loadScale(s emit.Vec, p emit.Reg) {
	f := c.f
	half, end := f.NewLabel("half"), f.NewLabel("scale")
	f.Raw("TESTQ", emit.Imm(flagHalfScale), emit.Field(c.args, "Args_Flags"))
	f.Jump(emit.NE, half)
	f.Load(s, emit.At(p, 0))
	f.Jump(emit.Always, end)
	f.Bind(half)
	f.Widen16(s, emit.At(p, 0))
	f.Bind(end)
}

// nextBlock moves the tables on.
func (c *compressed) nextBlock() {
	f := c.f
	t := f.Reg()
	f.Set(t, emit.Field(c.args, "Args_ScaleBlock"))
	f.AddMem(emit.Field(c.args, "Args_ScaleOff"), t)
	f.Set(t, emit.Imm(16))
	f.AddMem(emit.Field(c.args, "Args_ASumOff"), t)
	f.Free(t)
}

// expand writes the weights of one panel to C as float32: value·scale + shift.
func (c *compressed) expand() {
	f := c.f
	c.args = f.Param(0)
	c.walk(1)
	out := f.Reg()
	f.Set(out, emit.Field(c.args, "Args_C"))
	scale, shift := f.Vec(), f.Vec()
	f.Loop(c.blocks, func() {
		c.expandTables(scale, shift)
		rounded, end := f.NewLabel("rounded"), f.NewLabel("expanded")
		f.Raw("TESTQ", emit.Imm(flagRoundHalf), emit.Field(c.args, "Args_Flags"))
		f.Jump(emit.NE, rounded)
		c.expandPasses(out, scale, shift, false)
		f.Jump(emit.Always, end)
		f.Bind(rounded)
		c.expandPasses(out, scale, shift, true)
		f.Bind(end)
		c.nextBlock()
	})
	f.Ret()
}

// expandPasses stores one block; the place of the result serves to round it to float16.
func (c *compressed) expandPasses(out emit.Reg, scale, shift emit.Vec, round bool) {
	f := c.f
	c.passes(1, func(n int) {
		raw := c.begin(1)
		d := f.Vec()
		for j := range n {
			c.step(0, j, raw, d)
			f.MulAdd(d, scale, shift)
			at := emit.At(out, j*f.T.Bytes())
			if round {
				f.Narrow16(at, d)
				f.Widen16(d, at)
			}
			f.Store(at, d)
		}
		f.AddTo(out, emit.Imm(n*f.T.Bytes()))
		f.Free(d, raw)
	})
}

func (c *compressed) expandTables(scale, shift emit.Vec) {
	f := c.f
	noScale, noShift := f.NewLabel("noscale"), f.NewLabel("noshift")
	p := f.Reg()
	f.Splat(scale, f.File().Float32s("one", 1))
	f.Zero(shift)
	c.table(p, "Args_Scale", noScale)
	c.loadScale(scale, p)
	f.Bind(noScale)
	c.table(p, "Args_Shift", noShift)
	c.loadScale(shift, p)
	f.Bind(noShift)
	f.Free(p)
}
