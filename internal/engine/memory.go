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
}

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

// assign finds memory for every slot and returns the size of the frame.
func (m *memory) assign(p *planner) int {
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
			m.homes[s] = home{h.store, h.off + t.off, size}
			m.extend(i, s)
			return
		}
	}
	if m.homes[s].store < 0 { // otherwise an earlier operand was placed inside it
		m.stores = append(m.stores, storage{size: roundUp(size, align), first: i, last: i})
		m.homes[s] = home{store: len(m.stores) - 1, size: size}
	}
	m.extend(i, s)
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
			h = home{h.store, h.off + t.off, size}
			m.homes[s] = h
		}
		return h, ok
	}
	if size == 0 {
		return home{}, false
	}
	m.stores = append(m.stores, storage{size: roundUp(size, align), first: i, last: i})
	m.homes[s] = home{store: len(m.stores) - 1, size: size}
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
		in := m.homes[c.inLocal[a.In]]
		switch a.Kind {
		case graph.View:
			if c.call.In[a.In].Form != c.call.Out[o].Form || m.copied[c] {
				continue
			}
			if size == 0 { // its offset may lie past the end
				return home{in.store, in.off, 0}, true
			}
			return home{in.store, in.off + a.Off*elemSize(c.call.Out[o]), size}, true
		case graph.InPlace:
			if m.canOverwrite(p, i, c, a, in, size) {
				return home{in.store, in.off, size}, true
			}
		}
	}
	return home{}, false
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
		if h := m.homes[s]; j != a.In && h.store == in.store && (a.Alone || j >= c.call.Own || h != in) {
			return true
		}
	}
	return false
}

// canUpdateState allows the overwriting of a state's memory by a value that is
// then written to this very state, if nobody reads the old version any more.
func (m *memory) canUpdateState(p *planner, i int, c *pcall, a graph.Alias, in home) bool {
	st := m.stores[in.store]
	if in.off != 0 || st.last > i || c.call.Out[a.Out].Form != c.call.In[a.In].Form || m.readsElsewhere(c, a, in) {
		return false
	}
	for _, d := range p.calls[i+1:] {
		if usesState(d.reads, st.slot) {
			return false
		}
		for k, o := range d.call.In {
			if o.Type.Kind == graph.KindState && d.in[k] == st.slot {
				return d.call.Op.Name == "write_state" && d.in[len(d.in)-1] == c.out[a.Out]
			}
		}
	}
	return false
}

// checkWrite makes sure that no old version of a state is read after call i
// writes it. Blocks that use a state may write it.
func (m *memory) checkWrite(p *planner, i int, c *pcall) bool {
	for _, v := range c.reads {
		if v.Type.Kind == graph.KindState && !m.release(p, i, slotOf(v, stateForm(v.Type))) {
			return false
		}
	}
	if c.call.Op.Name != "write_state" {
		return true
	}
	if m.homes[c.inLocal[len(c.inLocal)-1]].store == m.homes[c.inLocal[0]].store {
		return true // updated in place, which canUpdateState allowed
	}
	return m.release(p, i, c.in[0])
}

// checkLater does the same for what nodes after the segment write.
func (m *memory) checkLater(p *planner) bool {
	if len(p.prog.fn.States) == 0 {
		return true
	}
	rest := &graph.Node{Blocks: []*graph.Block{{Nodes: p.block.Nodes[p.next:]}}}
	for _, v := range capturedBy(rest) {
		if v.Type.Kind == graph.KindState && !m.release(p, len(p.calls)-1, slotOf(v, stateForm(v.Type))) {
			return false
		}
	}
	return true
}

// release makes reads of a state before call i copies, one after the other, until
// nothing that is read after call i lies in the state's memory; false: one was made.
func (m *memory) release(p *planner, i int, state int32) bool {
	for _, r := range p.calls[:min(i+1, len(p.calls))] {
		if r.call.Op.Name != "read_state" || m.copied[r] || r.in[0] != state {
			continue
		}
		if h := m.homes[r.outLocal[0]]; h.store < 0 || !m.stores[h.store].external || m.stores[h.store].last <= i {
			continue
		}
		if m.copied == nil {
			m.copied = map[*pcall]bool{}
		}
		m.copied[r] = true
		return false
	}
	return true
}

// usesState reports whether one of the values that nested blocks read is the state in a slot.
func usesState(reads []*graph.Value, slot int32) bool {
	for _, v := range reads {
		if v.Type.Kind == graph.KindState && slotOf(v, stateForm(v.Type)) == slot {
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

// note has the run bring a constant into memory, once.
func (m *memory) note(seg *segment, s int32, k *graph.Const) {
	if k != nil && !m.noted[s] {
		m.noted[s] = true
		seg.consts = append(seg.consts, constant{m.slots[s], k})
	}
}

// write tells the run where every slot lies, and leaves out steps that have nothing to do.
func (m *memory) write(p *planner, seg *segment) {
	seg.steps = make([]step, 0, len(p.calls))
	seg.fixed = make([]place, 0, len(m.slots))
	seg.consts = make([]constant, 0, len(m.slots)/2)
	clear(m.noted)
	for _, c := range p.calls {
		for o, s := range c.outLocal {
			h := m.homes[s]
			pl := place{slot: m.slots[s], base: -1, size: h.size, shape: c.call.Out[o].Type.Shape}
			if st := m.stores[h.store]; st.external {
				pl.base, pl.off = st.slot, h.off
				seg.linked = append(seg.linked, pl)
			} else {
				pl.off = st.off + h.off
				seg.fixed = append(seg.fixed, pl)
			}
		}
		if !c.step.NoOp || !m.coincides(c) {
			seg.steps = append(seg.steps, step{Step: c.step, call: c.call, in: c.in, out: c.out, writes: m.writesState(c)})
		}
	}
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
