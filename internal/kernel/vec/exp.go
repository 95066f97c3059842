package vec

import "math"

// The exponential family. exp(x) = 2^n · e^r with n = round(x·log2(e)), |r| <= ln2/2, and
// e^r = 1 + r + r²·q(r). ln2 is split so that n·ln2Hi is exact. All polynomials of the package
// are minimax fits with float32 coefficients, lowest order first, their error stated beside
// them; assembly evaluates the same ones.

const (
	log2e = 1.44269504088896340736
	ln2Hi = 0.693359375
	ln2Lo = -2.12194440054690583e-4

	// roundMagic added to |x| < 2^22 leaves round(x), ties to even, in the low bits of the sum.
	roundMagic = 3 << 22

	expLo = -104 // exp of less rounds to 0
	expHi = 89   // exp of more overflows
)

// expQ is q(r): the relative error of r + r²·q(r) as e^r-1 is below 1.5e-8.
var expQ = [...]float32{4.999999702e-01, 1.666653901e-01, 4.166774452e-02, 8.367056958e-03, 1.383941271e-03}

// exp2P: the relative error of 1 + r·p(r) as 2^r is below 1.3e-8 for |r| <= 1/2.
var exp2P = [...]float32{
	6.931471825e-01, 2.402259409e-01, 5.550366268e-02, 9.625435807e-03, 1.338788075e-03, 1.333672844e-04,
}

// horner is the polynomial c[0] + c[1]·x + … .
func horner(x float32, c []float32) float32 {
	y := c[len(c)-1]
	for i := len(c) - 2; i >= 0; i-- {
		y = mulAdd(y, x, c[i])
	}
	return y
}

// roundInt is round(x) for |x| < 2^22, as a float and as an integer.
func roundInt(x float32) (float32, int32) {
	t := x + roundMagic
	return t - roundMagic, int32(math.Float32bits(t) - math.Float32bits(roundMagic))
}

// pow2 is 2^n for -127 < n < 128.
func pow2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

// scale2 is x·2^n for |n| <= 250: two steps, of which only the second may round.
func scale2(x float32, n int32) float32 { return x * pow2(n>>1) * pow2(n-n>>1) }

// expReduced splits exp(x) into 2^n·(1+e); x is not NaN and between expLo and expHi.
func expReduced(x float32) (e float32, n int32) {
	f, n := roundInt(float32(x * log2e))
	r := x - float32(f*ln2Hi)
	r -= float32(f * ln2Lo)
	return mulAdd(float32(r*r), horner(r, expQ[:]), r), n
}

func exp(x float32) float32 {
	if isNaN(x) {
		return x
	}
	e, n := expReduced(clip(x, expLo, expHi))
	return scale2(1+e, n)
}

// exp2 is 2^x.
func exp2(x float32) float32 {
	if isNaN(x) {
		return x
	}
	x = clip(x, -150, 128)
	f, n := roundInt(x)
	return scale2(mulAdd(x-f, horner(x-f, exp2P[:]), 1), n)
}

// expm1 is exp(x)-1 for x <= 0.
func expm1(x float32) float32 {
	if isNaN(x) {
		return x
	}
	e, n := expReduced(atLeast(x, -20)) // rounds to -1 from there on
	s := pow2(n)
	return mulAdd(s, e, s-1)
}

func elu(x, alpha float32) float32 {
	if x > 0 {
		return x
	}
	return alpha * expm1(x)
}

// sigmoid keeps the argument of exp negative and the denominator in [1, 2].
func sigmoid(x float32) float32 {
	e := exp(-abs(x))
	if x < 0 {
		return e / (1 + e)
	}
	return 1 / (1 + e)
}

func tanh(x float32) float32 {
	e := expm1(-2 * abs(x))
	return withSign(abs(e/(2+e)), x)
}

func scaledTanh(x, alpha, beta float32) float32 { return alpha * tanh(float32(beta*x)) }

func silu(x float32) float32 { return x * sigmoid(x) }

// geluSigmoid is x·sigmoid(1.702·x).
func geluSigmoid(x float32) float32 { return x * sigmoid(float32(1.702*x)) }

// geluTanh is x/2·(1+tanh(u/2)) = x·sigmoid(u) with u = sqrt(8/π)·(x + 0.044715·x³).
func geluTanh(x float32) float32 {
	const c = 1.5957691216057308
	return x * sigmoid(float32(x*mulAdd(float32(x*x), c*0.044715, c)))
}

// geluQ: log2(Φ(-t)) for t >= 0, with a relative error of Φ(-t) below 1.3e-7 up to t = 2 and an
// error of t·Φ(-t) below 2e-8 beyond; it falls below -150 before t = 14.
var geluQ = [...]float32{
	-9.999991059e-01, -1.151122570e+00, -4.591091573e-01, -5.274182186e-02, 7.375563960e-03,
	-3.546832595e-04, -1.022733995e-04, 2.270595724e-05, -1.507426759e-06,
}

// geluExact is x·Φ(x) = max(x, 0) - |x|·Φ(-|x|).
func geluExact(x float32) float32 {
	t := atMost(abs(x), 14)
	return relu(x) - float32(t*exp2(horner(t, geluQ[:])))
}

// logP: log(1+f) = f + f²·p(f), relative error below 3.5e-8 for sqrt(1/2) <= 1+f <= sqrt(2).
var logP = [...]float32{
	-4.999999106e-01, 3.333395123e-01, -2.500175536e-01, 1.996207237e-01,
	-1.657051146e-01, 1.491797864e-01, -1.430750191e-01, 8.734802902e-02,
}

// logReduced is log(2^k · (1+f)).
func logReduced(f, k float32) float32 {
	y := float32(float32(f*f) * horner(f, logP[:]))
	y = mulAdd(k, ln2Lo, y)
	return mulAdd(k, ln2Hi, f+y)
}

// sqrtHalf is the bits of sqrt(1/2), where the mantissa's interval starts.
const sqrtHalf = 0x3f3504f3

func log(x float32) float32 {
	switch {
	case isNaN(x) || x < 0:
		return float32(math.NaN())
	case x == 0:
		return float32(math.Inf(-1))
	case x > math.MaxFloat32:
		return x
	}
	k := float32(0)
	if x < 0x1p-126 {
		x, k = x*0x1p23, -23
	}
	b := math.Float32bits(x) - sqrtHalf
	k += float32(int32(b) >> 23)
	m := math.Float32frombits(b&(1<<23-1) + sqrtHalf)
	return logReduced(m-1, k)
}

// softplus is max(x, 0) + log(1+e) with e = exp(-|x|). 1+e is brought below sqrt(2) by halving.
func softplus(x float32) float32 {
	f, k := exp(-abs(x)), float32(0)
	if f > math.Sqrt2-1 {
		f, k = 0.5*f-0.5, 1
	}
	return relu(x) + logReduced(f, k)
}

// erfP: erf(x) = x + x·p(x²), relative error below 1.5e-9 for |x| <= 1.
var erfP = [...]float32{
	1.283791661e-01, -3.761262596e-01, 1.128357872e-01, -2.685334720e-02,
	5.187162198e-03, -7.997853099e-04, 7.806903886e-05,
}

// erfcQ: log2(erfc(x)) for 1 <= x <= 4, error of erf below 1.3e-9.
var erfcQ = [...]float32{
	-4.927212140e-04, -1.626045942e+00, -9.206484556e-01, -1.487515718e-01,
	3.150567785e-02, -4.252579063e-03, 2.688879904e-04,
}

func erf(x float32) float32 {
	t := abs(x)
	if t < 1 {
		return mulAdd(x, horner(float32(x*x), erfP[:]), x)
	}
	y := 1 - exp2(horner(atMost(t, 4), erfcQ[:]))
	return withSign(y, x)
}
