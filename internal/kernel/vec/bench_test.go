package vec

import (
	"reflect"
	"testing"
)

// BenchmarkKernel runs every kernel of every level on 1000 elements in L1.
func BenchmarkKernel(b *testing.B) {
	const n = 1000
	for _, f := range levels {
		b.Run(f.Level.String(), func(b *testing.B) {
			v := reflect.ValueOf(f).Elem()
			for i := range v.NumField() {
				run := benchCall(f, v.Type().Field(i).Name, v.Field(i), n)
				if run == nil {
					continue
				}
				b.Run(v.Type().Field(i).Name, func(b *testing.B) {
					b.SetBytes(4 * n)
					for b.Loop() {
						run()
					}
				})
			}
		})
	}
}

// benchCall is a call of a field of Funcs, nil where it is no kernel of n elements.
func benchCall(f *Funcs, name string, field reflect.Value, n int) func() {
	if !field.CanInterface() {
		return nil
	}
	x, y, z, dst := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range x {
		x[i], y[i], z[i] = float32(i%17)/4-2, float32(i%13)/8+0.5, float32(i%5)
	}
	h, q := make([]uint16, n), make([]int8, n)
	lanes := f.Level.Lanes()
	whole := dst[:n/lanes*lanes]
	switch k := field.Interface().(type) {
	case Unary:
		return func() { k(dst, x) }
	case UnaryScalar:
		return func() { k(dst, x, 0.5) }
	case UnaryScalar2:
		return func() { k(dst, x, 0.5, 1) }
	case Ternary:
		if name == "ScaleShiftChan" {
			return func() { k(whole, x, y[:lanes], z[:lanes]) }
		}
		return func() { k(dst, x, y, z) }
	case Binary:
		if name == "AddChan" || name == "MulChan" {
			return func() { k(whole, x, y[:lanes]) }
		}
		return func() { k(dst, x, y) }
	case Reduction:
		return func() { k(x) }
	case func(a, b []float32) float32:
		return func() { k(x, y) }
	case func(dst, src []float32, shift float32) float32:
		return func() { k(dst, x, 2) }
	case func(src []float32) (float32, float32):
		return func() { k(x) }
	case func(dst, src, gamma, beta []float32, eps float32):
		return func() { k(dst, x, y, z, 1e-5) }
	case func(dst, src, gamma []float32, eps float32):
		return func() { k(dst, x, y, 1e-5) }
	case func(dst []float32, src []uint16):
		return func() { k(dst, h) }
	case func(dst []uint16, src []float32):
		return func() { k(h, x) }
	case func(dst []float32, src []int8, scale, zero float32):
		return func() { k(dst, q, 0.1, 3) }
	case func(dst []int8, src []float32, scale, zero float32):
		return func() { k(q, x, 0.1, 3) }
	case func(dst []float32, dstStride int, src []float32, srcStride, rows, cols int):
		return func() { k(dst, 16, x, 48, 16, 48) }
	case func(dst, src []float32, channels, pixels, lanes int):
		return func() { k(dst, x, 2*lanes, n/lanes/2, lanes) }
	}
	return nil
}
