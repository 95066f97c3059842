package vec

import "math"

// sincosMax is the largest argument of the float32 reduction; beyond it the result is that of
// package math in float64.
const sincosMax = 1e5

// sinS: sin(r) = r + r³·s(r²), cosC: cos(r) = 1 - r²/2 + r⁴·c(r²), relative errors
// below 4e-9 and 2e-10 for |r| <= π/4.
var (
	sinS = [...]float32{-1.666665524e-01, 8.332188241e-03, -1.951809536e-04}
	cosC = [...]float32{4.166664556e-02, -1.388730947e-03, 2.443232734e-05}
)

// halfPi in two parts, the first short enough that n·halfPiHi is exact in float64.
const (
	halfPiHi = 0x1.921fb544p+0
	halfPiLo = 0x1.0b4611a626331p-34
)

// sincosReduced is x - n·π/2 and n; 0 <= x <= sincosMax. A chain of three float32 FMAs gives the
// same up to 1 ULP.
func sincosReduced(x float32) (float32, int32) {
	f, n := roundInt(float32(x * (2 / math.Pi)))
	r := float64(x) - float64(float64(f)*halfPiHi)
	return float32(r - float64(float64(f)*halfPiLo)), n
}

// sinQuadrant is sin(r + q·π/2).
func sinQuadrant(r float32, q int32) float32 {
	z := float32(r * r)
	var y float32
	if q&1 == 0 {
		y = mulAdd(float32(z*r), horner(z, sinS[:]), r)
	} else {
		y = mulAdd(float32(z*z), horner(z, cosC[:]), 1-float32(0.5*z))
	}
	if q&2 != 0 {
		return -y
	}
	return y
}

func sin(x float32) float32 {
	if !(abs(x) <= sincosMax) {
		return float32(math.Sin(float64(x)))
	}
	r, n := sincosReduced(abs(x))
	y := sinQuadrant(r, n)
	return math.Float32frombits(math.Float32bits(y) ^ math.Float32bits(x)&(1<<31))
}

func cos(x float32) float32 {
	if !(abs(x) <= sincosMax) {
		return float32(math.Cos(float64(x)))
	}
	r, n := sincosReduced(abs(x))
	return sinQuadrant(r, n+1)
}

func tan(x float32) float32  { return float32(math.Tan(float64(x))) }
func asin(x float32) float32 { return float32(math.Asin(float64(x))) }
func acos(x float32) float32 { return float32(math.Acos(float64(x))) }
func atan(x float32) float32 { return float32(math.Atan(float64(x))) }

// odd evaluates x·(c[0] + c[1]·x² + …) in float64.
func odd(x float64, c []float64) float64 {
	z := float64(x * x)
	y := c[len(c)-1]
	for i := len(c) - 2; i >= 0; i-- {
		y = float64(y*z) + c[i]
	}
	return float64(x * y)
}

var (
	sinhTaylor  = []float64{1, 1. / 6, 1. / 120, 1. / 5040, 1. / 362880}
	atanhTaylor = []float64{1, 1. / 3, 1. / 5, 1. / 7}
)

func sinh(x float32) float32 {
	if abs(x) < 0.5 {
		return float32(odd(float64(x), sinhTaylor))
	}
	e := exp2Wide(float64(x) * math.Log2E)
	return float32(0.5 * (e - 1/e))
}

func cosh(x float32) float32 {
	e := exp2Wide(float64(x) * math.Log2E)
	return float32(0.5 * (e + 1/e))
}

func atanh(x float32) float32 {
	if abs(x) < 0x1p-5 {
		return float32(odd(float64(x), atanhTaylor))
	}
	if abs(x) > 1 || isNaN(x) {
		return float32(math.NaN())
	}
	if abs(x) == 1 {
		return x * float32(math.Inf(1))
	}
	return float32(0.5 * math.Ln2 * log2Wide((1+float64(x))/(1-float64(x))))
}
