package engine

import "coreml/internal/graph"

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
		if v.Type.Kind == graph.KindState && !m.copyReads(p, i, slotOf(v, stateForm(v.Type))) {
			return false
		}
	}
	if c.call.Op.Name != "write_state" {
		return true
	}
	if m.homes[c.inLocal[len(c.inLocal)-1]].store == m.homes[c.inLocal[0]].store {
		return true // updated in place, which canUpdateState allowed
	}
	return m.copyReads(p, i, c.in[0])
}

// checkLater does the same for what nodes after the segment write.
func (m *memory) checkLater(p *planner) bool {
	if len(p.prog.fn.States) == 0 {
		return true
	}
	rest := &graph.Node{Blocks: []*graph.Block{{Nodes: p.block.Nodes[p.next:]}}}
	for _, v := range capturedBy(rest) {
		if v.Type.Kind == graph.KindState && !m.copyReads(p, len(p.calls)-1, slotOf(v, stateForm(v.Type))) {
			return false
		}
	}
	return true
}

// copyReads reports whether nothing that is read after call i lies in the state's memory. If something does, it has
// the first read_state behind it copy from now on, and memory has to be assigned anew.
func (m *memory) copyReads(p *planner, i int, state int32) bool {
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
