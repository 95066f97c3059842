package backend

// metered is a program that says its footprint itself.
type metered interface{ Footprint() int64 }

// Footprint is the memory that a program takes now, in bytes, as far as it is known
// without asking another process; 0: unknown. Of one in a child it is the child's
// resident memory, where the system tells.
func Footprint(p Program) int64 {
	if m, ok := p.(metered); ok {
		return m.Footprint()
	}
	return p.Capabilities().Memory.total()
}

func (p *observed) Footprint() int64 { return Footprint(p.Program) }
func (p *wrapped) Footprint() int64  { return Footprint(p.Program) }
func (s *shadow) Footprint() int64   { return Footprint(s.Program) }
func (borrowing) Footprint() int64   { return 0 }

func (w *warming) Footprint() int64 {
	if p := w.ready.Load(); p != nil {
		return Footprint(*p)
	}
	return 0
}

// Footprint is that of the child of now, as it last said itself if the system does not tell.
func (p *isolated) Footprint() int64 {
	p.mu.Lock()
	g, last := p.now, p.caps.Memory.total()
	p.mu.Unlock()
	select {
	case <-g.ready:
	default:
		return 0
	}
	if g.gone() {
		return 0
	}
	if n := g.child.Resident(); n > 0 {
		return n
	}
	return last
}
