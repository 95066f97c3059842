package engine

import (
	"math/rand/v2"
	"testing"
)

func TestArenaNeverOverlapsWhatLivesTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + r.IntN(60)
		stores := make([]storage, n)
		need := 0
		for i := range stores {
			first := r.IntN(n)
			stores[i] = storage{size: align * (1 + r.IntN(20)), first: first, last: first + r.IntN(8)}
			need += stores[i].size
		}
		top := layoutArena(stores)
		if top > need {
			t.Fatalf("the frame takes %d bytes, more than %d of all values", top, need)
		}
		for i, a := range stores {
			if a.off%align != 0 || a.off+a.size > top {
				t.Fatalf("storage at %d of %d leaves the frame of %d", a.off, a.size, top)
			}
			for _, b := range stores[:i] {
				together := a.first <= b.last && b.first <= a.last
				if together && a.off < b.off+b.size && b.off < a.off+a.size {
					t.Fatalf("%+v and %+v overlap", a, b)
				}
			}
		}
	}
}

// pushed takes n bytes of a stack, which grows by chunks of size.
func pushed(s *stack, n, size int) []byte {
	if b, ok := s.fit(n); ok {
		return b
	}
	return s.grow(size, n)
}

func TestStackKeepsFrames(t *testing.T) {
	var s stack
	m := s.mark()
	a := pushed(&s, 128, 1024)
	if len(a) != 128 {
		t.Fatalf("%d bytes, want 128", len(a))
	}
	a[0] = 7
	b := pushed(&s, 1<<20, 1<<20)
	b[0] = 8
	if a[0] != 7 {
		t.Error("a frame moved or was overwritten")
	}
	s.release(m)
	c := pushed(&s, 128, 1024)
	if &c[0] != &a[0] {
		t.Error("the memory is not used again")
	}
	if &pushed(&s, 1<<20, 1<<20)[0] != &b[0] {
		t.Error("the second chunk is not used again")
	}
}

// TestStackLetsOutgrownChunksGo: whatever was pushed before, what the stack has is what the frames of the largest
// sequence need.
func TestStackLetsOutgrownChunksGo(t *testing.T) {
	var s stack
	for n := 128; n <= 1<<16; n *= 2 {
		s.release(mark{})
		low := pushed(&s, n, n)
		m := s.mark()
		for k := 1; k <= 4; k++ { // a block whose frame grows, on top
			s.release(m)
			high := pushed(&s, k*n, k*n)
			low[0], high[0] = 1, 2
			if low[0] != 1 {
				t.Fatal("frames overlap")
			}
		}
		if most := int64(6 * n); s.total > most {
			t.Errorf("frames of %d and %d bytes: the stack has %d, want at most %d", n, 4*n, s.total, most)
		}
	}
	held := int64(0)
	for _, c := range s.chunks {
		held += int64(len(c))
	}
	if held != s.total {
		t.Errorf("the stack has %d bytes and says %d", held, s.total)
	}
}
