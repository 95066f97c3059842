package main

import (
	"fmt"

	"coreml/internal/kernel/asm/emit"
)

// windowRows is the number of pixels of the longest tile.
func windowRows(t emit.Target) int {
	if t == emit.AVX512 {
		return 28
	}
	return 12
}

// windowTiles writes tiles of r pixels by one vector of channels, where every lane is a channel of its
// own: sums of products (depthwise convolution, average) and maxima. Contract: dw.Args.
func windowTiles(file *emit.File) {
	for r := 1; r <= windowRows(file.Target()); r++ {
		sum := newTile(file, windowName("sum", file.Target(), r), 1, r)
		sum.write(tapList{"Args_Taps", "Args_N", sum.channelProducts})
	}
	for r := 1; r <= windowRows(file.Target()); r++ {
		top := newTile(file, windowName("max", file.Target(), r), 1, r)
		top.write(tapList{"Args_Taps", "Args_N", top.channelMaxima})
	}
}

func windowName(op string, t emit.Target, r int) string { return fmt.Sprintf("%s%d_%s", op, r, t.Name) }

func windowDispatch(file *emit.File) string {
	t := file.Target()
	rows := []int{0, windowRows(t)}
	text := ""
	for _, op := range []string{"sum", "max"} {
		text += tileSwitch(op+"_"+t.Name, rows, func(_, r int) string { return windowName(op, t, r) })
	}
	return text
}

func (t *tile) channelProducts() {
	f := t.f
	w := f.Vec()
	f.Load(w, t.wAt(0, 0))
	for r := range t.r {
		f.FMA(t.acc[r][0], w, t.a(r))
	}
	f.Free(w)
}

// channelMaxima ignores a NaN in the input.
func (t *tile) channelMaxima() {
	f := t.f
	x := f.Vec()
	for r := range t.r {
		f.Load(x, t.a(r))
		f.Max(t.acc[r][0], x, t.acc[r][0])
	}
	f.Free(x)
}
