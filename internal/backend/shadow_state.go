package backend

import (
	"fmt"
	"sync/atomic"

	"coreml/internal/fault"
	"coreml/tensor"
)

// shadowState is a state of a program under a shadow. Its user calls it once at a time.
type shadowState struct {
	State
	s *shadow
	// back is what the state was before an answer that was not given. It is set when
	// the state is used next, so that a refusal waits for nobody.
	back atomic.Pointer[tensor.Features]
}

// NewState implements Program.
func (s *shadow) NewState() (State, error) {
	st, err := s.Program.NewState()
	if err != nil {
		return nil, err
	}
	return &shadowState{State: st, s: s}, nil
}

// state is the job's, ready to run with; nil if it has none.
func (s *shadow) state(j *Job) (*shadowState, error) {
	if j.State == nil {
		return nil, nil
	}
	st, ok := j.State.(*shadowState)
	if !ok || st.s != s {
		return nil, fmt.Errorf("backend: %w: the state belongs to another model", fault.State)
	}
	return st, st.settle()
}

func (st *shadowState) settle() error {
	f := st.back.Load()
	if f == nil {
		return nil
	}
	if err := st.State.Load(*f); err != nil {
		return err
	}
	st.back.CompareAndSwap(f, nil)
	return nil
}

// Save implements State.
func (st *shadowState) Save(to tensor.Features) error {
	if err := st.settle(); err != nil {
		return err
	}
	return st.State.Save(to)
}

// Load implements State.
func (st *shadowState) Load(from tensor.Features) error {
	if err := st.settle(); err != nil {
		return err
	}
	return st.State.Load(from)
}
