package main

import (
	"math"

	"coreml/internal/kernel/asm/emit"
)

// The exponential family. Algorithms and coefficients are those of the Go kernels in vec/exp.go.

const (
	log2e      = konst(math.Log2E)
	ln2Hi      = konst(0.693359375)
	ln2Lo      = konst(-2.12194440054690583e-4)
	roundMagic = 3 << 22
	expLo      = konst(-104)
	expHi      = konst(89)
	one        = 0x3f800000
	sqrtHalf   = 0x3f3504f3
)

var (
	expQ  = []konst{4.999999702e-01, 1.666653901e-01, 4.166774452e-02, 8.367056958e-03, 1.383941271e-03}
	exp2P = []konst{
		6.931471825e-01, 2.402259409e-01, 5.550366268e-02, 9.625435807e-03, 1.338788075e-03, 1.333672844e-04,
	}
	geluQ = []konst{
		-9.999991059e-01, -1.151122570e+00, -4.591091573e-01, -5.274182186e-02, 7.375563960e-03,
		-3.546832595e-04, -1.022733995e-04, 2.270595724e-05, -1.507426759e-06,
	}
	logP = []konst{
		-4.999999106e-01, 3.333395123e-01, -2.500175536e-01, 1.996207237e-01,
		-1.657051146e-01, 1.491797864e-01, -1.430750191e-01, 8.734802902e-02,
	}
	erfP = []konst{
		1.283791661e-01, -3.761262596e-01, 1.128357872e-01, -2.685334720e-02,
		5.187162198e-03, -7.997853099e-04, 7.806903886e-05,
	}
	erfcQ = []konst{
		-4.927212140e-04, -1.626045942e+00, -9.206484556e-01, -1.487515718e-01,
		3.150567785e-02, -4.252579063e-03, 2.688879904e-04,
	}
)

// expKernels are the kernels of vec/exp_*_amd64.s.
var expKernels = []elementwise{
	{Field: "Exp", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.exp(in[0]) }},
	{Field: "Exp2", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		k.atLeast(in[0], konst(-150))
		k.atMost(in[0], konst(128))
		return k.exp2(in[0], false)
	}},
	{Field: "Log", Sources: 1, Width: 2, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.log(in[0]) }},
	{Field: "Sigmoid", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.sigmoid(in[0]) }},
	{Field: "Silu", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.siluOf(in[0], in[0]) }},
	{Field: "Tanh", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide { return k.tanh(in[0]) }},
	{Field: "ScaledTanh", Sources: 1, Scalars: 2, Width: 2, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		k.mul(in[0], in[0], s[1])
		y := k.tanh(in[0])
		k.mul(y, y, s[0])
		return y
	}},
	{Field: "GeluExact", Sources: 1, Width: 4, Body: geluExact},
	{Field: "GeluTanh", Sources: 1, Width: 4, Body: geluTanh},
	{Field: "GeluSigmoid", Sources: 1, Width: 4, Body: func(k *kern, in []wide, _ []emit.Vec) wide {
		u := k.wide()
		k.mul(u, in[0], konst(1.702))
		return k.siluOf(in[0], u)
	}},
	{Field: "Softplus", Sources: 1, Width: 2, Body: softplus},
	{Field: "Elu", Sources: 1, Scalars: 1, Width: 2, Body: func(k *kern, in []wide, s []emit.Vec) wide {
		x, a := in[0], k.wide()
		k.copy(a, x)
		k.atMost(a, konst(0))
		y := k.expm1(a)
		k.mul(y, y, s[0])
		k.pick(y, emit.Greater, x, konst(0), x)
		return y
	}},
	{Field: "Erf", Sources: 1, Width: 2, Body: erf},
}

// expReduced takes x to n·ln2 + r and allocates e^r-1, n, and t, the bits of n + magic. x is overwritten.
func (k *kern) expReduced(x wide, magic konst) (e, n, t wide) {
	t, n = k.filled(magic), k.wide()
	k.fma(t, x, log2e)
	k.sub(n, t, magic)
	k.fnma(x, n, ln2Hi)
	k.fnma(x, n, ln2Lo)
	e = k.horner(x, expQ)
	r2 := k.wide()
	k.mul(r2, x, x)
	k.mulAdd(e, r2, x)
	k.free(r2)
	return e, n, t
}

// exp is exp(x); x is overwritten.
func (k *kern) exp(x wide) wide {
	k.atLeast(x, expLo)
	k.atMost(x, expHi)
	e, n, t := k.expReduced(x, roundMagic)
	k.add(e, e, konst(1))
	k.scale2(e, n, t)
	return e
}

// scale2 is y·2^n, n given as a float and as the low bits of t. AVX2 does it in two steps, of
// which only the second can leave the normal range.
func (k *kern) scale2(y, n, t wide) {
	if k.T.Masks {
		for i := range y {
			k.Raw("VSCALEFPS", n[i], y[i], y[i])
		}
		return
	}
	k.subInt(t, t, konst(roundMagic))
	k.sar(n, t, 1)
	k.subInt(t, t, n)
	for _, s := range []wide{n, t} {
		k.shl(s, s, 23)
		k.addInt(s, s, bits(one))
		k.mul(y, y, s)
	}
}

// lowBias shifts the exponent of the scale of expNegative and exp2 by 24, so that the
// smallest one stays normal; the product is scaled back by 2^-24.
const (
	lowBias = 127 + 24
	lowBack = konst(0x1p-24)
)

// lowMagic is the constant that rounds, with the bias of scaleLow.
func (k *kern) lowMagic() konst {
	if k.T.Masks {
		return roundMagic
	}
	return roundMagic + lowBias
}

// scaleLow is scale2 for -150 <= n <= 0, where t was made with lowMagic.
func (k *kern) scaleLow(y, n, t wide) {
	if k.T.Masks {
		k.scale2(y, n, t)
		return
	}
	k.shl(t, t, 23)
	k.mul(y, y, t)
	k.mul(y, y, lowBack)
}

// expNegative is exp(x) for x <= 0; x is overwritten.
func (k *kern) expNegative(x wide) wide {
	k.atLeast(x, expLo)
	e, n, t := k.expReduced(x, k.lowMagic())
	k.add(e, e, konst(1))
	k.scaleLow(e, n, t)
	k.free(n, t)
	return e
}

// expm1 is exp(x)-1 for x <= 0; x is overwritten.
func (k *kern) expm1(x wide) wide {
	k.atLeast(x, konst(-20))
	e, n, t := k.expReduced(x, roundMagic+127)
	k.shl(t, t, 23)
	k.sub(n, t, konst(1))
	k.mulAdd(e, t, n)
	k.free(n, t)
	return e
}

// exp2 is 2^x, for -150 <= x <= 0 if low, else up to 128; x is overwritten.
func (k *kern) exp2(x wide, low bool) wide {
	magic := konst(roundMagic)
	if low {
		magic = k.lowMagic()
	}
	t, n := k.wide(), k.wide()
	k.add(t, x, magic)
	k.sub(n, t, magic)
	k.sub(x, x, n)
	y := k.horner(x, exp2P)
	k.mulAdd(y, x, konst(1))
	if low {
		k.scaleLow(y, n, t)
	} else {
		k.scale2(y, n, t)
	}
	k.free(n, t)
	return y
}

// sigmoid is 1/(1+e) or e/(1+e) with e = exp(-|x|).
func (k *kern) sigmoid(x wide) wide {
	e := k.expNegative(k.signed(x))
	d := k.wide()
	k.add(d, e, konst(1))
	k.ifNegative(e, x, e, k.reg(1))
	return k.divide(e, d)
}

// siluOf is x·sigmoid(u) where x and u have the same sign.
func (k *kern) siluOf(x, u wide) wide {
	e := k.expNegative(k.signed(u))
	d := k.wide()
	k.add(d, e, konst(1))
	k.mul(e, e, x)
	k.ifNegative(e, x, e, x)
	return k.divide(e, d)
}

func (k *kern) tanh(x wide) wide {
	a := k.signed(x)
	k.add(a, a, a)
	e := k.expm1(a)
	d := k.wide()
	k.add(d, e, konst(2))
	y := k.divide(e, d)
	k.withSign(y, x)
	return y
}

func geluTanh(k *kern, in []wide, _ []emit.Vec) wide {
	const c = 1.5957691216057308
	x, m := in[0], k.wide()
	k.mul(m, x, x)
	u := k.filled(c)
	k.fma(u, m, konst(c*0.044715))
	k.mul(u, u, x)
	k.free(m)
	return k.siluOf(x, u)
}

func geluExact(k *kern, in []wide, _ []emit.Vec) wide {
	x := in[0]
	t := k.unsigned(x)
	k.atMost(t, konst(14))
	q := k.horner(t, geluQ)
	if !k.T.Masks {
		k.atLeast(q, konst(-150))
	}
	p := k.exp2(q, true)
	k.atLeast(x, konst(0))
	k.fnma(x, t, p)
	return x
}

// logReduced is log(2^n · (1+f)).
func (k *kern) logReduced(f, n wide) wide {
	y, f2 := k.horner(f, logP), k.wide()
	k.mul(f2, f, f)
	k.mul(y, y, f2)
	k.free(f2)
	k.fma(y, n, ln2Lo)
	k.add(y, y, f)
	k.fma(y, n, ln2Hi)
	return y
}

func (k *kern) log(x wide) wide {
	f, n, b := k.wide(), k.filled(0), k.wide()
	k.mul(b, x, konst(0x1p23))
	k.copy(f, x)
	k.pick(f, emit.Less, x, konst(0x1p-126), b)
	k.pick(n, emit.Less, x, konst(0x1p-126), konst(-23))
	k.subInt(f, f, bits(sqrtHalf))
	k.sar(b, f, 23)
	for i := range b {
		k.ToFloat(b[i], b[i])
	}
	k.add(n, n, b)
	k.free(b)
	k.and(f, f, bits(1<<23-1))
	k.addInt(f, f, bits(sqrtHalf))
	k.sub(f, f, konst(1))
	y := k.logReduced(f, n)
	k.pick(y, emit.Equal, x, konst(0), konst(math.Inf(-1)))
	k.pick(y, emit.NotLessEqual, x, konst(math.MaxFloat32), x)
	k.pick(y, emit.Less, x, konst(0), bits(0x7fc00000))
	return y
}

func softplus(k *kern, in []wide, _ []emit.Vec) wide {
	x := in[0]
	e := k.expNegative(k.signed(x))
	h, n := k.filled(-0.5), k.filled(0)
	k.fma(h, e, konst(0.5))
	k.pick(n, emit.Greater, e, konst(math.Sqrt2-1), konst(1))
	k.pick(e, emit.Greater, e, konst(math.Sqrt2-1), h)
	k.free(h)
	y := k.logReduced(e, n)
	k.atLeast(x, konst(0))
	k.add(y, y, x)
	return y
}

func erf(k *kern, in []wide, _ []emit.Vec) wide {
	x, z := in[0], k.wide()
	k.mul(z, x, x)
	small := k.horner(z, erfP)
	k.mulAdd(small, x, x)
	t := k.unsigned(x)
	k.atMost(t, konst(4))
	k.copy(z, t)
	y := k.exp2(k.horner(t, erfcQ), true)
	k.fill(t, 1)
	k.sub(y, t, y)
	k.withSign(y, x)
	k.pick(y, emit.Less, z, konst(1), small)
	return y
}
