package backend

import "coreml/guards"

// around is a program that stands around another one, and asks it.
type around interface{ inner() Program } // nil: it is not there yet

func (p *observed) inner() Program { return p.Program }
func (p *wrapped) inner() Program  { return p.Program }
func (s *shadow) inner() Program   { return s.Program }

func (w *warming) inner() Program {
	if p := w.ready.Load(); p != nil {
		return *p
	}
	return nil
}

// innermost is the program that p and all between stand around; nil: it is not there yet.
func innermost(p Program) Program {
	for {
		a, ok := p.(around)
		if !ok {
			return p
		}
		p = a.inner()
	}
}

// metered is a program that says its footprint itself.
type metered interface{ Footprint() int64 }

// Footprint is the memory that a program takes now, in bytes, as far as it is known
// without asking another process; 0: unknown. Of one in a child it is the child's
// resident memory, where the system tells.
func Footprint(p Program) int64 {
	p = innermost(p)
	if p == nil {
		return 0
	}
	if m, ok := p.(metered); ok {
		return m.Footprint()
	}
	return total(p.Capabilities().Memory)
}

func total(m guards.Memory) int64 { return m.Weights + m.Activations }

// renewable is a program that can be begun anew, with memory of its own.
type renewable interface{ Renew(why string) }

// Renew ends the child process that a program runs in, if it has one, and begins
// another: memory that it does not give back goes with it. Runs in flight there fail.
func Renew(p Program, why string) {
	if r, ok := innermost(p).(renewable); ok {
		r.Renew(why)
	}
}

// Renew does not wait for the old child to end or for the new one to begin.
func (p *isolated) Renew(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.now
	if p.closed || old.gone() {
		return
	}
	p.renew()
	p.runs.Add(1)
	go func() {
		defer p.runs.Done()
		if <-old.ready; old.err == nil {
			old.child.End(why)
		}
	}()
}

// Footprint is that of the child of now, as it last said itself if the system does not tell.
func (p *isolated) Footprint() int64 {
	p.mu.Lock()
	g, last := p.now, total(p.caps.Memory)
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
