package engine

import (
	"slices"

	"coreml/internal/graph"
)

// align is that of every value in an arena: a cache line, and the widest vector.
const align = 64

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// layoutArena gives each storage an offset so that none overlaps another that
// lives at the same time, first fit in order of definition. It returns the size.
func layoutArena(stores []storage) int {
	var free []hole // sorted by offset, never adjacent
	top := 0
	ends := make(map[int][]int) // storages by the step after which they die
	for i := range stores {
		s := &stores[i]
		if s.external || s.size == 0 {
			continue
		}
		ends[s.last] = append(ends[s.last], i)
	}
	order := byFirst(stores)
	at := 0
	for _, i := range order {
		s := &stores[i]
		for ; at < s.first; at++ {
			for _, d := range ends[at] {
				free = release(free, hole{stores[d].off, stores[d].size})
			}
		}
		free, top = takeHole(free, top, s)
	}
	return top
}

type hole struct{ off, size int }

// takeHole takes the smallest hole that fits, or grows the arena.
func takeHole(free []hole, top int, s *storage) ([]hole, int) {
	best := -1
	for i, h := range free {
		if h.size >= s.size && (best < 0 || h.size < free[best].size) {
			best = i
		}
	}
	if best < 0 {
		// A hole at the very end is extended.
		if n := len(free); n > 0 && free[n-1].off+free[n-1].size == top {
			s.off = free[n-1].off
			return free[:n-1], s.off + s.size
		}
		s.off = top
		return free, top + s.size
	}
	s.off = free[best].off
	if free[best].size == s.size {
		return append(free[:best], free[best+1:]...), top
	}
	free[best].off += s.size
	free[best].size -= s.size
	return free, top
}

func release(free []hole, h hole) []hole {
	i := 0
	for i < len(free) && free[i].off < h.off {
		i++
	}
	free = append(free, hole{})
	copy(free[i+1:], free[i:])
	free[i] = h
	if i+1 < len(free) && free[i].off+free[i].size == free[i+1].off {
		free[i].size += free[i+1].size
		free = append(free[:i+1], free[i+2:]...)
	}
	if i > 0 && free[i-1].off+free[i-1].size == free[i].off {
		free[i-1].size += free[i].size
		free = append(free[:i], free[i+1:]...)
	}
	return free
}

func byFirst(stores []storage) []int {
	var order []int
	last := 0
	for i := range stores {
		if !stores[i].external && stores[i].size > 0 {
			order = append(order, i)
			last = max(last, stores[i].first)
		}
	}
	// Counting sort: storages are nearly in order already.
	count := make([]int, last+2)
	for _, i := range order {
		count[stores[i].first+1]++
	}
	for i := 1; i < len(count); i++ {
		count[i] += count[i-1]
	}
	out := make([]int, len(order))
	for _, i := range order {
		out[count[stores[i].first]] = i
		count[stores[i].first]++
	}
	return out
}

// stack is the memory of one run: frames of segments, one on top of the other.
// It grows by chunks, so that frames in use never move.
type stack struct {
	chunks [][]byte
	chunk  int // in use
	off    int
	total  int64
}

type mark struct{ chunk, off int }

func (s *stack) mark() mark     { return mark{s.chunk, s.off} }
func (s *stack) release(m mark) { s.chunk, s.off = m.chunk, m.off }

// fit returns n bytes, a multiple of align, if the stack has them. Chunks above the frames in
// use that are too small are let go of, so that outgrown ones do not add up.
func (s *stack) fit(n int) ([]byte, bool) {
	if n == 0 {
		return nil, true
	}
	if s.chunk < len(s.chunks) && s.off+n > len(s.chunks[s.chunk]) && s.off > 0 {
		s.chunk, s.off = s.chunk+1, 0
	}
	small := s.chunk
	for small < len(s.chunks) && s.off+n > len(s.chunks[small]) {
		s.total -= int64(len(s.chunks[small]))
		small++
	}
	s.chunks = slices.Delete(s.chunks, s.chunk, small)
	if s.chunk == len(s.chunks) {
		return nil, false
	}
	b := s.chunks[s.chunk][s.off : s.off+n : s.off+n]
	s.off += n
	return b, true
}

// grow adds a chunk and returns its first n bytes, after fit has found none.
func (s *stack) grow(size, n int) []byte {
	s.total += int64(size)
	chunk := graph.Aligned(size)
	useHugePages(chunk)
	s.chunks = append(s.chunks, chunk)
	s.chunk, s.off = len(s.chunks)-1, n
	return chunk[:n:n]
}
