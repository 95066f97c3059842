package backend

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"coreml/internal/fault"
	"coreml/internal/isolate"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// isolatedState is a state in a child. It is lost with the child, unless nothing was
// done with it yet or a checkpoint is kept.
type isolatedState struct {
	p      *isolated
	busy   atomic.Bool // held by who uses the fields below
	closed atomic.Bool

	home       *generation // that holds it; nil: none does, and it can be made again
	id         uint64      // there
	touched    bool        // it may be other than zeros
	checkpoint tensor.Features
}

// NewState implements Program.
func (p *isolated) NewState() (State, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.runs.Done()
	ctx, cancel := context.WithTimeout(context.Background(), p.b.o.ControlTimeout)
	defer cancel()
	g, _, err := p.current(ctx)
	if err != nil {
		return nil, err
	}
	s := &isolatedState{p: p}
	if _, err := s.in(ctx, g); err != nil {
		p.replace(g)
		return nil, explainChild("new state", fault.Runtime, err)
	}
	return s, nil
}

func (s *isolatedState) claim() error {
	if s.closed.Load() {
		return fmt.Errorf("backend: isolated state: %w: it is closed", fault.State)
	}
	if !s.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("backend: isolated state: %w: another call is using it", fault.State)
	}
	return nil
}

func (s *isolatedState) release() {
	s.busy.Store(false)
	if s.closed.Load() {
		s.dispose()
	}
}

// dispose frees the child's copy of a closed state, when nobody is using it.
func (s *isolatedState) dispose() {
	if s.busy.CompareAndSwap(false, true) { // for ever
		s.leave()
	}
}

// in is the state's number in the child of g, where it is made again if that is possible.
func (s *isolatedState) in(ctx context.Context, g *generation) (uint64, error) {
	if s.home == g {
		return s.id, nil
	}
	if s.home != nil && !s.recoverable() {
		how := error(fault.Killed)
		if s.home.gone() {
			how = s.home.child.Death()
		}
		return 0, fmt.Errorf("backend: isolated state: %w: it was lost with its process: %v", fault.State, how)
	}
	id, err := s.make(ctx, g.child)
	if err != nil {
		return 0, err
	}
	s.home, s.id = g, id
	return id, nil
}

// recoverable reports whether this process knows what the state holds: zeros, or what the last good call left.
func (s *isolatedState) recoverable() bool { return !s.touched || s.p.b.o.Checkpoint }

// make makes the state in a child, from the checkpoint if there is one.
func (s *isolatedState) make(ctx context.Context, c *isolate.Child) (uint64, error) {
	k, err := c.NewCall(opNewState, isolate.Size(s.checkpoint))
	if err != nil {
		return 0, err
	}
	k.Byte(flagByte(s.checkpoint != nil))
	if err := k.Features(s.checkpoint, nil); err != nil {
		k.Drop()
		return 0, err
	}
	r, err := k.Send(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Release()
	d := r.Decoder()
	id := d.Uint()
	if err := d.Err(); err != nil || id == 0 {
		return 0, c.Distrust(fmt.Errorf("a state without a number: %v", err))
	}
	return id, nil
}

// ran is told how a run with the state ended.
func (s *isolatedState) ran(err error) {
	s.touched = true
	if err == nil || errors.Is(err, fault.Schema) || errors.Is(err, fault.Invalid) {
		return
	}
	if s.p.b.o.Checkpoint {
		s.leave() // what the child has may be half-written
	}
}

// leave gives up the child's copy.
func (s *isolatedState) leave() {
	g, id := s.home, s.id
	s.home = nil
	if g == nil || g.gone() || s.p.enter() != nil {
		return
	}
	go func() { // a child that is busy with it closes it when it can
		defer s.p.runs.Done()
		_ = s.ask(g, opCloseState, id)
	}()
}

func (s *isolatedState) ask(g *generation, op byte, id uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.p.b.o.ControlTimeout)
	defer cancel()
	k, err := g.child.NewCall(op, 0)
	if err != nil {
		return err
	}
	k.Uint(id)
	r, err := k.Send(ctx)
	if err == nil {
		r.Release()
	}
	return err
}

// Save implements State.
func (s *isolatedState) Save(to tensor.Features) error {
	return s.exchange("save state", opSaveState, nil, to)
}

// Load implements State.
func (s *isolatedState) Load(from tensor.Features) error {
	if !s.p.b.o.Checkpoint {
		return s.exchange("load state", opLoadState, from, nil)
	}
	return s.exchange("load state", opLoadState, from, tensor.Features{})
}

// exchange gives features to the state, or takes them from it. With a checkpoint to keep, it does both.
func (s *isolatedState) exchange(doing string, op byte, from, to tensor.Features) (err error) {
	if err := s.p.enter(); err != nil {
		return err
	}
	defer s.p.runs.Done()
	if err := s.claim(); err != nil {
		return err
	}
	defer s.release()
	ctx, cancel := context.WithTimeout(context.Background(), s.p.b.o.ControlTimeout)
	defer cancel()
	g, _, err := s.p.current(ctx)
	if err != nil {
		return err
	}
	if err := s.exchangeIn(ctx, g, op, from, to); err != nil {
		s.p.replace(g)
		return explainChild(doing, fault.Runtime, err)
	}
	return nil
}

func (s *isolatedState) exchangeIn(ctx context.Context, g *generation, op byte, from, to tensor.Features) error {
	if op == opLoadState && s.home != nil && s.home != g && s.covers(from) {
		s.home, s.touched, s.checkpoint = nil, false, nil // nothing that was lost is needed
	}
	id, err := s.in(ctx, g)
	if err != nil {
		return err
	}
	k, err := g.child.NewCall(op, isolate.Size(from))
	if err != nil {
		return err
	}
	k.Uint(id)
	k.Byte(flagByte(to != nil))
	if err := k.Features(from, nil); err != nil {
		k.Drop()
		return err
	}
	if op == opLoadState {
		s.touched = true
	}
	r, err := k.Send(ctx)
	if err != nil {
		return err
	}
	defer r.Release()
	if to == nil {
		return nil
	}
	d := r.Decoder()
	_ = d.String()
	d.Features(to)
	if err := d.Err(); err != nil {
		return g.child.Distrust(err)
	}
	if op == opLoadState {
		s.checkpoint = to
	}
	return nil
}

// covers reports whether f names every state of the program.
func (s *isolatedState) covers(f tensor.Features) bool {
	d, err := mlmodel.FunctionNamed(s.p.model.Description, s.p.config.Function)
	if err != nil || len(d.States) == 0 {
		return false
	}
	for i := range d.States {
		if _, ok := f[d.States[i].Name]; !ok {
			return false
		}
	}
	return true
}

// Close implements State.
func (s *isolatedState) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.dispose()
	return nil
}
