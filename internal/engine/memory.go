package engine

import (
	"coreml/internal/graph"
)

// storage is a piece of memory that one or more slots share.
type storage struct {
	external    bool  // not of this segment's frame: an input, a state, an outer value
	slot        int32 // of external memory
	size        int
	first, last int // the calls between which it is in use
	off         int // in the frame
}

// home is where a slot lies.
type home struct {
	store int
	off   int
	size  int
}

// memory assigns slots to storages.
type memory struct {
	p      *planner
	stores []storage
	homes  map[int32]home
	last   map[int32]int // the last call that reads a slot
	placed map[int32]target
	copied map[*pcall]bool // read_state calls that have to copy
}

// target is where a slot is computed inside another one.
type target struct {
	slot int32
	off  int
}

// assignMemory decides which slots share memory, and lays out the frame.
func (p *planner) assignMemory() {
	m := &memory{p: p, last: map[int32]int{}, copied: map[*pcall]bool{}}
	for i, c := range p.calls {
		for k, s := range c.in {
			if c.call.In[k].Const == nil {
				m.last[s] = i
			}
		}
		for _, v := range c.reads {
			m.last[slotOf(v, graph.Plain)] = i
		}
	}
	for v := range p.later {
		m.last[slotOf(v, graph.Plain)] = len(p.calls)
	}
	for !m.walk() {
	}
	p.seg.frame = layoutArena(m.stores)
	m.emit()
}

// walk goes through the calls once; false: a state's old version is still read
// after it is overwritten, that read has been made a copy, and all starts again.
func (m *memory) walk() bool {
	m.stores, m.homes, m.placed = nil, map[int32]home{}, map[int32]target{}
	for i := len(m.p.calls) - 1; i >= 0; i-- {
		m.choosePlaces(m.p.calls[i])
	}
	for i, c := range m.p.calls {
		for _, s := range c.in {
			m.outer(s)
		}
		if !m.checkWrite(i, c) {
			return false
		}
		for o := range c.out {
			m.define(i, c, o)
		}
	}
	return true
}

// outer gives memory that exists before the segment a storage of its own.
func (m *memory) outer(s int32) home {
	h, ok := m.homes[s]
	if !ok {
		m.stores = append(m.stores, storage{external: true, slot: s})
		h = home{store: len(m.stores) - 1}
		m.homes[s] = h
	}
	return h
}

// choosePlaces lets operands of c be computed inside its result.
func (m *memory) choosePlaces(c *pcall) {
	if c.call.Op.Alias == nil {
		return
	}
	for _, a := range c.call.Op.Alias(c.call) {
		if a.Kind != graph.Place || a.Out >= len(c.out) {
			continue
		}
		s := c.in[a.In]
		if _, taken := m.placed[s]; taken || c.call.In[a.In].Const != nil || !m.owned(s) {
			continue
		}
		m.placed[s] = target{c.out[a.Out], a.Off * 4}
	}
}

// owned reports whether a call of this segment computes s into memory of its own, in any case.
func (m *memory) owned(s int32) bool {
	for _, c := range m.p.calls {
		for o, out := range c.out {
			if out != s {
				continue
			}
			return !m.views(c, o)
		}
	}
	return false
}

func (m *memory) views(c *pcall, o int) bool {
	if c.call.Op.Alias == nil {
		return false
	}
	for _, a := range c.call.Op.Alias(c.call) {
		if a.Kind == graph.View && a.Out == o {
			return true
		}
	}
	return false
}

// define finds memory for output o of call i.
func (m *memory) define(i int, c *pcall, o int) {
	s := c.out[o]
	size := m.size(c.call.Out[o])
	if h, ok := m.shared(i, c, o, size); ok {
		m.homes[s] = h
		m.extend(h.store, i, s)
		return
	}
	if t, ok := m.placed[s]; ok {
		if h, ok := m.inside(i, t); ok {
			m.homes[s] = home{h.store, h.off + t.off, size}
			m.extend(h.store, i, s)
			return
		}
	}
	if h, ok := m.homes[s]; ok { // an earlier operand was placed inside it
		m.extend(h.store, i, s)
		return
	}
	m.stores = append(m.stores, storage{size: roundUp(size, align), first: i, last: i})
	m.homes[s] = home{store: len(m.stores) - 1, size: size}
	m.extend(len(m.stores)-1, i, s)
}

// inside gives the storage of a result that is not computed yet but already has parts.
func (m *memory) inside(i int, t target) (home, bool) {
	if h, ok := m.homes[t.slot]; ok {
		return h, true
	}
	var size int
	for _, c := range m.p.calls[i:] {
		for o, s := range c.out {
			if s == t.slot {
				size = m.size(c.call.Out[o])
			}
		}
	}
	if up, ok := m.placed[t.slot]; ok {
		h, ok := m.inside(i, up)
		h = home{h.store, h.off + up.off, size}
		if ok {
			m.homes[t.slot] = h
		}
		return h, ok
	}
	if size == 0 {
		return home{}, false
	}
	m.stores = append(m.stores, storage{size: roundUp(size, align), first: i, last: i})
	h := home{store: len(m.stores) - 1, size: size}
	m.homes[t.slot] = h
	m.extend(h.store, i, t.slot)
	return h, true
}

// extend keeps a storage alive for a slot that lies in it.
func (m *memory) extend(store, i int, s int32) {
	st := &m.stores[store]
	st.last = max(st.last, i, m.last[s])
	st.first = min(st.first, i)
}

// shared looks for an operand whose memory output o can have.
func (m *memory) shared(i int, c *pcall, o, size int) (home, bool) {
	if c.call.Op.Alias == nil {
		return home{}, false
	}
	for _, a := range c.call.Op.Alias(c.call) {
		if a.Out != o || c.call.In[a.In].Const != nil {
			continue
		}
		in := m.homes[c.in[a.In]]
		switch a.Kind {
		case graph.View:
			if c.call.In[a.In].Form != c.call.Out[o].Form || m.copied[c] {
				continue
			}
			return home{in.store, in.off + a.Off*elemSize(c.call.Out[o]), size}, true
		case graph.InPlace:
			if m.canOverwrite(i, c, a, in, size) {
				return home{in.store, in.off, size}, true
			}
		}
	}
	return home{}, false
}

func (m *memory) canOverwrite(i int, c *pcall, a graph.Alias, in home, size int) bool {
	if m.stores[in.store].external {
		return m.canUpdateState(i, c, a, in)
	}
	if in.size != size || m.stores[in.store].last > i || m.readsElsewhere(c, a, in) {
		return false
	}
	_, placed := m.placed[c.out[a.Out]]
	return !placed
}

// readsElsewhere reports whether c reads the memory that a lets it overwrite
// through another operand too, in another way or after the result has been begun.
func (m *memory) readsElsewhere(c *pcall, a graph.Alias, in home) bool {
	for j, s := range c.in {
		if h, ok := m.homes[s]; j != a.In && ok && h.store == in.store && (a.Alone || j >= c.call.Own || h != in) {
			return true
		}
	}
	return false
}

// canUpdateState allows the overwriting of a state's memory by a value that is
// then written to this very state, if nobody reads the old version any more.
func (m *memory) canUpdateState(i int, c *pcall, a graph.Alias, in home) bool {
	st := m.stores[in.store]
	if in.off != 0 || st.last > i || c.call.Out[a.Out].Form != c.call.In[a.In].Form || m.readsElsewhere(c, a, in) {
		return false
	}
	for _, d := range m.p.calls[i+1:] {
		for k, o := range d.call.In {
			if o.Type.Kind != graph.KindState || d.in[k] != st.slot {
				continue
			}
			return d.call.Op.Name == "write_state" && d.in[len(d.in)-1] == c.out[a.Out]
		}
	}
	return false
}

// checkWrite makes sure that no old version of a state is read after call i writes it.
func (m *memory) checkWrite(i int, c *pcall) bool {
	if c.call.Op.Name != "write_state" {
		return true
	}
	state := m.outer(c.in[0]).store
	for _, r := range m.p.calls[:i] {
		for o, s := range r.out {
			if h := m.homes[s]; h.store != state || m.homes[c.in[len(c.in)-1]] == h && m.last[s] <= i {
				continue
			}
			if r.call.Op.Name == "read_state" && !m.copied[r] && m.lastOf(r.out[o], state) > i {
				m.copied[r] = true
				return false
			}
		}
	}
	return true
}

// lastOf is the last call that reads slot s or a view of its storage.
func (m *memory) lastOf(s int32, store int) int {
	last := m.last[s]
	for t, h := range m.homes {
		if h.store == store && !m.stores[store].external {
			last = max(last, m.last[t])
		}
	}
	if m.stores[store].external {
		last = max(last, m.stores[store].last)
	}
	return last
}

func (m *memory) size(o graph.Operand) int {
	if !o.Type.Static() {
		return 0
	}
	return graph.Bytes(o.Type, o.Form, m.p.prog.level.Lanes())
}

func elemSize(o graph.Operand) int {
	if o.Form == graph.Half {
		return 2
	}
	return graph.StoreSize(o.Type.DType)
}

// emit tells the run where every slot lies, and leaves out steps that have nothing to do.
func (m *memory) emit() {
	seg := m.p.seg
	n := 0
	for k, c := range m.p.calls {
		for o, s := range c.out {
			h := m.homes[s]
			pl := place{slot: s, base: -1, size: h.size, shape: c.call.Out[o].Type.Shape}
			if st := m.stores[h.store]; st.external {
				pl.base, pl.off = st.slot, h.off
				seg.linked = append(seg.linked, pl)
			} else {
				pl.off = st.off + h.off
				seg.fixed = append(seg.fixed, pl)
			}
		}
		if seg.steps[k].NoOp && m.coincides(c) {
			continue
		}
		seg.steps[n] = seg.steps[k]
		n++
	}
	seg.steps = seg.steps[:n]
}

// coincides reports whether every output of a view lies in its operand.
func (m *memory) coincides(c *pcall) bool {
	seen := 0
	for _, a := range c.call.Op.Alias(c.call) {
		if a.Kind != graph.View || c.call.In[a.In].Const != nil {
			continue
		}
		in, out := m.homes[c.in[a.In]], m.homes[c.out[a.Out]]
		if in.store != out.store || in.off+a.Off*elemSize(c.call.Out[a.Out]) != out.off {
			return false
		}
		seen++
	}
	return seen == len(c.out)
}
