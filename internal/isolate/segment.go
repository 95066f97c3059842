package isolate

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"coreml/internal/fault"
)

// segment is the memory that a parent shares with one child: a file that only
// grows. It is cut into slots, each of which belongs to one call at a time.
type segment struct {
	file  *os.File
	limit int64

	mu     sync.Mutex
	end    int64   // of the file
	size   int64   // bytes that slots take
	idle   []*slot // by size
	closed bool
	err    error // of unmapping
}

// slot is a part of the segment, mapped.
type slot struct {
	seg *segment
	off int64
	mem []byte
}

// granule is what offsets and sizes of slots are multiples of: at least a page
// everywhere, and what Windows maps by.
const granule = 64 << 10

func newSegment(dir string, limit int64) (*segment, error) {
	f, err := createShared(dir)
	if err != nil {
		return nil, fmt.Errorf("isolate: shared memory: %w", fault.As(fault.Memory, err))
	}
	return &segment{file: f, limit: limit}, nil
}

// take returns a slot of at least n bytes.
func (s *segment) take(n int) (*slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	for i, have := range s.idle {
		if len(have.mem) >= n {
			s.idle = slices.Delete(s.idle, i, i+1)
			return have, nil
		}
	}
	size := slotSize(n)
	if size < n || s.size+int64(size) > s.limit {
		return nil, fmt.Errorf("isolate: %d bytes of shared memory beside %d: %w: %d are allowed", n, s.size, fault.Limit, s.limit)
	}
	if err := growShared(s.file, s.end, s.end+int64(size)); err != nil {
		return nil, fmt.Errorf("isolate: %d bytes of shared memory beside %d: %w: %w", n, s.size, fault.Memory, err)
	}
	mem, err := mapShared(s.file, s.end, size)
	if err != nil {
		return nil, fmt.Errorf("isolate: mapping %d bytes of shared memory: %w: %w", size, fault.Memory, err)
	}
	got := &slot{s, s.end, mem}
	s.end += int64(size)
	s.size += int64(size)
	return got, nil
}

// slotSize rounds up to one of four sizes for each power of two, so that slots serve again.
func slotSize(n int) int {
	step := granule
	for step*8 < n {
		step *= 2
	}
	return max(granule, (n+step-1)/step*step)
}

// release gives a slot back. Nobody may use its memory any more.
func (s *slot) release() {
	if s == nil {
		return
	}
	g := s.seg
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		g.unmap(s)
		return
	}
	i, _ := slices.BinarySearchFunc(g.idle, len(s.mem), func(have *slot, n int) int { return len(have.mem) - n })
	g.idle = slices.Insert(g.idle, i, s)
}

// discard is release for a slot that will not be needed again: the system gets its
// memory back, where it can take it. Neither side may use it any more.
func (s *slot) discard() {
	if s == nil {
		return
	}
	g := s.seg
	g.mu.Lock()
	if g.closed || discardShared(g.file, s.off, int64(len(s.mem))) != nil {
		g.mu.Unlock()
		s.release()
		return
	}
	defer g.mu.Unlock()
	g.size -= int64(len(s.mem))
	g.unmap(s)
}

func (g *segment) unmap(s *slot) {
	g.err = errors.Join(g.err, unmapShared(s.mem))
	s.mem = nil
}

// close unmaps what is idle now, and each other slot when it is released.
func (g *segment) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	for _, s := range g.idle {
		g.unmap(s)
	}
	g.idle = nil
	return errors.Join(g.err, g.file.Close())
}

// views are the slots as the child sees them, mapped when they are first named.
type views struct {
	file *os.File
	mu   sync.Mutex
	mem  map[int64][]byte
}

func (v *views) slot(off int64, size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if m, ok := v.mem[off]; ok && len(m) == size {
		return m, nil
	}
	if size < 0 || size%granule != 0 || off < 0 || off%granule != 0 {
		return nil, fmt.Errorf("isolate: a slot of %d bytes at %d: want multiples of %d", size, off, granule)
	}
	m, err := mapShared(v.file, off, size)
	if err != nil {
		return nil, fmt.Errorf("isolate: mapping %d bytes of shared memory: %w: %w", size, fault.Memory, err)
	}
	v.mem[off] = m
	return m, nil
}
