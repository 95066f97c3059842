package engine

import (
	"coreml/internal/graph"
)

// tryKeep adapts where slots lie to the sizes that the calls touched have now, and
// touches those that follow; false: a storage is too small, or too large by half,
// or what shared memory cannot any more. Then it has been left half-way, and has to be assigned anew.
func (m *memory) tryKeep(p *planner, touched []bool) bool {
	for i, c := range p.calls {
		if !touched[i] {
			continue
		}
		for o, s := range c.outLocal {
			now, ok := m.again(p, c, o)
			if !ok {
				return false
			}
			if now == m.homes[s] {
				continue
			}
			m.homes[s] = now
			for _, h := range p.holders.of(c.call.Out[o].Value) {
				touched[h] = touched[h] || int(h) > i
			}
		}
	}
	return true
}

// again is where output o of a call lies if all is as before but sizes and offsets.
func (m *memory) again(p *planner, c *pcall, o int) (home, bool) {
	now := m.homes[c.outLocal[o]]
	size := p.size(c.call.Out[o])
	switch now.how {
	case owning:
		room := m.stores[now.store].size
		now.size = size
		return now, m.stores[now.store].external || size <= room && (2*size >= room || room <= smallRoom)
	case placed:
		return now, size == now.size
	}
	for _, a := range c.alias {
		if a.Out != o || c.inLocal[a.In] != now.from {
			continue
		}
		in := m.homes[now.from]
		switch {
		case a.Kind == graph.View && now.how == viewing:
			return viewOf(in, now.from, a.Off*elemSize(c.call.Out[o]), size), true
		case a.Kind == graph.InPlace && now.how == inPlace:
			ok := !m.readsElsewhere(c, a, in)
			if m.stores[in.store].external {
				ok = ok && in.off == 0
			} else {
				ok = ok && in.size == size
			}
			now.off, now.size = in.off, size
			return now, ok
		}
	}
	return now, false
}

// smallRoom is what a storage may take however little of it is in use.
const smallRoom = 4096

// sameSharing reports that a call's results can lie where those of an earlier one with other sizes did.
func sameSharing(was, now []graph.Alias) bool {
	if len(was) != len(now) {
		return false
	}
	for i, a := range was {
		if a.Kind == graph.View {
			a.Off = now[i].Off
		}
		if a != now[i] {
			return false
		}
	}
	return true
}
