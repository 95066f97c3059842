package main

import (
	"fmt"
	"strings"

	"coreml/internal/kernel/asm/emit"
)

// maxVectors is the largest number of output vectors of a tile.
const maxVectors = 4

// tapRows is the number of rows of the tallest tile of v vectors: what the register file
// holds beside the vectors of W and one broadcast.
func tapRows(t emit.Target, v int) int {
	if t == emit.AVX512 {
		return []int{0, 28, 14, 9, 6}[v]
	}
	return []int{0, 12, 6, 4, 3}[v]
}

// tapUnroll is how many lanes of a vector tap one pass of the inner loop handles.
const tapUnroll = 4

// taps writes one tile function for every shape of v vectors by r rows. Contract: gemm.Args.
func taps(file *emit.File) {
	for v := 1; v <= maxVectors; v++ {
		for r := 1; r <= tapRows(file.Target(), v); r++ {
			newTapTile(file, v, r).write()
		}
	}
}

func tapName(t emit.Target, v, r int) string { return fmt.Sprintf("taps%dx%d_%s", r, v, t.Name) }

// tapsDispatch is the Go switch over the tiles: direct calls, so that the arguments need
// not escape. It is a real call with a frame, hence a point where the goroutine can be stopped.
func tapsDispatch(file *emit.File) string {
	t := file.Target()
	var b strings.Builder
	fmt.Fprintf(&b, "\nvar tapRows_%s = [...]int{0", t.Name)
	for v := 1; v <= maxVectors; v++ {
		fmt.Fprintf(&b, ", %d", tapRows(t, v))
	}
	fmt.Fprintf(&b, "}\n\n// taps_%s runs the tile of r rows by v vectors.\n//\n//go:noinline\n", t.Name)
	fmt.Fprintf(&b, "func taps_%s(v, r int, a *Args) {\n\tswitch v<<5 | r {\n", t.Name)
	for v := 1; v <= maxVectors; v++ {
		for r := 1; r <= tapRows(t, v); r++ {
			fmt.Fprintf(&b, "\tcase %d<<5 | %d:\n\t\t%s(a)\n", v, r, tapName(t, v, r))
		}
	}
	b.WriteString("\tdefault:\n\t\tpanic(\"BUG: gemm: no such tile\")\n\t}\n}\n")
	return b.String()
}

// tapTile is the state while one tile function is written.
type tapTile struct {
	f    *emit.Func
	v, r int

	args               emit.Reg
	acc                [][]emit.Vec // [row][vector]
	row                []emit.Reg   // pointers to rows 0, 7, 14, 21 of A
	stride, st3, st5   emit.Reg     // row stride of A, times 1, 3, 5
	w, wStride, wSt3   emit.Reg
	tap, count, passes emit.Reg
}

func newTapTile(file *emit.File, v, r int) *tapTile {
	f := file.Func(tapName(file.Target(), v, r), "", "a *Args")
	t := &tapTile{f: f, v: v, r: r}
	for range r {
		t.acc = append(t.acc, f.Vecs(v))
	}
	return t
}

func (t *tapTile) write() {
	f := t.f
	t.args = f.Param(0)
	top := f.NewLabel("tile")
	f.Bind(top)
	t.start()
	t.loops()
	t.finish()
	f.Raw("DECQ", emit.Field(t.args, "Args_Tiles"))
	f.Jump(emit.NE, top)
	f.Ret()
}

// lastMask allocates the mask of the valid columns of the last vector.
func (t *tapTile) lastMask() emit.Mask {
	n := t.f.Reg()
	t.f.Set(n, emit.Field(t.args, "Args_NMask"))
	m := t.f.MaskN(n)
	t.f.Free(n)
	return m
}

// output is a walk over the rows of C, or of Add, which has the same strides.
type output struct {
	p, row, vec, vec3 emit.Reg
}

func (t *tapTile) output(field string) output {
	f := t.f
	o := output{p: f.Reg(), row: f.Reg(), vec: f.Reg(), vec3: f.Reg()}
	f.Set(o.p, emit.Field(t.args, field))
	f.AddTo(o.p, emit.Field(t.args, "Args_COff"))
	f.Set(o.row, emit.Field(t.args, "Args_CRow"))
	f.Set(o.vec, emit.Field(t.args, "Args_CVec"))
	f.Lea(o.vec3, emit.At(o.vec, 0).Idx(o.vec, 2))
	return o
}

func (o output) free(f *emit.Func) { f.Free(o.p, o.row, o.vec, o.vec3) }

// at is the address of vector v of the current row.
func (o output) at(v int) emit.Mem {
	m := emit.At(o.p, 0)
	switch v {
	case 0:
		return m
	case 3:
		return m.Idx(o.vec3, 1)
	}
	return m.Idx(o.vec, v)
}

// start sets the accumulators to C, the bias, or zero.
func (t *tapTile) start() {
	f := t.f
	bias, zero, end := f.NewLabel("bias"), f.NewLabel("zero"), f.NewLabel("started")
	last := t.lastMask()
	f.Raw("TESTQ", emit.Imm(1), emit.Field(t.args, "Args_Flags"))
	f.Jump(emit.EQ, bias)
	o := t.output("Args_C")
	for r, acc := range t.acc {
		if r > 0 {
			f.AddTo(o.p, o.row)
		}
		for v := range acc {
			f.LoadMask(acc[v], o.at(v), t.maskOf(v, last))
		}
	}
	o.free(f)
	f.Jump(emit.Always, end)

	f.Bind(bias)
	p := f.Reg()
	f.Set(p, emit.Field(t.args, "Args_Bias"))
	f.Raw("TESTQ", p, p)
	f.Jump(emit.EQ, zero)
	for v := range t.v {
		f.LoadMask(t.acc[0][v], emit.At(p, v*f.T.Bytes()), t.maskOf(v, last))
		for r := 1; r < t.r; r++ {
			f.Copy(t.acc[r][v], t.acc[0][v])
		}
	}
	f.Free(p)
	f.Jump(emit.Always, end)

	f.Bind(zero)
	for _, acc := range t.acc {
		for _, a := range acc {
			f.Zero(a)
		}
	}
	f.Bind(end)
	f.Free(last)
}

// maskOf is the mask of vector v: only the last one may be partial.
func (t *tapTile) maskOf(v int, last emit.Mask) emit.Mask {
	if v == t.v-1 {
		return last
	}
	return emit.Mask{}
}

// loops accumulates all taps: those of a vector of lanes, then those of one lane.
func (t *tapTile) loops() {
	f := t.f
	t.tap, t.count, t.w = f.Reg(), f.Reg(), f.Reg()
	t.stride, t.st3, t.st5 = f.Reg(), f.Reg(), f.Reg()
	held := []any{t.tap, t.count, t.w, t.stride, t.st3, t.st5}
	f.Set(t.stride, emit.Field(t.args, "Args_RowStride"))
	f.Lea(t.st3, emit.At(t.stride, 0).Idx(t.stride, 2))
	f.Lea(t.st5, emit.At(t.stride, 0).Idx(t.stride, 4))
	if t.v > 1 {
		t.wStride = f.Reg()
		f.Set(t.wStride, emit.Field(t.args, "Args_WStride"))
		held = append(held, t.wStride)
	}
	if t.v > 3 {
		t.wSt3 = f.Reg()
		f.Lea(t.wSt3, emit.At(t.wStride, 0).Idx(t.wStride, 2))
		held = append(held, t.wSt3)
	}
	for r := 0; r < t.r; r += rowsPerPointer {
		t.row = append(t.row, f.Reg())
		held = append(held, t.row[len(t.row)-1])
	}
	t.passes = f.Reg()
	t.loop("Args_TapsV", "Args_NV", t.vectorTap)
	f.Free(t.passes)
	t.loop("Args_Taps1", "Args_N1", func() { t.lane(0) })
	f.Free(held...)
}

// tapSize is the size of gemm.Tap: the offsets of a tap in A and in W.
const tapSize = 16

func (t *tapTile) loop(list, count string, body func()) {
	f := t.f
	f.Set(t.tap, emit.Field(t.args, list))
	f.Set(t.count, emit.Field(t.args, count))
	f.LoopOrNone(t.count, func() {
		t.address()
		body()
		f.AddTo(t.tap, emit.Imm(tapSize))
	})
}

// rowsPerPointer: with the stride times 1, 3 and 5 as index registers, two pointers seven
// rows apart reach 14 consecutive rows.
const rowsPerPointer = 7

// address points w and row at the current tap.
func (t *tapTile) address() {
	f := t.f
	f.Set(t.w, emit.Field(t.args, "Args_W"))
	f.AddTo(t.w, emit.At(t.tap, 8))
	f.Set(t.row[0], emit.Field(t.args, "Args_A"))
	f.AddTo(t.row[0], emit.Field(t.args, "Args_AOff"))
	f.AddTo(t.row[0], emit.At(t.tap, 0))
	for i := 1; i < len(t.row); i++ {
		f.Lea(t.row[i], emit.At(t.row[i-1], 0).Idx(t.stride, 2))
		f.AddTo(t.row[i], t.st5)
	}
}

// a is the address of row r, lane 0 of the current tap.
func (t *tapTile) a(r int) emit.Mem {
	p := emit.At(t.row[r/rowsPerPointer], 0)
	reach := map[int]func() emit.Mem{
		0: func() emit.Mem { return p },
		1: func() emit.Mem { return p.Idx(t.stride, 1) },
		2: func() emit.Mem { return p.Idx(t.stride, 2) },
		3: func() emit.Mem { return p.Idx(t.st3, 1) },
		4: func() emit.Mem { return p.Idx(t.stride, 4) },
		5: func() emit.Mem { return p.Idx(t.st5, 1) },
		6: func() emit.Mem { return p.Idx(t.st3, 2) },
	}
	return reach[r%rowsPerPointer]()
}

// wAt is the address of vector v of W, u steps of K ahead.
func (t *tapTile) wAt(v, u int) emit.Mem {
	m := emit.At(t.w, u*t.f.T.Bytes())
	switch v {
	case 0:
		return m
	case 3:
		return m.Idx(t.wSt3, 1)
	}
	return m.Idx(t.wStride, v)
}

// vectorTap accumulates Lanes consecutive floats of A.
func (t *tapTile) vectorTap() {
	f := t.f
	f.Set(t.passes, emit.Imm(f.T.Lanes/tapUnroll))
	f.Loop(t.passes, func() {
		for u := range tapUnroll {
			t.lane(u)
		}
		for _, p := range t.row {
			f.AddTo(p, emit.Imm(4*tapUnroll))
		}
		f.AddTo(t.w, emit.Imm(tapUnroll*f.T.Bytes()))
	})
}

// lane accumulates one step of K, u ahead of the pointers. The smaller side of the tile
// is held in registers, the other one passes through a single register.
func (t *tapTile) lane(u int) {
	f := t.f
	switch {
	case t.v == 1:
		w, b := f.Vec(), f.Vec()
		f.Load(w, t.wAt(0, u))
		for r := range t.r {
			f.FMALane(t.acc[r][0], w, t.a(r).Plus(4*u), b)
		}
		f.Free(w, b)
	case t.v <= t.r:
		w, b := f.Vecs(t.v), f.Vec()
		for v := range w {
			f.Load(w[v], t.wAt(v, u))
		}
		for r := range t.r {
			f.Splat(b, t.a(r).Plus(4*u))
			for v := range w {
				f.FMA(t.acc[r][v], w[v], b)
			}
		}
		f.Free(w, b)
	default:
		b, w := f.Vecs(t.r), f.Vec()
		for r := range b {
			f.Splat(b[r], t.a(r).Plus(4*u))
		}
		for v := range t.v {
			f.Load(w, t.wAt(v, u))
			for r := range b {
				f.FMA(t.acc[r][v], b[r], w)
			}
		}
		f.Free(b, w)
	}
}

// finish adds the residual, clamps, stores, and moves the offsets to the next tile.
func (t *tapTile) finish() {
	f := t.f
	last := t.lastMask()
	t.residual(last)
	t.clamp()
	o := t.output("Args_C")
	for r, acc := range t.acc {
		if r > 0 {
			f.AddTo(o.p, o.row)
		}
		for v := range acc {
			f.StoreMask(o.at(v), acc[v], t.maskOf(v, last))
		}
	}
	f.Free(last)
	f.Raw("IMUL3Q", emit.Imm(t.r), o.row, o.row)
	f.AddMem(emit.Field(t.args, "Args_COff"), o.row)
	f.Raw("IMUL3Q", emit.Imm(t.r), emit.Field(t.args, "Args_RowStride"), o.row)
	f.AddMem(emit.Field(t.args, "Args_AOff"), o.row)
	o.free(f)
}

func (t *tapTile) residual(last emit.Mask) {
	f := t.f
	none := f.NewLabel("noadd")
	o := t.output("Args_Add")
	f.JumpIf(emit.Field(t.args, "Args_Add"), emit.EQ, emit.Imm(0), none)
	for r, acc := range t.acc {
		if r > 0 {
			f.AddTo(o.p, o.row)
		}
		for v := range acc {
			if v < t.v-1 {
				f.Add(acc[v], acc[v], o.at(v))
				continue
			}
			x := f.Vec()
			f.LoadMask(x, o.at(v), last)
			f.Add(acc[v], acc[v], x)
			f.Free(x)
		}
	}
	f.Bind(none)
	o.free(f)
}

// clamp keeps NaN: the comparison answers with the accumulator then.
func (t *tapTile) clamp() {
	f := t.f
	none := f.NewLabel("noclamp")
	f.Raw("TESTQ", emit.Imm(2), emit.Field(t.args, "Args_Flags"))
	f.Jump(emit.EQ, none)
	bound := f.Vec()
	f.Splat(bound, emit.Field(t.args, "Args_Lo"))
	for _, acc := range t.acc {
		for _, a := range acc {
			f.Max(a, bound, a)
		}
	}
	f.Splat(bound, emit.Field(t.args, "Args_Hi"))
	for _, acc := range t.acc {
		for _, a := range acc {
			f.Min(a, bound, a)
		}
	}
	f.Free(bound)
	f.Bind(none)
}
