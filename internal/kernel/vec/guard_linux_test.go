package vec

import (
	"syscall"
	"testing"
	"unsafe"
)

// fence is memory between two pages that fault.
type fence struct{ middle []byte }

func newFence(t *testing.T, size int) fence {
	t.Helper()
	page := syscall.Getpagesize()
	n := (size + page - 1) / page * page
	b, err := syscall.Mmap(-1, 0, n+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(b) })
	for _, p := range [][]byte{b[:page], b[page+n:]} {
		if err := syscall.Mprotect(p, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return fence{b[page : page+n]}
}

// fenced is n elements that end at the fence, or begin at it.
func fenced[T any](f fence, n int, end bool) []T {
	if n == 0 {
		return nil
	}
	size := n * int(unsafe.Sizeof(*new(T)))
	b := f.middle[:size]
	if end {
		b = f.middle[len(f.middle)-size:]
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}

// TestFences: no kernel reads or writes beyond its slices.
func TestFences(t *testing.T) {
	const most = 257
	var fs [4]fence
	for i := range fs {
		fs[i] = newFence(t, 4*most)
	}
	for _, f := range levels {
		for _, end := range []bool{false, true} {
			for n := range most + 1 {
				var s [4][]float32
				for i := range s {
					s[i] = fenced[float32](fs[i], n, end)
				}
				for _, k := range elementwiseCalls(f) {
					k(s[0], s[1], s[2], s[3])
				}
				wide, narrow := fenced[float32](fs[0], n, end), fenced[uint16](fs[1], n, end)
				f.FromF16(wide, narrow)
				f.ToF16(narrow, wide)
				f.FromBF16(wide, narrow)
				f.ToBF16(narrow, wide)
				f.FromInt8(wide, fenced[int8](fs[1], n, end), 1, 0)
				f.ToInt8(fenced[int8](fs[1], n, end), wide, 1, 0)
				f.FromUint8(wide, fenced[uint8](fs[1], n, end), 1, 0)
				f.ToUint8(fenced[uint8](fs[1], n, end), wide, 1, 0)
				for _, rows := range []int{1, 7, 8, 16, 17, 32} {
					cols := n / rows
					f.Transpose(s[0][n-rows*cols:], rows, s[1][n-rows*cols:], cols, rows, cols)
				}
				f.Softmax(s[0], s[1])
				f.ExpSum(s[0], s[1], 1)
				f.LayerNorm(s[0], s[1], s[2], s[3], 1e-5)
				f.RMSNorm(s[0], s[1], s[2], 1e-5)
				f.Dot(s[1], s[2])
				for _, r := range []Reduction{f.Sum, f.SumSquare, f.SumAbs, f.ReduceMax, f.ReduceMin} {
					r(s[1])
				}
			}
		}
	}
}
