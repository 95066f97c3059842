package engine

import (
	"errors"
	"fmt"
	"slices"

	"coreml/internal/fault"
	"coreml/internal/graph"
)

// The memory limit bounds the sum of what all predictions share, program.held, and of what
// one of them takes, run.bytes. It holds for every prediction in flight and for all that were
// made: what was possible once is not refused later, because weights had grown since.

// within refuses what is over the limit.
func (p *program) within(shared, own int64) error {
	if limit := p.config.MemoryLimit; limit > 0 && shared+own > limit {
		return fmt.Errorf("needs %d bytes, %d of them for weights: %w: %d are allowed", shared+own, shared, fault.Limit, limit)
	}
	return nil
}

// share counts n more bytes that all predictions share, if that leaves enough for each of
// them, also for one that needs own. The caller holds p.mu.
func (p *program) share(n, own int64) error {
	own = max(own, p.most)
	for _, r := range p.flying {
		own = max(own, r.peak)
	}
	if err := p.within(p.held+n, own); err != nil {
		return err
	}
	p.held += n
	return nil
}

// shareWeights counts weights that have not been, or none of them. The caller holds p.mu.
func (p *program) shareWeights(l []*weight, own int64) error {
	n, fresh := int64(0), l[:0:0]
	for _, w := range l {
		if !w.counted {
			w.counted = true
			n += int64(w.Packing.Size)
			fresh = append(fresh, w)
		}
	}
	err := p.share(n, own)
	if err != nil {
		for _, w := range fresh {
			w.counted = false
		}
	}
	return err
}

// need is what a run of this segment alone takes.
func (p *program) need(seg *segment) int64 { return int64(seg.frame) + seg.scratch.bytes(p.threads()) }

// scratch is what a step needs beside its operands: the first worker, and every other one.
type scratch [2]int

func (s scratch) bytes(threads int) int64 { return int64(s[0]) + int64(threads-1)*int64(s[1]) }

// cover makes s as large as a step needs it.
func (s *scratch) cover(st *graph.Step) {
	s[0] = max(s[0], st.Scratch)
	for i := range st.Phases {
		if st.Phases[i].Tasks > 1 {
			s[1] = max(s[1], st.Scratch)
		}
	}
}

// bytes is what the run holds.
func (r *run) bytes() int64 { return r.stack.total + r.room.bytes(r.threads) + r.grown }

// take counts n bytes that the run is about to allocate.
func (r *run) take(n int64) error {
	need := r.bytes() + n
	if need <= r.peak {
		return nil
	}
	if r.prog.config.MemoryLimit > 0 {
		r.prog.mu.Lock()
		defer r.prog.mu.Unlock()
		if err := r.prog.within(r.prog.held, need); err != nil {
			return err
		}
	}
	r.peak = need
	return nil
}

// push gives a segment its frame: an eighth more, far from a limit, so that shapes that grow a little fit again.
func (r *run) push(n int) ([]byte, error) {
	n = roundUp(n, align)
	if b, ok := r.stack.fit(n); ok {
		return b, nil
	}
	size := max(roundUp(n+n/8, 4096), 64<<10)
	if limit := r.prog.config.MemoryLimit; limit > 0 && r.bytes()+int64(size) > limit/2 {
		size = n
	}
	if err := r.take(int64(size)); err != nil {
		return nil, err
	}
	return r.stack.grow(size, n), nil
}

// makeRoom gives every worker scratch memory.
func (r *run) makeRoom(need scratch) error {
	room := r.room
	for i := range room {
		room[i] = max(room[i], need[i])
	}
	if err := r.take(room.bytes(r.threads) - r.room.bytes(r.threads)); err != nil {
		return err
	}
	r.room = room
	r.fillRoom()
	return nil
}

// fillRoom allocates scratch memory of the size that has been counted.
func (r *run) fillRoom() {
	for i := range r.execs {
		if n := r.room[min(i, 1)]; len(r.execs[i].Buf) < n {
			r.execs[i].Buf = graph.Aligned(n)
		}
	}
}

// begin counts an acquired run among those in flight. The caller holds p.mu.
func (p *program) begin(r *run) {
	r.threads = p.threads()
	if p.within(p.held, r.bytes()) != nil {
		r.shrink()
	}
	r.peak = r.bytes()
	if p.config.MemoryLimit > 0 {
		p.flying = append(p.flying, r)
	}
}

// finish takes a run off those in flight, and reports whether its memory is worth keeping:
// beside a limit that of one that failed is not. The caller holds p.mu.
func (p *program) finish(r *run) bool {
	if !r.failed {
		p.most = max(p.most, r.peak)
	}
	if p.config.MemoryLimit == 0 {
		return true
	}
	p.flying = slices.DeleteFunc(p.flying, func(f *run) bool { return f == r })
	return !r.failed
}

// shrink lets go of the memory that predictions before, of other sizes, have left.
func (r *run) shrink() {
	r.stack, r.room, r.bound, r.frame = stack{}, scratch{}, nil, nil
	for i := range r.execs {
		r.execs[i].Buf = nil
	}
}

// retry reports whether a prediction that ran into the limit may fit without the memory
// that those before it have left, and lets go of that.
func (r *run) retry(err error) bool {
	if !r.kept || r.written || !errors.Is(err, fault.Limit) {
		return false
	}
	r.prog.mu.Lock()
	defer r.prog.mu.Unlock()
	r.leave(0)
	r.shrink()
	r.kept, r.grown, r.peak = false, 0, 0
	return true
}

// settle has a step with blocks give back what it took while it ran, less what its results keep.
func settle(s graph.Step, c *graph.Call) graph.Step {
	var kept []int
	for o := range c.Out {
		if t := c.Out[o].Type; t.Bound || graph.Bytes(t, graph.Plain, 1) == 0 {
			kept = append(kept, o)
		}
	}
	s.Phases = slices.Clone(s.Phases)
	for i := range s.Phases {
		do := s.Phases[i].Run
		s.Phases[i].Run = func(x *graph.Exec, task int) error {
			r := x.Env.(*run)
			before := r.grown
			err := do(x, task)
			r.grown = before
			for _, o := range kept {
				r.grown += x.Slots[x.Out[o]].Bytes()
			}
			return err
		}
	}
	return s
}
