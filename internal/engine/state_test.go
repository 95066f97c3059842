package engine

import (
	"errors"
	"testing"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/kernel/cpu"
)

// TestBrokenStateIsNeverTaken: a state breaks between a caller's look at it and its taking it.
func TestBrokenStateIsNeverTaken(t *testing.T) {
	p := newProgram(counter(build(t)), cpu.Best(), backend.Config{})
	defer p.Close()
	s := stateFor(p)
	for range 2000 {
		if err := s.take(false); err != nil {
			t.Fatal(err)
		}
		s.broken.Store(false)
		go func() { // the prediction that has it
			s.broken.Store(true)
			s.busy.Store(false)
		}()
		for {
			_, err := p.claim(s)
			if err == nil {
				t.Fatal("a broken state was accepted")
			}
			if s.broken.Load() && !s.busy.Load() {
				break
			}
		}
	}
	if _, err := p.claim(s); !errors.Is(err, fault.State) {
		t.Errorf("%v, want %v", err, fault.State)
	}
	for what, f := range map[string]func() error{"Save": func() error { return s.Save(nil) }, "claim": func() error { _, err := p.claim(s); return err }} {
		if err := f(); !errors.Is(err, fault.State) {
			t.Errorf("%s of a broken state: %v, want %v", what, err, fault.State)
		}
		if s.busy.Load() {
			t.Fatalf("%s keeps the state that it refused", what)
		}
	}
}
