package main

import "coreml/internal/kernel/asm/emit"

// packs writes the two ways to bring a float32 matrix into gemm's panel form.
func packs(file *emit.File) {
	packCols(file)
	packRows(file)
}

// packCols gathers one panel of columns: k rows of lanes floats.
func packCols(file *emit.File) {
	f := file.Func("packCols_"+file.Target().Name,
		"copies the first n floats, 1 <= n <= lanes, of k >= 1 rows at src, stride bytes apart, to rows of lanes floats; the rest is zero.",
		"dst unsafe.Pointer", "src unsafe.Pointer", "stride int", "k int", "n int")
	dst, src, stride, k, n := f.Param(0), f.Param(1), f.Param(2), f.Param(3), f.Param(4)
	mask, v := f.MaskN(n), f.Vec()
	f.Loop(k, func() {
		f.LoadMask(v, emit.At(src, 0), mask)
		f.Store(emit.At(dst, 0), v)
		f.AddTo(src, stride)
		f.AddTo(dst, emit.Imm(f.T.Bytes()))
	})
	f.Ret()
}

// packRows transposes lanes rows, four columns at a time: register j takes rows j, j+4, j+8 …
// as its 128-bit quarters, and a 4 × 4 transposition inside the quarters puts all rows of a column side by side.
func packRows(file *emit.File) {
	f := file.Func("packRows_"+file.Target().Name,
		"transposes lanes rows of 4·k floats at src, stride bytes apart, to 4·k rows of lanes floats; k >= 1.",
		"dst unsafe.Pointer", "src unsafe.Pointer", "stride int", "k int")
	dst, src, stride, k := f.Param(0), f.Param(1), f.Param(2), f.Param(3)
	t := &tile{f: f, stride: stride, row: []emit.Reg{src}}
	t.st3, t.st5 = f.Reg(), f.Reg()
	f.Lea(t.st3, emit.At(stride, 0).Idx(stride, 2))
	f.Lea(t.st5, emit.At(stride, 0).Idx(stride, 4))
	for r := rowsPerPointer; r < f.T.Lanes; r += rowsPerPointer {
		last, next := t.row[len(t.row)-1], f.Reg()
		f.Lea(next, emit.At(last, 0).Idx(stride, 2))
		f.AddTo(next, t.st5)
		t.row = append(t.row, next)
	}
	z, u := f.Vecs(4), f.Vecs(4)
	f.Loop(k, func() {
		for j := range z {
			f.Raw("VMOVUPS", t.a(j), emit.Xmm(z[j]))
			for q := 1; q < f.T.Lanes/4; q++ {
				t.insert(z[j], t.a(j+4*q), q)
			}
		}
		f.Raw("VUNPCKLPS", z[1], z[0], u[0])
		f.Raw("VUNPCKHPS", z[1], z[0], u[1])
		f.Raw("VUNPCKLPS", z[3], z[2], u[2])
		f.Raw("VUNPCKHPS", z[3], z[2], u[3])
		f.Raw("VUNPCKLPD", u[2], u[0], z[0])
		f.Raw("VUNPCKHPD", u[2], u[0], z[1])
		f.Raw("VUNPCKLPD", u[3], u[1], z[2])
		f.Raw("VUNPCKHPD", u[3], u[1], z[3])
		for j := range z {
			f.Store(emit.At(dst, j*f.T.Bytes()), z[j])
		}
		for _, p := range t.row {
			f.AddTo(p, emit.Imm(16))
		}
		f.AddTo(dst, emit.Imm(4*f.T.Bytes()))
	})
	f.Ret()
}

// insert loads quarter q of z.
func (t *tile) insert(z emit.Vec, m emit.Mem, q int) {
	if t.f.T.Lanes == 16 {
		t.f.Raw("VINSERTF32X4", emit.Imm(q), m, z, z)
		return
	}
	t.f.Raw("VINSERTF128", emit.Imm(q), m, z, z)
}
