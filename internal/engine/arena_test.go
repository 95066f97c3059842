package engine

import (
	"errors"
	"math/rand/v2"
	"testing"

	"coreml/internal/fault"
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

func TestStackKeepsFramesAndItsLimit(t *testing.T) {
	var s stack
	m := s.mark()
	a, err := s.push(100, 0)
	if err != nil || len(a) != 128 {
		t.Fatalf("%d bytes, %v", len(a), err)
	}
	a[0] = 7
	b, _ := s.push(1<<20, 0)
	b[0] = 8
	if a[0] != 7 {
		t.Error("a frame moved or was overwritten")
	}
	s.release(m)
	c, _ := s.push(100, 0)
	if &c[0] != &a[0] {
		t.Error("the memory is not used again")
	}
	if _, err := s.push(1<<30, 1<<24); !errors.Is(err, fault.Limit) {
		t.Errorf("got %v, want a limit", err)
	}
}
