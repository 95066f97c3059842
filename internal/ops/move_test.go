package ops

import (
	"math/rand"
	"slices"
	"testing"

	"coreml/tensor"
)

// randomBox is a result shape with a permuted, partly reversed or repeated walk through a dense source.
func randomBox(r *rand.Rand) (size, stride []int, off, elems int) {
	rank := r.Intn(5)
	x := make([]int, rank)
	for i := range x {
		x[i] = []int{1, 2, 3, 5, 17, 70}[r.Intn(6)]
	}
	st, perm := rowMajor(x), r.Perm(rank)
	for _, p := range perm {
		switch r.Intn(8) {
		case 0: // reversed
			size, stride = append(size, x[p]), append(stride, -st[p])
			off += (x[p] - 1) * st[p]
		case 1: // repeated
			size, stride = append(size, 2, x[p]), append(stride, 0, st[p])
		case 2: // every other one
			size, stride = append(size, (x[p]+1)/2), append(stride, 2*st[p])
		default:
			size, stride = append(size, x[p]), append(stride, st[p])
		}
	}
	return size, stride, off, volume(x)
}

func TestMoveEqualsTheIndexByIndexLoop(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 400 {
		size, stride, off, elems := randomBox(r)
		if volume(size) > 200_000 {
			continue
		}
		for _, width := range []int{1, 2, 4} {
			src, dst := make([]byte, elems*width), make([]byte, volume(size)*width)
			r.Read(src)
			m := newMove(width, size, rowMajor(size), 0, stride, off)
			for task := m.tasks() - 1; task >= 0; task-- {
				m.run(dst, src, task)
			}
			want := make([]byte, len(dst))
			for i := range volume(size) {
				from, k := off, i
				for d := len(size) - 1; d >= 0; d-- {
					from += k % size[d] * stride[d]
					k /= size[d]
				}
				copy(want[i*width:(i+1)*width], src[from*width:])
			}
			if !slices.Equal(dst, want) {
				t.Fatalf("size %v, strides %v, width %d: wrong", size, stride, width)
			}
		}
	}
}

func TestMoveCutsLargeWork(t *testing.T) {
	n := 3 * moveElems
	for _, m := range []move{
		newMove(4, []int{n}, []int{1}, 0, []int{1}, 0),
		newMove(4, []int{512, n / 512}, []int{n / 512, 1}, 0, []int{1, 512}, 0),
		newMove(4, []int{n}, []int{1}, 0, []int{-1}, n-1),
	} {
		if k := m.tasks(); k < 3 || k > 6 {
			t.Errorf("size %v: %d tasks for %d elements", m.size, k, n)
		}
		src, dst := make([]uint32, n), make([]uint32, n)
		for i := range src {
			src[i] = uint32(i) + 1
		}
		for task := range m.tasks() {
			m.run(tensor.BytesOf(dst), tensor.BytesOf(src), task)
		}
		if slices.Contains(dst, 0) {
			t.Errorf("size %v: elements left out", m.size)
		}
	}
	if m := newMove(4, []int{3, 0}, []int{0, 1}, 0, []int{0, 1}, 0); m.tasks() != 0 {
		t.Error("an empty move has tasks")
	}
}

func TestMoveRoundsToHalf(t *testing.T) {
	src := []float32{1, 2, 3, 4, 5, 1e-9, 70000, 0.1}
	dst := make([]uint16, 16)
	m := newMove(2, []int{2, 4}, []int{8, 2}, 1, []int{4, 1}, 0)
	for task := range m.tasks() {
		m.runToHalf(dst, src, task)
	}
	for i, v := range src {
		if got := dst[1+i/4*8+i%4*2]; got != tensor.F16(v) {
			t.Errorf("element %d: %#x, want %#x", i, got, tensor.F16(v))
		}
	}
}
