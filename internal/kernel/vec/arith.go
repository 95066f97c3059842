package vec

import "math"

// Scalar reference functions that are exact, or nothing but IEEE operations. Products are
// rounded before they are added: Go fuses on some machines.

func mulAdd(x, y, z float32) float32 { return float32(x*y) + z }

func abs(x float32) float32 { return math.Float32frombits(math.Float32bits(x) &^ (1 << 31)) }

func neg(x float32) float32 { return math.Float32frombits(math.Float32bits(x) ^ 1<<31) }

// withSign is y >= 0 with the sign of x.
func withSign(y, x float32) float32 {
	return math.Float32frombits(math.Float32bits(y) | math.Float32bits(x)&(1<<31))
}

func isNaN(x float32) bool { return x != x }

// atLeast is max(x, lo), x where either is NaN or both are zeros; atMost is its mirror image.
func atLeast(x, lo float32) float32 {
	if lo > x {
		return lo
	}
	return x
}

func atMost(x, hi float32) float32 {
	if hi < x {
		return hi
	}
	return x
}

func square(x float32) float32 { return x * x }

func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }

func cube(x float32) float32 { return float32(x*x) * x }

// root is x^(1/2): unlike the square root, it is +0 for -0 and Inf for -Inf.
func root(x float32) float32 {
	if x < -math.MaxFloat32 {
		return -x
	}
	return sqrt(x + 0)
}

func ceil(x float32) float32 { return float32(math.Ceil(float64(x))) }

func floor(x float32) float32 { return float32(math.Floor(float64(x))) }

func round(x float32) float32 { return float32(math.RoundToEven(float64(x))) }

func sign(x float32) float32 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	case x == 0:
		return 0
	}
	return x
}

func relu(x float32) float32 { return atLeast(x, 0) }

func softsign(x float32) float32 { return x / (1 + abs(x)) }

func rsqrt(x, eps float32) float32 { return 1 / sqrt(x+eps) }

func inverse(x, eps float32) float32 { return 1 / (x + eps) }

func leakyRelu(x, alpha float32) float32 {
	if x > 0 {
		return x
	}
	return alpha * x
}

func thresholdedRelu(x, alpha float32) float32 {
	if x < alpha {
		return 0
	}
	return x
}

func clip(x, lo, hi float32) float32 { return atMost(atLeast(x, lo), hi) }

func clampedRelu(x, alpha, beta float32) float32 {
	if x < 0 {
		x = alpha * x
	}
	return atMost(x, beta)
}

func sigmoidHard(x, alpha, beta float32) float32 { return clip(mulAdd(alpha, x, beta), 0, 1) }

func hardSwish(x, alpha, beta float32) float32 { return x * sigmoidHard(x, alpha, beta) }

func scaleShift(x, scale, shift float32) float32 { return mulAdd(x, scale, shift) }

func add(a, b float32) float32 { return a + b }
func sub(a, b float32) float32 { return a - b }
func mul(a, b float32) float32 { return a * b }
func div(a, b float32) float32 { return a / b }

func maximum(a, b float32) float32 {
	if a > b || isNaN(a) {
		return a
	}
	return b
}

func minimum(a, b float32) float32 {
	if a < b || isNaN(a) {
		return a
	}
	return b
}

// wholeQuotient is the largest |a/b| whose floor a float64 division gets right: the
// quotient of two 24-bit numbers stays 2^-24 away from an integer that it does not equal.
const wholeQuotient = 1 << 28

// floorDiv is the largest integer not above a/b, and a/b itself where b is 0.
func floorDiv(a, b float32) float32 {
	q := float64(a) / float64(b)
	switch {
	case a == 0 || b == 0:
		return a / b
	case q == 0 && math.Signbit(q): // b is infinite
		return -1
	case math.Abs(q) < wholeQuotient:
		return float32(math.Floor(q))
	}
	m := float64(mod(a, b))
	return float32(math.Round((float64(a) - m) / float64(b)))
}

// mod is the remainder of floorDiv: it has the sign of b, also where it is zero.
func mod(a, b float32) float32 {
	x, y := float64(a), float64(b)
	q := x / y
	var r float64
	if math.Abs(q) < wholeQuotient && !math.IsInf(y, 0) {
		r = x - float64(math.Floor(q)*y)
	} else {
		r = math.Mod(x, y)
		if r != 0 && (r < 0) != (y < 0) {
			r += y
		}
	}
	if r == 0 {
		r = math.Copysign(0, y)
	}
	return float32(r)
}
