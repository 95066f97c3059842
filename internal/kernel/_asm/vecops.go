package main

import (
	"coreml/internal/kernel/asm/emit"
)

// Operations on wide operands: those of emit.Func, vector by vector. b may be a wide, a
// register or a constant.

func (k *kern) each(op func(d, a emit.Vec, b any), d, a wide, b any) {
	for i := range d {
		op(d[i], a[i], k.operand(b, i))
	}
}

func (k *kern) add(d, a wide, b any)    { k.each(k.Add, d, a, b) }
func (k *kern) sub(d, a wide, b any)    { k.each(k.Sub, d, a, b) }
func (k *kern) mul(d, a wide, b any)    { k.each(k.Mul, d, a, b) }
func (k *kern) fma(d, a wide, b any)    { k.each(k.FMA, d, a, b) }
func (k *kern) fnma(d, a wide, b any)   { k.each(k.FNMA, d, a, b) }
func (k *kern) and(d, a wide, b any)    { k.each(k.And, d, a, b) }
func (k *kern) or(d, a wide, b any)     { k.each(k.Or, d, a, b) }
func (k *kern) xor(d, a wide, b any)    { k.each(k.Xor, d, a, b) }
func (k *kern) addInt(d, a wide, b any) { k.each(k.AddInt, d, a, b) }
func (k *kern) subInt(d, a wide, b any) { k.each(k.SubInt, d, a, b) }

// mulAdd is d = d·a + b.
func (k *kern) mulAdd(d, a wide, b any) { k.each(k.MulAdd, d, a, b) }

func (k *kern) copy(d, a wide) {
	for i := range d {
		k.Copy(d[i], a[i])
	}
}

func (k *kern) shl(d, a wide, n int) {
	for i := range d {
		k.Shl(d[i], a[i], n)
	}
}

func (k *kern) sar(d, a wide, n int) {
	for i := range d {
		k.Sar(d[i], a[i], n)
	}
}

// atLeast is x = max(lo, x), atMost x = min(hi, x), the bound a register or a constant; NaN stays.
func (k *kern) atLeast(x wide, lo any) { k.bound(k.Max, x, lo) }
func (k *kern) atMost(x wide, hi any)  { k.bound(k.Min, x, hi) }

func (k *kern) bound(op func(d, a emit.Vec, b any), x wide, limit any) {
	v, ok := limit.(emit.Vec)
	if c, is := limit.(konst); is {
		var temp bool
		if v, temp = k.inRegister(c); temp {
			defer k.Free(v)
		}
		ok = true
	}
	if !ok {
		panic("BUG: vec: a bound is a register or a constant")
	}
	for _, x := range x {
		op(x, v, x)
	}
}

// pick replaces the lanes of d where a p b holds by v.
func (k *kern) pick(d wide, p emit.Pred, a wide, b, v any) {
	for i := range d {
		m := k.Cmp(p, a[i], k.operand(b, i))
		k.Select(d[i], d[i], k.operand(v, i), m)
		k.Free(m)
	}
}

// signed allocates x with the sign bit set, unsigned with the sign bit cleared.
func (k *kern) signed(x wide) wide {
	y := k.wide()
	k.or(y, x, bits(1<<31))
	return y
}

func (k *kern) unsigned(x wide) wide {
	y := k.wide()
	k.and(y, x, bits(1<<31-1))
	return y
}

// ifNegative is d = sign bit of x ? a : b.
func (k *kern) ifNegative(d, x, a wide, b any) {
	for i := range d {
		v := k.operand(b, i)
		if k.T.Masks {
			k.Raw("VPMOVD2M", x[i], "K7")
			k.Raw("VBLENDMPS", a[i], v, "K7", d[i])
			continue
		}
		k.Raw("VBLENDVPS", x[i], a[i], v, d[i])
	}
}

// withSign gives y the sign bit of x.
func (k *kern) withSign(y, x wide) {
	if k.T.Masks {
		const bitOfXWhereMask = 0xd8 // third operand ? second : first
		for i := range y {
			k.Raw("VPTERNLOGD", emit.Imm(bitOfXWhereMask), k.operand(bits(1<<31), i), x[i], y[i])
		}
		return
	}
	s := k.wide()
	k.and(s, x, bits(1<<31))
	k.and(y, y, bits(1<<31-1))
	k.or(y, y, s)
	k.free(s)
}

// horner allocates the polynomial c[0] + c[1]·x + ….
func (k *kern) horner(x wide, c []konst) wide {
	y := k.filled(c[len(c)-1])
	for i := len(c) - 2; i >= 0; i-- {
		k.mulAdd(y, x, c[i])
	}
	return y
}

// divide is a/d for 1 <= d <= 2; both are overwritten. AVX-512 uses the reciprocal instead of
// the divider, which takes longer than a whole exp.
func (k *kern) divide(a, d wide) wide {
	if k.T.Masks {
		k.mul(a, a, k.reciprocal(d))
		return a
	}
	for i := range a {
		k.Div(a[i], a[i], d[i])
	}
	return a
}

// reciprocal is 1/d for 1 <= d <= 2 within 1 ULP: an estimate good to 14 bits and a step of
// Newton's. d is overwritten.
func (k *kern) reciprocal(d wide) wide {
	r, e := k.wide(), k.filled(1)
	for i := range r {
		k.Raw("VRCP14PS", d[i], r[i])
	}
	k.fnma(e, d, r)
	k.fma(r, r, e)
	return r
}
