package vec

import (
	"math"
	"testing"
)

// floorMod64 is numpy's floor_divide and mod, computed exactly as numpy does, in float64.
func floorMod64(a, b float64) (q, m float64) {
	m = math.Mod(a, b)
	if b == 0 {
		return a / b, m
	}
	q = (a - m) / b
	if m != 0 {
		if (b < 0) != (m < 0) {
			m += b
			q--
		}
	} else {
		m = math.Copysign(0, b)
	}
	if q == 0 {
		return math.Copysign(0, a/b), m
	}
	f := math.Floor(q)
	if q-f > 0.5 {
		f++
	}
	return f, m
}

func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || isNaN(a) && isNaN(b)
}

func TestFloorDivMod(t *testing.T) {
	a, b := samples(40_000), shuffled(1, 40_000)
	for i := range a {
		if i%3 == 0 && abs(a[i]) < 1e6 && abs(b[i]) < 1e6 { // small integers, so that remainders are zero often
			a[i], b[i] = round(a[i]), round(b[i])
		}
	}
	for i := range a {
		q, m := floorMod64(float64(a[i]), float64(b[i]))
		if got := floorDiv(a[i], b[i]); !same(got, float32(q)) {
			t.Errorf("floorDiv(%g, %g) = %g, want %g", a[i], b[i], got, q)
		}
		if got := mod(a[i], b[i]); !same(got, float32(m)) {
			t.Errorf("mod(%g, %g) = %g, want %g", a[i], b[i], got, m)
		}
	}
}

func TestPow(t *testing.T) {
	edge := samples(28)
	edge = append(edge, 3, -3, 1<<24, 1<<24+2, 1.5, -1.5)
	var xs, ys []float32
	for _, x := range edge {
		for _, y := range edge {
			xs, ys = append(xs, x), append(ys, y)
		}
	}
	xs, ys = append(xs, samples(50_000)...), append(ys, shuffled(2, 50_000)...)
	for i, x := range samples(50_000) {
		xs, ys = append(xs, abs(x)), append(ys, float32(i%41)/4-5)
	}
	for i, x := range xs {
		y := ys[i]
		want := math.Pow(float64(x), float64(y))
		got := pow(x, y)
		if isNaN(got) || math.IsNaN(want) || math.IsInf(float64(float32(want)), 0) || want == 0 {
			if !same(got, float32(want)) {
				t.Errorf("pow(%g, %g) = %g, want %g", x, y, got, want)
			}
			continue
		}
		if e := math.Abs(float64(got)-want) / ulpOf(want); e > 0.51 {
			t.Errorf("pow(%g, %g) = %g, want %g: %.2f ULP", x, y, got, want, e)
		}
	}
}

// TestPowS: the exponents with a path of their own keep to the bound and the special cases.
func TestPowS(t *testing.T) {
	src := samples(5000)
	dst := make([]float32, len(src))
	for _, f := range levels {
		for _, s := range []float32{0, 1, 2, 3, -1, 0.5, -0.5} {
			f.PowS(dst, src, s)
			for i, x := range src {
				want := math.Pow(float64(x), float64(s))
				if !same(dst[i], float32(want)) && math.Abs(float64(dst[i])-want) > 2*ulpOf(want) {
					t.Errorf("%v PowS(%g, %g) = %g, want %g", f.Level, x, s, dst[i], want)
				}
			}
		}
	}
}

// TestEdges are the cases that a formula leaves open.
func TestEdges(t *testing.T) {
	nan, inf, negZero := float32(math.NaN()), float32(math.Inf(1)), float32(math.Copysign(0, -1))
	for _, f := range levels {
		unary := func(name string, x, want float32) {
			t.Helper()
			dst := []float32{0}
			f.unary(name)(dst, []float32{x})
			if !same(dst[0], want) {
				t.Errorf("%v %s(%g) = %g, want %g", f.Level, name, x, dst[0], want)
			}
		}
		for _, name := range []string{"Abs", "Neg", "Square", "Sqrt", "Ceil", "Floor", "Round", "Sign", "Relu", "Exp", "Exp2", "Log", "Erf",
			"Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Atanh", "Sigmoid", "Silu", "Softplus", "Softsign",
			"GeluExact", "GeluTanh", "GeluSigmoid", "RoundF16"} {
			unary(name, nan, nan)
		}
		for _, name := range []string{"Sin", "Tan", "Asin", "Atan", "Sinh", "Tanh", "Erf", "Sqrt", "Ceil", "Floor", "Round", "Softsign"} {
			unary(name, 0, 0)
			unary(name, negZero, negZero)
		}
		unary("Sign", negZero, 0)
		unary("Relu", negZero, negZero)
		unary("Round", 0.5, 0)
		unary("Round", 1.5, 2)
		unary("Round", -2.5, -2)
		unary("Silu", -inf, nan)
		unary("Silu", inf, inf)
		unary("GeluExact", -inf, 0)
		unary("GeluExact", inf, inf)
		unary("GeluTanh", inf, inf)
		unary("Sin", inf, nan)
		unary("Log", 0, -inf)
		unary("Log", negZero, -inf)
		unary("Log", -1, nan)
		unary("Exp", -inf, 0)
		unary("Exp", inf, inf)

		binary := func(k Binary, name string, a, b, want float32) {
			t.Helper()
			dst := []float32{0}
			k(dst, []float32{a}, []float32{b})
			if !same(dst[0], want) {
				t.Errorf("%v %s(%g, %g) = %g, want %g", f.Level, name, a, b, dst[0], want)
			}
		}
		for _, k := range []Binary{f.Max, f.Min, f.Add, f.Sub, f.Mul, f.Div, f.Mod, f.FloorDiv} {
			binary(k, "of NaN", nan, 1, nan)
			binary(k, "of NaN", 1, nan, nan)
		}
		binary(f.Max, "Max", -inf, inf, inf)
		binary(f.Min, "Min", -inf, inf, -inf)
		binary(f.Div, "Div", 1, negZero, -inf)
		dst := []float32{nan, 1, inf}
		f.Clip(dst, dst, 0, 6)
		if !isNaN(dst[0]) || dst[1] != 1 || dst[2] != 6 {
			t.Errorf("%v Clip(NaN, 1, Inf) = %v", f.Level, dst)
		}
	}
}
