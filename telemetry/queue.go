package telemetry

import "sync/atomic"

// queue is bounded and lock-free, for many who push and one who pops: a channel
// takes a lock, for which 64 goroutines would wait. A slot's turn says who may
// touch it: position i is free for the i-th push at i, and full at i+1.
type queue struct {
	slots []slot
	_     [64]byte
	tail  atomic.Uint64 // pushes
	_     [56]byte
	head  uint64 // pops
}

type slot struct {
	turn atomic.Uint64
	e    Event
}

// newQueue holds size events, a power of two.
func newQueue(size int) *queue {
	q := &queue{slots: make([]slot, size)}
	for i := range q.slots {
		q.slots[i].turn.Store(uint64(i))
	}
	return q
}

func (q *queue) at(i uint64) *slot { return &q.slots[i&uint64(len(q.slots)-1)] }

// push reports false if the queue is full.
func (q *queue) push(e *Event) bool {
	for {
		i := q.tail.Load()
		s := q.at(i)
		switch turn := s.turn.Load(); {
		case turn == i:
			if q.tail.CompareAndSwap(i, i+1) {
				s.e = *e
				s.turn.Store(i + 1)
				return true
			}
		case turn < i:
			return false
		}
	}
}

// empty reports whether pop would fail.
func (q *queue) empty() bool { return q.at(q.head).turn.Load() != q.head+1 }

func (q *queue) pop(e *Event) bool {
	if q.empty() {
		return false
	}
	s := q.at(q.head)
	*e, s.e = s.e, Event{}
	s.turn.Store(q.head + uint64(len(q.slots)))
	q.head++
	return true
}
