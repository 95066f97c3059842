package engine

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/tensor"
)

// state is the memory of a program's states, kept as declared: float16 where the file says so.
type state struct {
	prog   *program
	slots  []graph.Slot // one for each of fn.States
	busy   atomic.Bool  // a run is using it
	broken atomic.Bool  // a run failed after its first write
	closed atomic.Bool
}

// NewState implements backend.Program: all zeros.
func (p *program) NewState() (backend.State, error) {
	err := p.enter()
	var s *state
	if err == nil {
		s, err = p.newState()
		p.active.Done()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.prefix, err)
	}
	return s, nil
}

func (p *program) newState() (*state, error) {
	if len(p.fn.States) == 0 {
		return nil, fmt.Errorf("the model has no states: %w", fault.State)
	}
	s := &state{prog: p}
	total := int64(0)
	for _, v := range p.fn.States {
		n := graph.Bytes(v.Type, stateForm(v.Type), 1)
		if total += int64(n); p.config.MemoryLimit > 0 && total > p.config.MemoryLimit {
			return nil, fmt.Errorf("states need %d bytes: %w: %d are allowed", total, fault.Limit, p.config.MemoryLimit)
		}
		s.slots = append(s.slots, graph.Slot{Data: graph.Aligned(n), Shape: v.Type.Shape})
	}
	return s, nil
}

// claim takes the state of a job for its predictions.
func (p *program) claim(given backend.State) (*state, error) {
	s, ok := given.(*state)
	if !ok || s.prog != p {
		return nil, fmt.Errorf("%w: the state belongs to another model", fault.State)
	}
	return s, s.take(true)
}

// take makes the state the caller's alone until busy is false again; whole refuses a
// broken one. Only who has it can tell: before that, a prediction may still break it.
func (s *state) take(whole bool) error {
	if !s.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: a prediction is using it", fault.State)
	}
	var err error
	switch {
	case s.closed.Load():
		err = fmt.Errorf("%w: it is closed", fault.State)
	case whole && s.broken.Load():
		err = fmt.Errorf("%w: a prediction failed half-way through it; load it again", fault.State)
	default:
		return nil
	}
	s.busy.Store(false)
	return err
}

// Save implements backend.State.
func (s *state) Save(to tensor.Features) (err error) {
	prefix := s.prog.prefix
	defer guard(&err, prefix+": ")()
	if err := s.take(true); err != nil {
		return fmt.Errorf("%s: %w", prefix, err)
	}
	defer s.busy.Store(false)
	for i, v := range s.prog.fn.States {
		d := v.Type.DType
		if stateForm(v.Type) == graph.Plain {
			d = graph.StoreDType(d)
		}
		t, err := tensor.FromBytes(d, v.Type.Shape, append([]byte(nil), s.slots[i].Data...))
		if err != nil {
			return err
		}
		to[v.Name] = t
	}
	return nil
}

// Load implements backend.State. A state that broke is whole again once every one of its parts is loaded.
func (s *state) Load(from tensor.Features) (err error) {
	prefix := s.prog.prefix
	if err := s.take(false); err != nil {
		return fmt.Errorf("%s: %w", prefix, err)
	}
	defer s.busy.Store(false)
	loaded, name := 0, ""
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = unreadable(prefix+": state", name, p)
		}
	}()
	parts := make([]*tensor.Tensor, len(s.slots))
	names := make([]string, len(s.slots))
	for i, v := range s.prog.fn.States {
		name, names[i] = v.Name, v.Name
		given, ok := from[name]
		if !ok {
			continue
		}
		loaded++
		if parts[i], err = partOf(given, v.Type); err != nil {
			return fmt.Errorf("%s: state %s: %w", prefix, fault.Quote(name), err)
		}
	}
	if loaded < len(from) {
		return fmt.Errorf("%s: %w", prefix, stranger("state", from, names))
	}
	was := s.broken.Swap(true)
	for i, t := range parts {
		if t != nil {
			copy(s.slots[i].Data, t.Bytes())
		}
	}
	s.broken.Store(was && loaded < len(s.slots))
	return nil
}

// partOf is what is given for a state of type t, in the form that it is kept in.
func partOf(given any, t graph.Type) (*tensor.Tensor, error) {
	x, ok := given.(*tensor.Tensor)
	switch {
	case !ok:
		return nil, fmt.Errorf("%T: %w: want %v", given, fault.Schema, t)
	case x == nil:
		return nil, fmt.Errorf("a nil tensor: %w: want %v", fault.Schema, t)
	case !tensor.EqualShape(x.Shape(), t.Shape):
		return nil, fmt.Errorf("%v: %w: want %v", x, fault.Schema, t)
	}
	d := graph.StoreDType(t.DType)
	if stateForm(t) == graph.Half {
		d = t.DType
	}
	x, err := x.Convert(d)
	return x, fault.As(fault.Schema, err)
}

// Close implements backend.State.
func (s *state) Close() error {
	s.closed.Store(true)
	return nil
}
