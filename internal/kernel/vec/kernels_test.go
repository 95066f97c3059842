package vec

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// A call runs one elementwise kernel, whatever its shape, with operands a, b and c.
type call func(dst, a, b, c []float32)

// elementwiseCalls are all elementwise kernels of a level by name: every exported field of that shape.
func elementwiseCalls(f *Funcs) map[string]call {
	calls := map[string]call{}
	v := reflect.ValueOf(f).Elem()
	for i := range v.NumField() {
		if !v.Field(i).CanInterface() {
			continue
		}
		name := v.Type().Field(i).Name
		switch k := v.Field(i).Interface().(type) {
		case Unary:
			if name != "Softmax" {
				calls[name] = func(dst, a, _, _ []float32) { k(dst, a) }
			}
		case UnaryScalar:
			calls[name] = func(dst, a, _, _ []float32) { k(dst, a, 0.75) }
			calls[name+"(NaN)"] = func(dst, a, _, _ []float32) { k(dst, a, float32(math.NaN())) }
		case UnaryScalar2:
			calls[name] = func(dst, a, _, _ []float32) { k(dst, a, 0.25, 1.5) }
		case Binary:
			if name != "AddChan" && name != "MulChan" {
				calls[name] = func(dst, a, b, _ []float32) { k(dst, a, b) }
			}
		case Ternary:
			if name != "ScaleShiftChan" {
				calls[name] = func(dst, a, b, c []float32) { k(dst, a, b, c) }
			}
		}
	}
	return calls
}

// difference is what levels may differ by: ULP of the result and an absolute error. A kernel
// that is not listed must agree bit for bit.
var difference = map[string]struct {
	ulp float64
	abs func(x float64) float64
}{
	"Exp": {ulp: 3}, "Exp2": {ulp: 3}, "Log": {ulp: 3}, "Erf": {ulp: 3}, "Sin": {ulp: 3}, "Cos": {ulp: 3},
	"Tanh": {ulp: 5}, "ScaledTanh": {ulp: 6}, "Sigmoid": {ulp: 5}, "Softplus": {ulp: 4},
	"Silu": {ulp: 6, abs: subnormal}, "Elu": {ulp: 5},
	"GeluExact": {ulp: 1, abs: geluAbs}, "GeluTanh": {ulp: 6, abs: tiny}, "GeluSigmoid": {ulp: 6, abs: tiny},
	"HardSwish": {ulp: 2, abs: scaled}, "SigmoidHard": {ulp: 1, abs: scaled}, "ScaleShift": {ulp: 1, abs: scaled},
	"Axpy": {ulp: 1, abs: scaled},
}

func subnormal(x float64) float64 { return math.Abs(x) * 0x1p-149 }
func tiny(float64) float64        { return 1e-7 }
func scaled(x float64) float64    { return math.Abs(x) * 0x1p-23 }

func geluAbs(x float64) float64 {
	if x > -2 {
		return 4e-7 * math.Abs(x)
	}
	return 1e-7
}

// agree reports whether got may be returned where the generic kernel gives want for x.
func agree(name string, x, got, want float32) bool {
	if math.Float32bits(got) == math.Float32bits(want) || isNaN(got) && isNaN(want) {
		return true
	}
	d, ok := difference[name]
	if !ok || isNaN(got) || isNaN(want) {
		return false
	}
	bound := d.ulp * ulpOf(float64(want))
	if d.abs != nil {
		bound += d.abs(float64(x))
	}
	if math.IsInf(float64(want), 0) || math.IsInf(float64(got), 0) {
		return got > 0 == (want > 0) && abs(got) > math.MaxFloat32*0.999999 && abs(want) > math.MaxFloat32*0.999999
	}
	return math.Abs(float64(got)-float64(want)) <= bound
}

func shuffled(seed uint64, n int) []float32 {
	s := samples(n)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(n, func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}

// TestElementwise compares every elementwise kernel of every level with the generic one.
func TestElementwise(t *testing.T) {
	const n = 20_000 // more than a chunk
	a, b, c := samples(n), shuffled(1, n), shuffled(2, n)
	want, got, same := make([]float32, n), make([]float32, n), make([]float32, n)
	reference := elementwiseCalls(levels[0])
	for _, f := range levels {
		for name, k := range elementwiseCalls(f) {
			if name == "MulAdd" || name == "ScaleShiftV" {
				continue // see TestMulAdd
			}
			clear(want) // Axpy reads what it writes
			clear(got)
			reference[name](want, a, b, c)
			k(got, a, b, c)
			for i := range want {
				if !agree(name, a[i], got[i], want[i]) {
					t.Fatalf("%v %s[%d] of %g, %g, %g: %g, want %g", f.Level, name, i, a[i], b[i], c[i], got[i], want[i])
				}
			}
			if name == "Axpy" {
				continue
			}
			copy(same, a)
			k(same, same, b, c)
			equal(t, fmt.Sprintf("%v %s in place", f.Level, name), same, got)
		}
	}
}

func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(isNaN(got[i]) && isNaN(want[i])) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
		}
	}
}

// TestPosition: no length, offset or cut changes the bits of an element or touches its neighbours.
func TestPosition(t *testing.T) {
	const n, guard = 257, 20
	src := [3][]float32{shuffled(3, n+guard), shuffled(4, n+guard), shuffled(5, n+guard)}
	for _, f := range levels {
		for name, k := range elementwiseCalls(f) {
			whole := make([]float32, n+guard)
			k(whole, src[0], src[1], src[2])
			buf := make([]float32, n+2*guard)
			for length := range n + 1 {
				lo := length % 19
				for i := range buf {
					buf[i] = 42
				}
				dst := buf[lo : lo+length]
				if name == "Axpy" {
					clear(dst)
				}
				k(dst, src[0][lo:], src[1][lo:], src[2][lo:])
				for i, x := range buf[:lo] {
					if x != 42 {
						t.Fatalf("%v %s: length %d wrote before at %d", f.Level, name, length, i)
					}
				}
				for i, x := range buf[lo+length:] {
					if x != 42 {
						t.Fatalf("%v %s: length %d wrote behind at %d", f.Level, name, length, i)
					}
				}
				equal(t, fmt.Sprintf("%v %s length %d", f.Level, name, length), dst, whole[lo:lo+length])
			}
		}
	}
}

// TestMulAdd bounds the difference of one rounding and two by that of the product.
func TestMulAdd(t *testing.T) {
	const n = 4000
	r := rand.New(rand.NewPCG(7, 7))
	random := func() []float32 {
		s := make([]float32, n)
		for i := range s {
			s[i] = float32(r.NormFloat64())
		}
		return s
	}
	a, b, c, dst := random(), random(), random(), make([]float32, n)
	for _, f := range levels {
		for name, k := range map[string]Ternary{"MulAdd": f.MulAdd, "ScaleShiftV": f.ScaleShiftV} {
			k(dst, a, b, c)
			for i := range dst {
				p := float64(a[i]) * float64(b[i])
				want := p + float64(c[i])
				if e := math.Abs(float64(dst[i]) - want); e > ulpOf(p)/2+ulpOf(want) {
					t.Fatalf("%v %s(%g, %g, %g) = %g, want %g", f.Level, name, a[i], b[i], c[i], dst[i], want)
				}
			}
		}
	}
}

func TestChannels(t *testing.T) {
	for _, f := range levels {
		for _, block := range []int{1, 3, 4, 8, 16, 24} {
			for _, pixels := range []int{0, 1, 2, 7, 49, 2500} {
				n := block * pixels
				src, scale, shift := row(n, 0), row(block, 1), row(block+1, 0)[:block]
				dst := make([]float32, n)
				check := func(name string, want func(x, a, b float32) float32) {
					t.Helper()
					for i, x := range src {
						w := want(x, scale[i%block], shift[i%block])
						if !agree(name, x, dst[i], w) {
							t.Fatalf("%v %s block %d, element %d: %g, want %g", f.Level, name, block, i, dst[i], w)
						}
					}
				}
				f.AddChan(dst, src, scale)
				check("AddChan", func(x, a, _ float32) float32 { return x + a })
				f.MulChan(dst, src, scale)
				check("MulChan", func(x, a, _ float32) float32 { return x * a })
				f.ScaleShiftChan(dst, src, scale, shift)
				for i, x := range src {
					p := float64(x) * float64(scale[i%block])
					w := p + float64(shift[i%block])
					if e := math.Abs(float64(dst[i]) - w); e > ulpOf(p)/2+ulpOf(w) {
						t.Fatalf("%v ScaleShiftChan block %d, element %d: %g, want %g", f.Level, block, i, dst[i], w)
					}
				}
			}
		}
	}
}
