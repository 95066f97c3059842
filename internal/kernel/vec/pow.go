package vec

import "math"

// Functions in float64 whose relative error is far below that of rounding to float32. They use
// nothing of package math that differs between machines.

// log2Taylor: log2(m) = s·(c0 + c1·s² + …) with s = (m-1)/(m+1).
var log2Taylor = func() []float64 {
	c := make([]float64, 8)
	for i := range c {
		c[i] = 2 * math.Log2E / float64(2*i+1)
	}
	return c
}()

// log2Wide is the base 2 logarithm of a finite x > 0, relative error below 1e-12 unless x is
// within 1e-3 of 1, absolute below 1e-15 then.
func log2Wide(x float64) float64 {
	m, k := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, k = 2*m, k-1
	}
	return float64(k) + odd((m-1)/(m+1), log2Taylor)
}

// exp2Taylor: 2^r = c0 + c1·r + …
var exp2Taylor = func() []float64 {
	c := make([]float64, 12)
	c[0] = 1
	for i := 1; i < len(c); i++ {
		c[i] = c[i-1] * math.Ln2 / float64(i)
	}
	return c
}()

// exp2Wide is 2^x, relative error below 1e-13; it saturates at 2^±1000, and keeps NaN.
func exp2Wide(x float64) float64 {
	if math.IsNaN(x) {
		return x
	}
	x = min(max(x, -1000), 1000)
	n := math.RoundToEven(x)
	r := x - n
	y := exp2Taylor[len(exp2Taylor)-1]
	for i := len(exp2Taylor) - 2; i >= 0; i-- {
		y = float64(y*r) + exp2Taylor[i]
	}
	return y * math.Float64frombits(uint64(int64(n)+1023)<<52)
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
