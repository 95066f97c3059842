package backend

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"coreml/internal/fault"
	"coreml/tensor"
)

// chainState is a state that can move along a chain. The program that ran last
// holds the newest; the others are brought up to date when they are asked.
type chainState struct {
	f      *fallback
	busy   atomic.Bool // held by who uses the fields below
	closed atomic.Bool

	held []State // by program; nil: it has none
	at   int     // whose is the newest; -1: nobody holds it
	// What the state holds, where this is known without asking a program: good,
	// and what the runs since made of it. A map in good never changes.
	known bool
	good  tensor.Features     // nil: zeros
	since [][]tensor.Features // inputs
}

// NewState implements Program. Programs are asked for theirs when they need one,
// but the last of the chain has to have states.
func (f *fallback) NewState() (State, error) {
	if err := f.enter(); err != nil {
		return nil, err
	}
	defer f.runs.Done()
	s := &chainState{f: f, held: make([]State, len(f.chain)), at: -1, known: true}
	last := len(f.chain) - 1
	st, err := f.chain[last].Program.NewState()
	if err != nil {
		return nil, err
	}
	s.held[last], s.at = st, last
	return s, nil
}

func (s *chainState) claim() error {
	if s.closed.Load() {
		return fmt.Errorf("backend: %w: it is closed", fault.State)
	}
	if !s.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("backend: %w: another prediction is using it", fault.State)
	}
	return nil
}

func (s *chainState) release() {
	s.busy.Store(false)
	if s.closed.Load() {
		s.dispose()
	}
}

// dispose closes what the programs hold, when nobody is using it.
func (s *chainState) dispose() error {
	if !s.busy.CompareAndSwap(false, true) { // for ever
		return nil
	}
	var all []error
	for i := range s.held {
		all = append(all, s.drop(i))
	}
	return errors.Join(all...)
}

// drop gives up what program i holds.
func (s *chainState) drop(i int) error {
	st := s.held[i]
	s.held[i] = nil
	if s.at == i {
		s.at = -1
	}
	if st == nil {
		return nil
	}
	return st.Close()
}

func (s *chainState) checkpointed() bool { return s.known && len(s.since) == 0 }

// bring makes the state of program i the newest. Hold is for runs that are repeated.
func (s *chainState) bring(ctx context.Context, i int, hold bool) (State, error) {
	if s.at == i {
		return s.held[i], nil
	}
	if !s.checkpointed() {
		if err := s.save(); err != nil && !s.known {
			return nil, err
		}
	}
	s.drop(i)
	st, err := restored(s.f.chain[i].Program, s.good)
	if err != nil {
		return nil, err
	}
	for _, in := range s.since {
		j := &Job{In: in, Out: make([]tensor.Features, len(in)), State: st, Hold: hold}
		if err := safely(ctx, s.f.chain[i].Program, j); err != nil {
			st.Close()
			return nil, fmt.Errorf("repeating the %d runs since the checkpoint: %w", len(s.since), err)
		}
	}
	s.held[i] = st
	return st, nil
}

// restored is a new state that holds f; nil: zeros.
func restored(p Program, f tensor.Features) (State, error) {
	st, err := p.NewState()
	if err != nil || f == nil {
		return st, err
	}
	if err := st.Load(f); err != nil {
		st.Close()
		return nil, err
	}
	return st, nil
}

// save makes a checkpoint of the newest.
func (s *chainState) save() error {
	if s.at < 0 {
		return fmt.Errorf("backend: %w: it was lost with the program that held it, and no checkpoint was kept", fault.State)
	}
	f := tensor.Features{}
	if err := s.held[s.at].Save(f); err != nil {
		return fmt.Errorf("backend: %w: the program that held it cannot give it any more, and no checkpoint was kept: %v", fault.State, err)
	}
	s.known, s.good, s.since = true, f, nil
	return nil
}

// ran is told how a run on program i ended. What a failed run leaves is given up.
func (s *chainState) ran(i int, err error, left bool, in []tensor.Features) {
	switch {
	case left: // the call closes it when it ends
		s.held[i] = nil
		if s.at == i {
			s.at = -1
		}
		return
	case err != nil:
		if !errors.Is(err, fault.Schema) && !errors.Is(err, fault.Invalid) || s.at != i {
			s.drop(i)
		}
		return
	}
	s.at = i
	every := s.f.o.Checkpoint
	switch {
	case every < 0:
		s.known = false
	case len(s.since)+1 < every, s.save() != nil:
		s.repeatable(in)
	}
}

// maxRepeats is how many runs are repeated beyond those of Checkpoint, because
// checkpoints failed.
const maxRepeats = 64

// repeatable keeps what a run since the checkpoint was given.
func (s *chainState) repeatable(in []tensor.Features) {
	if len(s.since) >= max(s.f.o.Checkpoint, 0)+maxRepeats {
		s.known, s.since = false, nil
	}
	if s.known {
		s.since = append(s.since, cloneAll(in))
	}
}

// Save implements State.
func (s *chainState) Save(to tensor.Features) error {
	if err := s.claim(); err != nil {
		return err
	}
	defer s.release()
	if s.at < 0 {
		if err := s.revive(); err != nil {
			return err
		}
	}
	return s.held[s.at].Save(to)
}

// revive makes some program hold what is known of the state, the last of the chain first.
func (s *chainState) revive() error {
	var all []error
	for i := len(s.held) - 1; i >= 0; i-- {
		_, err := s.bring(context.Background(), i, false)
		if err == nil {
			s.at = i
			return nil
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// Load implements State. A state that was lost is whole again once every one of its parts is loaded.
func (s *chainState) Load(from tensor.Features) error {
	if err := s.claim(); err != nil {
		return err
	}
	defer s.release()
	if s.at < 0 {
		if err := s.revive(); err != nil {
			if err = s.replace(from); err != nil {
				return err
			}
		}
	}
	if err := s.held[s.at].Load(from); err != nil {
		return err
	}
	s.known, s.since = false, nil
	if s.f.o.Checkpoint > 0 {
		return s.save()
	}
	return nil
}

// replace begins anew with a state that from describes whole.
func (s *chainState) replace(from tensor.Features) error {
	last := len(s.held) - 1
	st, err := restored(s.f.chain[last].Program, nil)
	if err != nil {
		return err
	}
	have := tensor.Features{}
	err = st.Save(have)
	for name := range have {
		if _, ok := from[name]; !ok && err == nil {
			err = fmt.Errorf("backend: %w: it was lost, and %q is not given", fault.State, name)
		}
	}
	if err != nil {
		st.Close()
		return err
	}
	s.held[last], s.at = st, last
	return nil
}

// Close implements State.
func (s *chainState) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.dispose()
}
