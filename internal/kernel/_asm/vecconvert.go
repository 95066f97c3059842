package main

import (
	"fmt"
	"strings"

	"coreml/internal/kernel/asm/emit"
)

// Conversions between float32 and narrower types. They take whole vectors; the rest is done in
// Go, with the same result, since narrow elements cannot be loaded under a mask everywhere.

// conversion is one kernel.
type conversion struct {
	Field    string // of vec.Funcs
	Type     string // of the narrow side, in Go
	Dst, Src int    // bytes of an element
	Body     func(k *kern, dst, src emit.Mem, s []emit.Vec)
}

var convertKernels = []conversion{
	{Field: "FromF16", Dst: 4, Src: 2, Body: func(k *kern, dst, src emit.Mem, _ []emit.Vec) {
		x := k.Vec()
		k.Widen16(x, src)
		k.Store(dst, x)
		k.Free(x)
	}},
	{Field: "ToF16", Dst: 2, Src: 4, Body: func(k *kern, dst, src emit.Mem, _ []emit.Vec) {
		x := k.Vec()
		k.Load(x, src)
		k.Narrow16(dst, x)
		k.Free(x)
	}},
	{Field: "FromBF16", Dst: 4, Src: 2, Body: func(k *kern, dst, src emit.Mem, _ []emit.Vec) {
		x := k.Vec()
		k.Raw("VPMOVZXWD", src, x)
		k.Shl(x, x, 16)
		k.Store(dst, x)
		k.Free(x)
	}},
	{Field: "ToBF16", Dst: 2, Src: 4, Body: func(k *kern, dst, src emit.Mem, _ []emit.Vec) {
		x, r := wide{k.Vec()}, wide{k.Vec()}
		k.Load(x[0], src)
		// Half of the last place, less one unless the bit that stays is odd: ties go to even.
		k.Shl(r[0], x[0], 15)
		k.Shr(r[0], r[0], 31)
		k.addInt(r, r, bits(0x7fff))
		k.addInt(r, r, x)
		nan := k.Cmp(emit.Unordered, x[0], x[0])
		k.or(x, x, bits(1<<22)) // quiet
		k.Select(r[0], r[0], x[0], nan)
		k.Shr(r[0], r[0], 16)
		if k.T.Masks {
			k.Raw("VPMOVDW", r[0], dst)
		} else {
			k.Raw("VEXTRACTI128", emit.Imm(1), r[0], emit.Xmm(x[0]))
			k.Raw("VPACKUSDW", emit.Xmm(x[0]), emit.Xmm(r[0]), emit.Xmm(r[0]))
			k.Raw("VMOVDQU", emit.Xmm(r[0]), dst)
		}
		k.Free(nan, x[0], r[0])
	}},
	{Field: "FromInt8", Dst: 4, Src: 1, Body: dequantized("VPMOVSXBD")},
	{Field: "FromUint8", Dst: 4, Src: 1, Body: dequantized("VPMOVZXBD")},
	{Field: "ToInt8", Dst: 1, Src: 4, Body: quantized(-128, 127, "VPACKSSWB")},
	{Field: "ToUint8", Dst: 1, Src: 4, Body: quantized(0, 255, "VPACKUSWB")},
}

func dequantized(widen string) func(*kern, emit.Mem, emit.Mem, []emit.Vec) {
	return func(k *kern, dst, src emit.Mem, s []emit.Vec) {
		x := k.Vec()
		k.Raw(widen, src, x)
		k.ToFloat(x, x)
		k.Sub(x, x, s[1])
		k.Mul(x, x, s[0])
		k.Store(dst, x)
		k.Free(x)
	}
}

func quantized(lo, hi konst, pack string) func(*kern, emit.Mem, emit.Mem, []emit.Vec) {
	return func(k *kern, dst, src emit.Mem, s []emit.Vec) {
		x := wide{k.Vec()}
		v := x[0]
		k.Load(v, src)
		k.Div(v, v, s[0])
		k.Round(v, v, emit.Nearest)
		k.pick(x, emit.Unordered, x, x, konst(0))
		k.add(x, x, s[1])
		k.atLeast(x, lo)
		k.atMost(x, hi)
		k.ToInt(v, v)
		if k.T.Masks {
			k.Raw("VPMOVDB", v, dst)
		} else {
			t := k.Vec()
			k.Raw("VEXTRACTI128", emit.Imm(1), v, emit.Xmm(t))
			k.Raw("VPACKSSDW", emit.Xmm(t), emit.Xmm(v), emit.Xmm(v))
			k.Raw(pack, emit.Xmm(v), emit.Xmm(v), emit.Xmm(v))
			k.Raw("VMOVQ", emit.Xmm(v), dst)
			k.Free(t)
		}
		k.Free(v)
	}
}

const convertUnroll = 4

func (c conversion) name(t emit.Target) string {
	return strings.ToLower(c.Field[:1]) + c.Field[1:] + "_" + t.Name
}

func (c conversion) write(file *emit.File) {
	f := file.Func(c.name(file.Target()), "", "dst unsafe.Pointer", "src unsafe.Pointer", "n int", "s0 float32", "s1 float32")
	k := newKern(f, 1)
	dst, src, n := f.Param(0), f.Param(1), f.Param(2)
	s := f.Vecs(2)
	f.SplatParam(s[0], 3)
	f.SplatParam(s[1], 4)
	for _, width := range []int{convertUnroll, 1} {
		top, end := k.NewLabel("loop"), k.NewLabel("end")
		step := width * k.T.Lanes
		k.JumpIf(n, emit.LT, emit.Imm(step), end)
		k.Bind(top)
		for i := range width {
			at := i * k.T.Lanes
			c.Body(k, emit.At(dst, at*c.Dst), emit.At(src, at*c.Src), s)
		}
		k.AddTo(dst, emit.Imm(step*c.Dst))
		k.AddTo(src, emit.Imm(step*c.Src))
		k.AddTo(n, emit.Imm(-step))
		k.JumpIf(n, emit.GE, emit.Imm(step), top)
		k.Bind(end)
	}
	f.Ret()
}

func convertFile(file *emit.File) {
	for _, c := range convertKernels {
		c.write(file)
	}
}

func convertTable(file *emit.File) string {
	var b strings.Builder
	t := file.Target()
	fmt.Fprintf(&b, "\n// fillConvert_%s fills in the kernels of this file.\nfunc fillConvert_%s(f *Funcs) {\n", t.Name, t.Name)
	for _, c := range convertKernels {
		shape := "convert"
		if strings.HasSuffix(c.Field, "nt8") {
			shape = "convertScaled"
		}
		fmt.Fprintf(&b, "\tf.%s = %s(%d, %s, f.%s)\n", c.Field, shape, t.Lanes, c.name(t), c.Field)
	}
	b.WriteString("}\n")
	return b.String()
}
