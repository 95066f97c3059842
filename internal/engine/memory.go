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
	store int // -1: not decided
	off   int
	size  int
	how   placing
	from  int32 // the operand's slot, for viewing and inPlace
}

// placing says why a slot lies where it does.
type placing uint8

const (
	owning  placing = iota // in a storage of its own
	viewing                // inside an operand
	inPlace                // over an operand
	placed                 // inside the result that it becomes a part of
)

// target is where a slot is computed inside another one.
type target struct {
	slot int32 // -1: nowhere
	off  int
}

// memory decides which slots of a segment share memory. It numbers them from 0
// on, so that its tables are short; they are used again by the next plan.
type memory struct {
	slots   []int32 // of the run
	maker   []int32 // the call that computes a slot; -1: none here
	output  []int32 // which of its outputs
	last    []int   // the last call that reads a slot
	homes   []home
	placed  []target
	stores  []storage
	noted   []bool                 // the constant of a slot is in the segment
	ofLater map[*graph.Value]int32 // numbers of values that are read after the segment
	copied  map[*pcall]bool        // read_state calls that have to copy
	slack   bool                   // storages have room to grow
}

// number gives the planner's slots their numbers; forms and Post are final.
func (m *memory) number(p *planner) {
	local := map[int32]int32{}
	m.ofLater = map[*graph.Value]int32{}
	of := func(s int32) int32 {
		n, ok := local[s]
		if !ok {
			n = int32(len(m.slots))
			local[s] = n
			m.slots = append(m.slots, s)
			m.maker, m.output, m.last = append(m.maker, -1), append(m.output, 0), append(m.last, -1)
		}
		return n
	}
	for i, c := range p.calls {
		for k, s := range c.in {
			n := of(s)
			c.inLocal = append(c.inLocal, n)
			if c.call.In[k].Const == nil {
				m.last[n] = i
			}
		}
		for _, v := range c.reads {
			n := of(slotOf(v, graph.Plain))
			c.readLocal = append(c.readLocal, n)
			m.last[n] = i
		}
		for o, s := range c.out {
			n := of(s)
			c.outLocal = append(c.outLocal, n)
			m.maker[n], m.output[n] = int32(i), int32(o)
		}
	}
	for v := range p.later {
		n := of(slotOf(v, graph.Plain))
		m.last[n] = len(p.calls)
		m.ofLater[v] = n
	}
	m.homes, m.placed, m.noted = make([]home, len(m.slots)), make([]target, len(m.slots)), make([]bool, len(m.slots))
}

// assign finds memory for every slot and returns the size of the frame. From the second time
// on storages get an eighth more, so that what grows a little finds room.
func (m *memory) assign(p *planner) int {
	m.slack = len(m.stores) > 0 && p.prog.config.MemoryLimit == 0
	m.copied = nil
	for !m.walk(p) {
	}
	return layoutArena(m.stores)
}

// walk goes through the calls once; false: a state's old version is still read
// after it is overwritten, that read has been made a copy, and all starts again.
func (m *memory) walk(p *planner) bool {
	m.stores = m.stores[:0]
	for i := range m.homes {
		m.homes[i].store, m.placed[i].slot = -1, -1
	}
	for i := len(p.calls) - 1; i >= 0; i-- {
		m.choosePlaces(p, p.calls[i])
	}
	for i, c := range p.calls {
		for _, s := range c.inLocal {
			m.outer(s)
		}
		if !m.checkWrite(p, i, c) {
			return false
		}
		for o := range c.outLocal {
			m.define(p, i, c, o)
		}
	}
	return m.checkLater(p)
}

// outer gives memory that exists before the segment a storage of its own.
func (m *memory) outer(s int32) {
	if m.homes[s].store < 0 {
		m.stores = append(m.stores, storage{external: true, slot: m.slots[s]})
		m.homes[s] = home{store: len(m.stores) - 1}
	}
}

// choosePlaces lets operands of c be computed inside its result.
func (m *memory) choosePlaces(p *planner, c *pcall) {
	for _, a := range c.alias {
		if a.Kind != graph.Place || a.Out >= len(c.out) {
			continue
		}
		s := c.inLocal[a.In]
		if m.placed[s].slot < 0 && c.call.In[a.In].Const == nil && m.owned(p, s) {
			m.placed[s] = target{c.outLocal[a.Out], a.Off * elemSize(c.call.Out[a.Out])}
		}
	}
}

// owned reports whether a call of this segment computes s into memory of its own, in any case.
func (m *memory) owned(p *planner, s int32) bool {
	if m.maker[s] < 0 {
		return false
	}
	for _, a := range p.calls[m.maker[s]].alias {
		if a.Kind == graph.View && a.Out == int(m.output[s]) {
			return false
		}
	}
	return true
}

// define finds memory for output o of call i.
func (m *memory) define(p *planner, i int, c *pcall, o int) {
	s := c.outLocal[o]
	size := p.size(c.call.Out[o])
	if h, ok := m.shared(p, i, c, o, size); ok {
		m.homes[s] = h
		m.extend(i, s)
		return
	}
	if t := m.placed[s]; t.slot >= 0 {
		if h, ok := m.inside(p, i, t.slot); ok {
			m.homes[s] = home{store: h.store, off: h.off + t.off, size: size, how: placed}
			m.extend(i, s)
			return
		}
	}
	if m.homes[s].store < 0 { // otherwise an earlier operand was placed inside it
		m.own(i, s, size)
	}
	m.extend(i, s)
}

// own gives a slot a storage of its own.
func (m *memory) own(i int, s int32, size int) {
	room := roundUp(size, align)
	if m.slack {
		room = roundUp(size+size/8, align)
	}
	m.stores = append(m.stores, storage{size: room, first: i, last: i})
	m.homes[s] = home{store: len(m.stores) - 1, size: size}
}

// inside gives the storage of a result that is not computed yet but already has parts.
func (m *memory) inside(p *planner, i int, s int32) (home, bool) {
	if m.homes[s].store >= 0 {
		return m.homes[s], true
	}
	size := p.size(p.calls[m.maker[s]].call.Out[m.output[s]])
	if t := m.placed[s]; t.slot >= 0 {
		h, ok := m.inside(p, i, t.slot)
		if ok {
			h = home{store: h.store, off: h.off + t.off, size: size, how: placed}
			m.homes[s] = h
		}
		return h, ok
	}
	if size == 0 {
		return home{}, false
	}
	m.own(i, s, size)
	m.extend(i, s)
	return m.homes[s], true
}

// extend keeps a storage alive for a slot that lies in it.
func (m *memory) extend(i int, s int32) {
	st := &m.stores[m.homes[s].store]
	st.last = max(st.last, i, m.last[s])
	st.first = min(st.first, i)
}

// shared looks for an operand whose memory output o can have.
func (m *memory) shared(p *planner, i int, c *pcall, o, size int) (home, bool) {
	for _, a := range c.alias {
		if a.Out != o || c.call.In[a.In].Const != nil {
			continue
		}
		from := c.inLocal[a.In]
		in := m.homes[from]
		switch a.Kind {
		case graph.View:
			if c.call.In[a.In].Form == c.call.Out[o].Form && !m.copied[c] {
				return viewOf(in, from, a.Off*elemSize(c.call.Out[o]), size), true
			}
		case graph.InPlace:
			if m.canOverwrite(p, i, c, a, in, size) {
				return home{store: in.store, off: in.off, size: size, how: inPlace, from: from}, true
			}
		}
	}
	return home{}, false
}

// viewOf is a piece of a slot. The offset of a piece without bytes may lie past the end.
func viewOf(in home, from int32, off, size int) home {
	if size == 0 {
		off = 0
	}
	return home{store: in.store, off: in.off + off, size: size, how: viewing, from: from}
}

func (m *memory) canOverwrite(p *planner, i int, c *pcall, a graph.Alias, in home, size int) bool {
	if m.stores[in.store].external {
		return m.canUpdateState(p, i, c, a, in)
	}
	if in.size != size || m.stores[in.store].last > i || m.readsElsewhere(c, a, in) {
		return false
	}
	return m.placed[c.outLocal[a.Out]].slot < 0
}

// readsElsewhere reports whether c reads the memory that a lets it overwrite
// through another operand too, in another way or after the result has been begun.
func (m *memory) readsElsewhere(c *pcall, a graph.Alias, in home) bool {
	for j, s := range c.inLocal {
		h := m.homes[s]
		if j != a.In && h.store == in.store && (a.Alone || j >= c.call.Own || h.off != in.off || h.size != in.size) {
			return true
		}
	}
	return false
}

// size is the memory that an operand takes; unknown sizes take none.
func (p *planner) size(o graph.Operand) int {
	if !o.Type.Static() {
		return 0
	}
	return graph.Bytes(o.Type, o.Form, p.prog.level.Lanes())
}

func elemSize(o graph.Operand) int {
	if o.Form == graph.Half {
		return 2
	}
	return graph.StoreSize(o.Type.DType)
}

// place tells the run where output o of a call lies.
func (m *memory) place(c *pcall, o int) place {
	s := c.outLocal[o]
	h := m.homes[s]
	st := &m.stores[h.store]
	pl := place{slot: m.slots[s], base: -1, off: st.off + h.off, size: h.size, shape: c.call.Out[o].Type.Shape}
	if st.external {
		pl.base, pl.off = st.slot, h.off
	}
	return pl
}

// idle reports that a call has nothing to do.
func (m *memory) idle(c *pcall) bool { return c.step.NoOp && m.coincides(c) }

func (m *memory) step(c *pcall) step {
	return step{Step: c.step, call: c.call, in: c.in, out: c.out, writes: m.writesState(c)}
}

// writesState reports whether a call changes a state's memory, by itself or by updating it in place.
func (m *memory) writesState(c *pcall) bool {
	for _, a := range c.alias {
		if a.Kind != graph.InPlace {
			continue
		}
		out := m.homes[c.outLocal[a.Out]]
		if m.stores[out.store].external && out.store == m.homes[c.inLocal[a.In]].store {
			return true
		}
	}
	return c.call.Op.Name == "write_state"
}

// coincides reports whether every output of a view lies in its operand.
func (m *memory) coincides(c *pcall) bool {
	seen := 0
	for _, a := range c.alias {
		if a.Kind != graph.View || c.call.In[a.In].Const != nil {
			continue
		}
		in, out := m.homes[c.inLocal[a.In]], m.homes[c.outLocal[a.Out]]
		if in.store != out.store || in.off+a.Off*elemSize(c.call.Out[a.Out]) != out.off {
			return false
		}
		seen++
	}
	return seen == len(c.out)
}
