package vec

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// accuracy is a unary kernel with its exact function and the largest error allowed, in ULP
// of the exact value plus an absolute error.
type accuracy struct {
	name  string
	truth func(float64) float64
	ulp   float64
	abs   func(x float64) float64
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// gelu64 has its limit at -Inf.
func gelu64(x float64) float64 {
	if math.IsInf(x, -1) {
		return 0
	}
	return 0.5 * x * math.Erfc(-x/math.Sqrt2)
}

var accuracies = []accuracy{
	{name: "Exp", truth: math.Exp, ulp: 2},
	{name: "Exp2", truth: math.Exp2, ulp: 2},
	{name: "Log", truth: math.Log, ulp: 2},
	{name: "Erf", truth: math.Erf, ulp: 2},
	{name: "Sin", truth: math.Sin, ulp: 2},
	{name: "Cos", truth: math.Cos, ulp: 2},
	{name: "Tanh", truth: math.Tanh, ulp: 4},
	{name: "Tan", truth: math.Tan, ulp: 1},
	{name: "Asin", truth: math.Asin, ulp: 1},
	{name: "Acos", truth: math.Acos, ulp: 1},
	{name: "Atan", truth: math.Atan, ulp: 1},
	{name: "Sinh", truth: math.Sinh, ulp: 1},
	{name: "Cosh", truth: math.Cosh, ulp: 1},
	{name: "Atanh", truth: math.Atanh, ulp: 1},
	{name: "Sigmoid", truth: sigmoid64, ulp: 4},
	{name: "Silu", truth: func(x float64) float64 { return x * sigmoid64(x) }, ulp: 4, abs: func(x float64) float64 { return math.Abs(x) * 0x1p-149 }},
	{name: "Softplus", truth: func(x float64) float64 { return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }, ulp: 4},
	{name: "Softsign", truth: func(x float64) float64 { return x / (1 + math.Abs(x)) }, ulp: 2},
	{name: "GeluExact", truth: gelu64, abs: func(x float64) float64 {
		if x > -2 {
			return 4e-7 * math.Abs(x)
		}
		return 1e-7
	}, ulp: 1},
	{name: "GeluTanh", truth: func(x float64) float64 {
		return x * sigmoid64(math.Sqrt(8/math.Pi)*x*(1+0.044715*x*x))
	}, ulp: 6, abs: func(x float64) float64 { return 1e-7 }},
	{name: "GeluSigmoid", truth: func(x float64) float64 { return x * sigmoid64(1.702*x) }, ulp: 6, abs: func(x float64) float64 { return 1e-7 }},
}

func (f *Funcs) unary(name string) Unary {
	return reflect.ValueOf(f).Elem().FieldByName(name).Interface().(Unary)
}

// ulpOf is the distance between the float32 around x.
func ulpOf(x float64) float64 {
	_, e := math.Frexp(x)
	return math.Ldexp(1, max(e-24, -149))
}

// samples are n floats of every magnitude, more of them in the range where functions bend, with the edge cases first.
func samples(n int) []float32 {
	inf := float32(math.Inf(1))
	s := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 0.5, -0.5, 2, -2, inf, -inf, float32(math.NaN()),
		math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32,
		0x1p-126, 0x1p-127, 88.722839, 88.72284, -87.33655, -103.97208, -103.97209, 127.99999, 128, -149, -150, 99999.99, 100001}
	r := rand.New(rand.NewPCG(1, 2))
	for len(s) < n {
		switch len(s) % 4 {
		case 0:
			s = append(s, math.Float32frombits(r.Uint32()))
		case 1:
			s = append(s, float32(r.NormFloat64()))
		case 2:
			s = append(s, float32(r.Float64()*300-150))
		case 3:
			s = append(s, float32(r.NormFloat64()*math.Exp(r.Float64()*12-6)))
		}
	}
	return s
}

func TestAccuracy(t *testing.T) {
	src := samples(400_000)
	dst := make([]float32, len(src))
	for _, f := range levels {
		for _, c := range accuracies {
			f.unary(c.name)(dst, src)
			worst, at := 0.0, float32(0)
			for i, x := range src {
				want := c.truth(float64(x))
				if isNaN(x) {
					want = math.NaN()
				}
				err, ok := c.err(float64(x), float64(dst[i]), want)
				if !ok {
					t.Errorf("%v %s(%g) = %g, want %g", f.Level, c.name, x, dst[i], want)
				}
				if err > worst {
					worst, at = err, x
				}
			}
			t.Logf("%-7v %-12s %.2f of %g ULP at %g", f.Level, c.name, worst, c.ulp, at)
			if worst > c.ulp {
				t.Errorf("%v %s(%g): %.2f ULP, want %g", f.Level, c.name, at, worst, c.ulp)
			}
		}
	}
}

// err is the error in ULP beyond the absolute allowance; not ok where only one is NaN, or infinite.
func (c accuracy) err(x, got, want float64) (float64, bool) {
	if math.IsNaN(got) || math.IsNaN(want) || math.IsInf(float64(float32(want)), 0) {
		w := float64(float32(want))
		return 0, math.IsNaN(got) && math.IsNaN(want) || got == w || math.Abs(want) < math.MaxFloat32*1.000001 && math.Abs(got) > math.MaxFloat32*0.999999
	}
	if math.IsInf(got, 0) {
		return 0, math.Abs(want) > math.MaxFloat32*0.999999
	}
	e := math.Abs(got - want)
	if c.abs != nil {
		e = max(e-c.abs(x), 0)
	}
	return e / ulpOf(want), true
}
