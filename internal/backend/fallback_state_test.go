package backend_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/tensor"
)

// steps runs the chain once for each of fail, with a state, and wants running
// sums of 1, 2, 3 … whoever answers. A run for which fail says so fails on the
// first program after it has spoilt its state.
func steps(t *testing.T, o backend.FallbackOptions, fail []bool) (*pair, error) {
	t.Helper()
	p := newPair(o, nil)
	t.Cleanup(func() { p.Close() })
	st, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	var spoil bool
	p.first.meddle = func(context.Context) error {
		if spoil {
			return fault.Killed
		}
		return nil
	}
	total := float32(0)
	for i, f := range fail {
		spoil = f
		v := float32(i + 1)
		total += v
		j := &backend.Job{In: x(v), Out: make([]tensor.Features, 1), State: st}
		if err := p.Run(context.Background(), j); err != nil {
			return p, err
		}
		if y(j) != total || j.Dispatch.Fallback != f {
			t.Errorf("run %d: %v by %s, want %v", i, y(j), j.Dispatch.Backend, total)
		}
		saved := tensor.Features{}
		if err := st.Save(saved); err != nil {
			return p, err
		}
		if got := tensor.Data[float32](saved["n"].(*tensor.Tensor))[0]; got != total {
			t.Errorf("after run %d the state is %v, want %v", i, got, total)
		}
	}
	return p, nil
}

func TestFallbackMovesStates(t *testing.T) {
	there := []bool{false, false, true, true, false, true, false, false, false, false, true}
	for _, every := range []int{0, 1, 3} {
		if _, err := steps(t, backend.FallbackOptions{Checkpoint: every}, there); err != nil {
			t.Errorf("checkpoint %d: %v", every, err)
		}
	}
}

func TestFallbackSaysThatAStateCannotMove(t *testing.T) {
	_, err := steps(t, backend.FallbackOptions{Checkpoint: -1}, []bool{false, true})
	if !errors.Is(err, fault.State) || !strings.Contains(err.Error(), "no checkpoint") {
		t.Errorf("%v", err)
	}
}

func TestFallbackMovesAStateThatItsProgramStillHolds(t *testing.T) {
	p := newPair(backend.FallbackOptions{Checkpoint: -1}, nil)
	defer p.Close()
	st, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i, want := range []float32{1, 3, 6, 10} {
		if i == 2 {
			p.breaker.Hold("by hand")
		}
		j := &backend.Job{In: x(float32(i + 1)), Out: make([]tensor.Features, 1), State: st}
		if err := p.Run(context.Background(), j); err != nil {
			t.Fatal(err)
		}
		if y(j) != want || j.Dispatch.Fallback != (i >= 2) {
			t.Errorf("run %d: %v by %s, want %v", i, y(j), j.Dispatch.Backend, want)
		}
	}
}

func TestFallbackStateIsGuarded(t *testing.T) {
	p, q := newPair(backend.FallbackOptions{Checkpoint: -1}, nil), newPair(backend.FallbackOptions{}, nil)
	defer p.Close()
	defer q.Close()
	st, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	job := func() *backend.Job { return &backend.Job{In: x(1), Out: make([]tensor.Features, 1), State: st} }
	if err := q.Run(context.Background(), job()); !errors.Is(err, fault.State) {
		t.Errorf("in another chain: %v", err)
	}
	// A state that was lost comes back when it is loaded whole, and not by half.
	p.first.meddle = func(context.Context) error { return fault.Killed }
	p.second.meddle = p.first.meddle
	if err := p.Run(context.Background(), job()); err == nil {
		t.Fatal("nothing failed")
	}
	p.first.meddle, p.second.meddle = nil, nil
	if err := st.Load(tensor.Features{"n": tensor.Scalar[float32](5)}); err != nil {
		t.Fatal(err)
	}
	j := job()
	if err := p.Run(context.Background(), j); err != nil || y(j) != 6 {
		t.Errorf("%v", err)
	}
	p.first.meddle = func(ctx context.Context) error {
		if err := st.Save(tensor.Features{}); !errors.Is(err, fault.State) {
			t.Errorf("while it runs: %v", err)
		}
		if err := p.Run(ctx, job()); !errors.Is(err, fault.State) {
			t.Errorf("while it runs: %v", err)
		}
		return st.Close() // takes effect afterwards
	}
	if err := p.Run(context.Background(), job()); err != nil {
		t.Error(err)
	}
	if err := p.Run(context.Background(), job()); !errors.Is(err, fault.State) {
		t.Errorf("after closing: %v", err)
	}
}

// TestFallbackOutlivesAFailedCheckpoint: a program that is lost between a run and the
// checkpoint after it takes nothing with it, since the run can be repeated.
func TestFallbackOutlivesAFailedCheckpoint(t *testing.T) {
	for _, c := range []struct {
		inARow int // checkpoints that fail
		ok     bool
	}{{1, true}, {5, true}, {200, false}} {
		p := newPair(backend.FallbackOptions{}, nil)
		fragile := &forgetful{Program: p.first}
		chain := backend.Fallback(backend.FallbackOptions{}, backend.Link{Program: fragile, Prompt: true}, backend.Link{Program: p.second, Prompt: true})
		st, err := chain.NewState()
		if err != nil {
			t.Fatal(err)
		}
		total := float32(0)
		step := func() error {
			j := &backend.Job{In: x(1), Out: make([]tensor.Features, 1), State: st}
			err := chain.Run(context.Background(), j)
			if err == nil {
				if total++; y(j) != total {
					t.Errorf("%d: %v by %s, want %v", c.inARow, y(j), j.Dispatch.Backend, total)
				}
			}
			return err
		}
		if err := step(); err != nil {
			t.Fatal(err)
		}
		fragile.broken = fault.Killed
		for range c.inARow {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		p.first.meddle = func(context.Context) error { return fault.Killed }
		for range 3 {
			if err := step(); (err == nil) != c.ok || err != nil && !errors.Is(err, fault.State) {
				t.Errorf("%d: %v", c.inARow, err)
			}
		}
		st.Close()
		chain.Close()
		p.Close()
	}
}

// forgetful is a program whose states cannot be saved for a while.
type forgetful struct {
	backend.Program
	broken error
}

func (p *forgetful) Run(ctx context.Context, j *backend.Job) error {
	j.State.(*sum).broken = p.broken
	return p.Program.Run(ctx, j)
}
