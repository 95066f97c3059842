package main

import "coreml/internal/kernel/asm/emit"

// transposeTiles writes the kernel that transposes square tiles, one beside the other in src.
//
// A register takes in a quarter row of every fourth row: lane group g holds row 4g+r. Then
// a transpose of 4 × 4 inside each lane group gives whole columns, with half the shuffles of
// the textbook sequence.
func transposeTiles(file *emit.File) {
	f := file.Func("transpose_"+file.Target().Name,
		"transposes tiles of as many rows and columns as a vector has lanes; strides in bytes, tiles >= 1.",
		"dst unsafe.Pointer", "dstStride int", "src unsafe.Pointer", "srcStride int", "tiles int")
	const quarter = 16 // bytes of four columns
	groups := f.T.Lanes / 4
	dst, ds, src, ss, n := f.Param(0), f.Param(1), f.Param(2), f.Param(3), f.Param(4)
	ds3, ss3 := f.Reg(), f.Reg()
	f.Lea(ds3, emit.At(ds, 0).Idx(ds, 2))
	f.Lea(ss3, emit.At(ss, 0).Idx(ss, 2))
	rows := []emit.Reg{src} // rows 0, 4, 8, 12
	for g := 1; g < groups; g++ {
		rows = append(rows, f.Reg())
		f.Lea(rows[g], emit.At(rows[g-1], 0).Idx(ss, 4))
	}
	f.Loop(n, func() {
		for q := range groups {
			columns := transposeQuarter(f, rows, ss, ss3, q*quarter)
			for i, c := range columns {
				f.Store(strided(dst, ds, ds3, i), c)
			}
			f.Free(columns)
			f.Lea(dst, emit.At(dst, 0).Idx(ds, 4))
		}
		for _, r := range rows {
			f.AddTo(r, emit.Imm(f.T.Bytes()))
		}
	})
	f.Ret()
}

// strided is p + i·stride for i < 4.
func strided(p, stride, stride3 emit.Reg, i int) emit.Mem {
	m := emit.At(p, 0)
	switch i {
	case 1, 2:
		return m.Idx(stride, i)
	case 3:
		return m.Idx(stride3, 1)
	}
	return m
}

// transposeQuarter allocates the four columns at a displacement.
func transposeQuarter(f *emit.Func, rows []emit.Reg, ss, ss3 emit.Reg, disp int) []emit.Vec {
	insert := "VINSERTF128"
	if f.T.Masks {
		insert = "VINSERTF32X4"
	}
	x := f.Vecs(4)
	for r, v := range x {
		f.Raw("VMOVUPS", strided(rows[0], ss, ss3, r).Plus(disp), emit.Xmm(v))
		for g := 1; g < len(rows); g++ {
			f.Raw(insert, emit.Imm(g), strided(rows[g], ss, ss3, r).Plus(disp), v, v)
		}
	}
	t := f.Vecs(4)
	f.Raw("VUNPCKLPS", x[1], x[0], t[0])
	f.Raw("VUNPCKHPS", x[1], x[0], t[1])
	f.Raw("VUNPCKLPS", x[3], x[2], t[2])
	f.Raw("VUNPCKHPS", x[3], x[2], t[3])
	f.Raw("VUNPCKLPD", t[2], t[0], x[0])
	f.Raw("VUNPCKHPD", t[2], t[0], x[1])
	f.Raw("VUNPCKLPD", t[3], t[1], x[2])
	f.Raw("VUNPCKHPD", t[3], t[1], x[3])
	f.Free(t)
	return x
}
