package main

import (
	"fmt"

	"coreml/internal/kernel/asm/emit"
)

// maxVectors is the largest number of output vectors of a tile.
const maxVectors = 4

// tapRows is the number of rows of the tallest tile of v vectors: what the register file
// holds beside the vectors of W and one broadcast, and the general registers for one vector.
func tapRows(t emit.Target, v int) int {
	if t == emit.AVX512 {
		return []int{0, 21, 14, 9, 6}[v]
	}
	return []int{0, 12, 6, 4, 3}[v]
}

// tapUnroll is how many lanes of a vector tap one pass of the inner loop handles.
const tapUnroll = 4

// taps writes one tile function for every shape of v vectors by r rows. Contract: gemm.Args.
func taps(file *emit.File) {
	for v := 1; v <= maxVectors; v++ {
		for r := 1; r <= tapRows(file.Target(), v); r++ {
			t := newTile(file, tapName(file.Target(), v, r), v, r)
			t.write(tapList{"Args_TapsV", "Args_NV", t.vectorTap}, tapList{"Args_Taps1", "Args_N1", func() { t.lane(0) }})
		}
	}
}

func tapName(t emit.Target, v, r int) string { return fmt.Sprintf("taps%dx%d_%s", r, v, t.Name) }

// tapsDispatch declares the rows of the tallest tile by number of vectors, and the switch over the tiles.
func tapsDispatch(file *emit.File) string {
	t := file.Target()
	rows := []int{0}
	for v := 1; v <= maxVectors; v++ {
		rows = append(rows, tapRows(t, v))
	}
	return tileSwitch("taps_"+t.Name, rows, func(v, r int) string { return tapName(t, v, r) })
}

// vectorTap accumulates Lanes consecutive floats of A.
func (t *tile) vectorTap() {
	f := t.f
	passes := f.Reg()
	t.prefetch(passes)
	f.Set(passes, emit.Imm(f.T.Lanes/tapUnroll))
	f.Loop(passes, func() {
		for u := range tapUnroll {
			t.lane(u)
		}
		for _, p := range t.row {
			f.AddTo(p, emit.Imm(4*tapUnroll))
		}
		f.AddTo(t.w, emit.Imm(tapUnroll*f.T.Bytes()))
	})
	f.Free(passes)
}

// aheadLines is the number of cache lines that each vector tap prefetches.
const aheadLines = 8

// prefetch brings a few lines of what the next tiles read into the second-level cache. p is free.
func (t *tile) prefetch(p emit.Reg) {
	f := t.f
	f.Set(p, emit.Field(t.args, "Args_Ahead"))
	for i := range aheadLines {
		f.Raw("PREFETCHT1", emit.At(p, 64*i))
	}
	f.AddTo(p, emit.Field(t.args, "Args_AheadStep"))
	f.Save(emit.Field(t.args, "Args_Ahead"), p)
}

// lane accumulates one step of K, u ahead of the pointers. The smaller side of the tile
// is held in registers, the other one passes through a single register.
func (t *tile) lane(u int) {
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
