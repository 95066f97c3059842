package vec

import "math"

// Functions in float64 whose relative error is far below that of rounding to float32. They use
// nothing of package math that differs between machines.

// log2Wide is the base 2 logarithm of a finite x > 0, in the normal range of float64. Relative
// error below 1e-12.
func log2Wide(x float64) float64 {
	const sqrtHalf64 = 0x3fe6a09e667f3bcd
	b := math.Float64bits(x) - sqrtHalf64
	k := float64(int64(b) >> 52)
	m := math.Float64frombits(b&(1<<52-1) + sqrtHalf64)
	s := (m - 1) / (m + 1)
	z := float64(s * s)
	p := 1. / 15
	for _, c := range [...]float64{1. / 13, 1. / 11, 1. / 9, 1. / 7, 1. / 5, 1. / 3, 1} {
		p = float64(p*z) + c
	}
	return k + float64(float64(2*math.Log2E*s)*p)
}

// exp2Taylor: 2^r = 1 + r·(c[0] + c[1]·r + …).
var exp2Taylor = func() (c [11]float64) {
	t := 1.0
	for i := range c {
		t *= math.Ln2 / float64(i+1)
		c[i] = t
	}
	return c
}()

// exp2Wide is 2^x, relative error below 1e-13; it saturates at 2^±1000, and keeps NaN.
func exp2Wide(x float64) float64 {
	if !(math.Abs(x) <= 1000) {
		if math.IsNaN(x) {
			return x
		}
		x = math.Copysign(1000, x)
	}
	const magic = 3 << 51
	t := x + magic
	r := x - (t - magic)
	n := int64(math.Float64bits(t) - math.Float64bits(magic))
	y := exp2Taylor[10]
	for i := 9; i >= 0; i-- {
		y = float64(y*r) + exp2Taylor[i]
	}
	return (float64(y*r) + 1) * math.Float64frombits(uint64(n+1023)<<52)
}

// pow is x^y with the special cases of IEEE 754.
func pow(x, y float32) float32 {
	switch {
	case y == 0 || x == 1:
		return 1
	case isNaN(x) || isNaN(y):
		return x + y
	case abs(y) > math.MaxFloat32:
		return powInf(abs(x), y > 0)
	}
	whole := floor(y) == y
	oddY := whole && abs(y) < 1<<24 && int32(y)&1 != 0
	if x == 0 || abs(x) > math.MaxFloat32 {
		return powEdge(x, y, oddY)
	}
	if x < 0 && !whole {
		return float32(math.NaN())
	}
	r := float32(exp2Wide(float64(y) * log2Wide(math.Abs(float64(x)))))
	if x < 0 && oddY {
		return -r
	}
	return r
}

// powInf is x^±Inf for x >= 0.
func powInf(x float32, up bool) float32 {
	switch {
	case x == 1:
		return 1
	case x > 1 == up:
		return float32(math.Inf(1))
	}
	return 0
}

// powEdge is x^y for zero and infinite x, with a finite y other than 0.
func powEdge(x, y float32, oddY bool) float32 {
	r := float32(0)
	if (x == 0) == (y < 0) {
		r = float32(math.Inf(1))
	}
	if oddY && math.Signbit(float64(x)) {
		return -r
	}
	return r
}
