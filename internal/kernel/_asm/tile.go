package main

import (
	"fmt"
	"strings"

	"coreml/internal/kernel/asm/emit"
)

// tile is the state while one tile function is written: r rows by v vectors of accumulators
// that start from C, a bias or zero, gather lists of taps, and end with a residual, limits and stores.
// Both packages of tiles name their argument struct Args and its fields alike; gemm.Args is the contract.
type tile struct {
	f    *emit.Func
	v, r int

	args             emit.Reg
	acc              [][]emit.Vec // [row][vector]
	row              []emit.Reg   // pointers to rows 0, 7, 14, 21 of A
	stride, st3, st5 emit.Reg     // row stride of A, times 1, 3, 5
	w, wStride, wSt3 emit.Reg
	tap, count       emit.Reg
	base, wBase      emit.Reg // A at the current tile, and W; the latter only where registers suffice
}

// tapList names two fields of Args, a []Tap and its length, and what to do at each tap.
type tapList struct {
	taps, count string
	body        func()
}

func newTile(file *emit.File, name string, v, r int) *tile {
	f := file.Func(name, "", "a *Args")
	t := &tile{f: f, v: v, r: r}
	for range r {
		t.acc = append(t.acc, f.Vecs(v))
	}
	return t
}

func (t *tile) write(lists ...tapList) {
	f := t.f
	t.args = f.Param(0)
	top := f.NewLabel("tile")
	f.Bind(top)
	t.start()
	t.loops(lists)
	t.finish()
	f.Raw("DECQ", emit.Field(t.args, "Args_Tiles"))
	f.Jump(emit.NE, top)
	f.Ret()
}

// lastMask allocates the mask of the valid columns of the last vector.
func (t *tile) lastMask() emit.Mask {
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

func (t *tile) output(field string) output {
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
func (t *tile) start() {
	f := t.f
	bias, zero, end := f.NewLabel("bias"), f.NewLabel("zero"), f.NewLabel("started")
	last := t.lastMask()
	f.Raw("TESTQ", emit.Imm(flagAccumulate), emit.Field(t.args, "Args_Flags"))
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
func (t *tile) maskOf(v int, last emit.Mask) emit.Mask {
	if v == t.v-1 {
		return last
	}
	return emit.Mask{}
}

// loops visits all taps, in order.
func (t *tile) loops(lists []tapList) {
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
	t.base = f.Reg()
	f.Set(t.base, emit.Field(t.args, "Args_A"))
	f.AddTo(t.base, emit.Field(t.args, "Args_AOff"))
	held = append(held, t.base)
	if t.v == 1 && t.r <= 2*rowsPerPointer {
		t.wBase = f.Reg()
		f.Set(t.wBase, emit.Field(t.args, "Args_W"))
		held = append(held, t.wBase)
	}
	for _, l := range lists {
		f.Set(t.tap, emit.Field(t.args, l.taps))
		f.Set(t.count, emit.Field(t.args, l.count))
		f.LoopOrNone(t.count, func() {
			t.address()
			l.body()
			f.AddTo(t.tap, emit.Imm(tapSize))
		})
	}
	f.Free(held...)
}

// tapSize is the size of a Tap: the offsets of a tap in A and in W.
const tapSize = 16

// rowsPerPointer: with the stride times 1, 3 and 5 as index registers, two pointers seven
// rows apart reach 14 consecutive rows.
const rowsPerPointer = 7

// address points w and row at the current tap.
func (t *tile) address() {
	f := t.f
	f.Set(t.w, emit.At(t.tap, 8))
	if t.wBase != "" {
		f.AddTo(t.w, t.wBase)
	} else {
		f.AddTo(t.w, emit.Field(t.args, "Args_W"))
	}
	f.Set(t.row[0], emit.At(t.tap, 0))
	f.AddTo(t.row[0], t.base)
	for i := 1; i < len(t.row); i++ {
		f.Lea(t.row[i], emit.At(t.row[i-1], 0).Idx(t.stride, 2))
		f.AddTo(t.row[i], t.st5)
	}
}

// a is the address of row r, lane 0 of the current tap.
func (t *tile) a(r int) emit.Mem {
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
func (t *tile) wAt(v, u int) emit.Mem {
	m := emit.At(t.w, u*t.f.T.Bytes())
	switch v {
	case 0:
		return m
	case 3:
		return m.Idx(t.wSt3, 1)
	}
	return m.Idx(t.wStride, v)
}

// finish adds the residual, clamps, stores, and moves the offsets to the next tile.
func (t *tile) finish() {
	f := t.f
	last := t.lastMask()
	t.residual(last)
	t.limit(flagAtLeast, "Args_Lo", f.Max)
	t.limit(flagAtMost, "Args_Hi", f.Min)
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
	f.Set(o.row, emit.Field(t.args, "Args_CStep"))
	f.AddMem(emit.Field(t.args, "Args_COff"), o.row)
	f.Set(o.row, emit.Field(t.args, "Args_AStep"))
	f.AddMem(emit.Field(t.args, "Args_AOff"), o.row)
	o.free(f)
}

func (t *tile) residual(last emit.Mask) {
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

// Bits of Args.Flags.
const (
	flagAccumulate = 1 << iota
	flagAtLeast
	flagAtMost
	flagHalfScale
	flagRoundHalf
)

// limit keeps NaN: the comparison answers with the accumulator then.
func (t *tile) limit(flag int, field string, op func(d, a emit.Vec, b any)) {
	f := t.f
	none := f.NewLabel("nolimit")
	f.Raw("TESTQ", emit.Imm(flag), emit.Field(t.args, "Args_Flags"))
	f.Jump(emit.EQ, none)
	bound := f.Vec()
	f.Splat(bound, emit.Field(t.args, field))
	for _, acc := range t.acc {
		for _, a := range acc {
			op(a, bound, a)
		}
	}
	f.Free(bound)
	f.Bind(none)
}

// tileSwitch is Go text: a table name_limits, and a function name that calls the tile of i by j, where i is an
// index of limits and j is at most limits[i]. The calls are direct, so that the arguments need not escape, and
// the function has a frame, hence is a point where the goroutine can be stopped.
func tileSwitch(name string, limits []int, tileName func(i, j int) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nvar %s_limits = [...]int{%s}\n\n", name, strings.Trim(strings.ReplaceAll(fmt.Sprint(limits), " ", ", "), "[]"))
	fmt.Fprintf(&b, "// %s runs the tile i by j, 1 <= j <= %s_limits[i].\n//\n//go:noinline\n", name, name)
	fmt.Fprintf(&b, "func %s(i, j int, a *Args) {\n\tswitch i<<5 | j {\n", name)
	for i, limit := range limits {
		for j := 1; j <= limit; j++ {
			fmt.Fprintf(&b, "\tcase %d<<5 | %d:\n\t\t%s(a)\n", i, j, tileName(i, j))
		}
	}
	b.WriteString("\tdefault:\n\t\tpanic(\"BUG: no such tile\")\n\t}\n}\n")
	return b.String()
}
