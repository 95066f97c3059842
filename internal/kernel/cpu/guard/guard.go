// Package guard gives tests memory that ends, or begins, at a page that must not be touched:
// one float read or written outside is a fault.
package guard

import "math"

// Where says which side of the memory is guarded.
type Where int

// The sides.
const (
	Before Where = iota
	After
)

// Copy returns a guarded copy of x.
func Copy(x []float32, side Where, t Test) []float32 {
	c := Floats(len(x), side, t)
	copy(c, x)
	return c
}

// Floats returns n guarded floats, all NaN.
func Floats(n int, side Where, t Test) []float32 {
	b := Bytes(4*n, side, t)
	f := asFloats(b, n)
	for i := range f {
		f[i] = float32(math.NaN())
	}
	return f
}

// Test is the part of testing.TB that is needed.
type Test interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}
