package main

import (
	"math"

	"coreml/internal/kernel/asm/emit"
)

// simple is the body of a kernel that is one instruction on its only source.
func simple(op func(k *kern, d, a emit.Vec)) func(*kern, []wide, []emit.Vec) wide {
	return func(k *kern, in []wide, _ []emit.Vec) wide {
		for _, v := range in[0] {
			op(k, v, v)
		}
		return in[0]
	}
}

func rounded(mode int) func(*kern, []wide, []emit.Vec) wide {
	return simple(func(k *kern, d, a emit.Vec) { k.Round(d, a, mode) })
}

// binary is the body of an operation on two sources, or a source and a scalar.
func binary(op func(k *kern, d, a wide, b any)) func(*kern, []wide, []emit.Vec) wide {
	return func(k *kern, in []wide, s []emit.Vec) wide {
		if len(s) > 0 {
			op(k, in[0], in[0], s[0])
		} else {
			op(k, in[0], in[0], in[1])
		}
		return in[0]
	}
}

// scalarFirst is the body of an operation with the scalar on the left.
func scalarFirst(op func(k *kern, d, a emit.Vec, b any)) func(*kern, []wide, []emit.Vec) wide {
	return func(k *kern, in []wide, s []emit.Vec) wide {
		for _, x := range in[0] {
			op(k, x, s[0], x)
		}
		return in[0]
	}
}

func (k *kern) div(d, a wide, b any) { k.each(k.Div, d, a, b) }

// extreme is the body of Max and Min: NaN of either side comes through.
func extreme(op func(k *kern, d, a emit.Vec, b any)) func(*kern, []wide, []emit.Vec) wide {
	return func(k *kern, in []wide, _ []emit.Vec) wide {
		a, b := in[0], in[1]
		for i := range a {
			op(k, b[i], a[i], b[i])
		}
		k.pick(b, emit.Unordered, a, a, a)
		return b
	}
}

func maxOf(k *kern, d, a emit.Vec, b any) { k.Max(d, a, b) }
func minOf(k *kern, d, a emit.Vec, b any) { k.Min(d, a, b) }

// arithKernels are the kernels of vec/arith_*_amd64.s.
var arithKernels = []elementwise{
	{Field: "Abs", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.unsigned(in[0]) }},
	{Field: "Neg", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		k.xor(in[0], in[0], bits(1<<31))
		return in[0]
	}},
	{Field: "Square", Sources: 1, Width: 4, Body: simple(func(k *kern, d, a emit.Vec) { k.Mul(d, a, a) })},
	{Field: "Sqrt", Sources: 1, Width: 4, Body: simple(func(k *kern, d, a emit.Vec) { k.Sqrt(d, a) })},
	{Field: "Ceil", Sources: 1, Width: 4, Body: rounded(emit.Ceil)},
	{Field: "Floor", Sources: 1, Width: 4, Body: rounded(emit.Floor)},
	{Field: "Round", Sources: 1, Width: 4, Body: rounded(emit.Nearest)},
	{Field: "Sign", Sources: 1, Width: 2, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		x, y := in[0], k.wide()
		k.copy(y, x)
		k.pick(y, emit.Equal, x, konst(0), konst(0))
		k.pick(y, emit.Greater, x, konst(0), konst(1))
		k.pick(y, emit.Less, x, konst(0), konst(-1))
		return y
	}},
	{Field: "Relu", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		k.atLeast(in[0], konst(0))
		return in[0]
	}},
	{Field: "Softsign", Sources: 1, Width: 2, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		d := k.unsigned(in[0])
		k.add(d, d, konst(1))
		k.div(in[0], in[0], d)
		return in[0]
	}},
	{Field: "HardSwish", Sources: 1, Scalars: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		y := k.wide()
		k.copy(y, in[0])
		scaleShift(k, y, s[0], s[1])
		k.atLeast(y, konst(0))
		k.atMost(y, konst(1))
		k.mul(y, y, in[0])
		return y
	}},
	{Field: "Rsqrt", Sources: 1, Scalars: 1, Width: 2, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		k.add(in[0], in[0], s[0])
		for _, x := range in[0] {
			k.Sqrt(x, x)
		}
		y := k.filled(1)
		k.div(y, y, in[0])
		return y
	}},
	{Field: "Inverse", Sources: 1, Scalars: 1, Width: 2, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		k.add(in[0], in[0], s[0])
		y := k.filled(1)
		k.div(y, y, in[0])
		return y
	}},
	{Field: "LeakyRelu", Sources: 1, Scalars: 1, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		y := k.wide()
		k.mul(y, in[0], s[0])
		k.pick(y, emit.Greater, in[0], konst(0), in[0])
		return y
	}},
	{Field: "ThresholdedRelu", Sources: 1, Scalars: 1, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		k.pick(in[0], emit.Less, in[0], s[0], konst(0))
		return in[0]
	}},
	{Field: "Clip", Sources: 1, Scalars: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		k.atLeast(in[0], s[0])
		k.atMost(in[0], s[1])
		return in[0]
	}},
	{Field: "ClampedRelu", Sources: 1, Scalars: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		y := k.wide()
		k.mul(y, in[0], s[0])
		k.pick(in[0], emit.Less, in[0], konst(0), y)
		k.atMost(in[0], s[1])
		return in[0]
	}},
	{Field: "SigmoidHard", Sources: 1, Scalars: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		scaleShift(k, in[0], s[0], s[1])
		k.atLeast(in[0], konst(0))
		k.atMost(in[0], konst(1))
		return in[0]
	}},
	{Field: "ScaleShift", Sources: 1, Scalars: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		scaleShift(k, in[0], s[0], s[1])
		return in[0]
	}},

	{Field: "Add", Sources: 2, Width: 4, Body: binary((*kern).add)},
	{Field: "Sub", Sources: 2, Width: 4, Body: binary((*kern).sub)},
	{Field: "Mul", Sources: 2, Width: 4, Body: binary((*kern).mul)},
	{Field: "Div", Sources: 2, Width: 4, Body: binary((*kern).div)},
	{Field: "Max", Sources: 2, Width: 4, Body: extreme(maxOf)},
	{Field: "Min", Sources: 2, Width: 4, Body: extreme(minOf)},
	{Field: "AddS", Sources: 1, Scalars: 1, Width: 4, Body: binary((*kern).add)},
	{Field: "SubS", Sources: 1, Scalars: 1, Width: 4, Body: binary((*kern).sub)},
	{Field: "MulS", Sources: 1, Scalars: 1, Width: 4, Body: binary((*kern).mul)},
	{Field: "DivS", Sources: 1, Scalars: 1, Width: 4, Body: binary((*kern).div)},
	{Field: "MaxS", Sources: 1, Scalars: 1, Width: 4, Body: scalarFirst(maxOf)},
	{Field: "MinS", Sources: 1, Scalars: 1, Width: 4, Body: scalarFirst(minOf)},
	{Field: "SSub", Sources: 1, Scalars: 1, Width: 4, Body: scalarFirst(func(k *kern, d, a emit.Vec, b any) { k.Sub(d, a, b) })},
	{Field: "SDiv", Sources: 1, Scalars: 1, Width: 4, Body: scalarFirst(func(k *kern, d, a emit.Vec, b any) { k.Div(d, a, b) })},

	{Field: "axpy", Sources: 2, Scalars: 1, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		k.fma(in[0], in[1], s[0])
		return in[0]
	}},
	{Field: "MulAdd", Sources: 3, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		k.mulAdd(in[0], in[1], in[2])
		return in[0]
	}},
	{Field: "AddChan", Sources: 1, Chans: 1, Width: 4, Body: binary((*kern).add)},
	{Field: "MulChan", Sources: 1, Chans: 1, Width: 4, Body: binary((*kern).mul)},
	{Field: "ScaleShiftChan", Sources: 1, Chans: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		scaleShift(k, in[0], s[0], s[1])
		return in[0]
	}},
	{Field: "cube", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		y := k.wide()
		k.mul(y, in[0], in[0])
		k.mul(y, y, in[0])
		return y
	}},
	{Field: "root", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		x, y := in[0], k.wide()
		k.add(y, x, konst(0)) // -0 becomes 0
		for _, v := range y {
			k.Sqrt(v, v)
		}
		k.pick(y, emit.Equal, x, konst(math.Inf(-1)), konst(math.Inf(1)))
		return y
	}},
	{Field: "normalize", Sources: 1, Scalars: 2, Width: 4, Body: normalized},
	{Field: "normalizeAffine", Sources: 3, Scalars: 2, Width: 4, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		normalized(k, in, s)
		k.mulAdd(in[0], in[1], in[2])
		return in[0]
	}},
	{Field: "RoundF16", Sources: 1, Width: 4, Body: simple(func(k *kern, d, a emit.Vec) {
		half := any(emit.Xmm(d))
		if k.T.Masks {
			half = emit.Ymm(d)
		}
		k.Raw("VCVTPS2PH", emit.Imm(0), a, half)
		k.Raw("VCVTPH2PS", half, d)
	})},
	{Field: "Sin", Sources: 1, Width: 2, Flags: true, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.sine(in[0], 0) }},
	{Field: "Cos", Sources: 1, Width: 2, Flags: true, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.sine(in[0], 1) }},
}

// scaleShift is x = x·scale + shift.
func scaleShift(k *kern, x wide, scale, shift emit.Vec) {
	for _, v := range x {
		k.MulAdd(v, scale, shift)
	}
}

// normalized is (x-mean)·scale.
func normalized(k *kern, in []wide, s []emit.Vec) wide {
	k.sub(in[0], in[0], s[0])
	k.mul(in[0], in[0], s[1])
	return in[0]
}

// The reduction by π/2 in three parts and the polynomials of vec/trig.go.
const (
	sincosMax = konst(1e5)
	halfPi1   = konst(0x1.921fb6p+0)
	halfPi2   = konst(-0x1.777a5cp-25)
	halfPi3   = konst(-0x1.ee59dap-50)
)

var (
	sinS = []konst{-1.666665524e-01, 8.332188241e-03, -1.951809536e-04}
	cosC = []konst{4.166664556e-02, -1.388730947e-03, 2.443232734e-05}
)

// sine is sin(x + quadrant·π/2). A lane beyond sincosMax is flagged and keeps x.
func (k *kern) sine(x wide, quadrant uint32) wide {
	a := k.unsigned(x)
	t, n := k.filled(roundMagic), k.wide()
	k.fma(t, a, konst(2/math.Pi))
	k.sub(n, t, konst(roundMagic))
	r := k.wide()
	k.copy(r, a)
	for _, part := range []konst{halfPi1, halfPi2, halfPi3} {
		k.fnma(r, n, part)
	}
	if quadrant != 0 {
		k.addInt(t, t, bits(quadrant))
	}
	z := n
	k.mul(z, r, r)
	s := k.horner(z, sinS)
	c := k.horner(z, cosC)
	h := k.filled(1)
	k.fnma(h, z, konst(0.5))
	k.mul(a, z, z)
	k.mulAdd(c, a, h)
	k.mul(z, z, r)
	k.mulAdd(s, z, r)
	k.shl(h, t, 31)
	k.ifNegative(s, h, c, s)
	k.shl(t, t, 30)
	k.and(t, t, bits(1<<31))
	k.xor(s, s, t)
	if quadrant == 0 {
		k.and(t, x, bits(1<<31))
		k.xor(s, s, t)
	}
	k.free(t, r, h, c)
	a = k.unsigned(x)
	for i := range s {
		m := k.Cmp(emit.NotLessEqual, a[i], k.operand(sincosMax, i))
		k.addLanes(k.flags, m)
		k.Select(s[i], s[i], x[i], m)
		k.Free(m)
	}
	return s
}
