package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"time"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/tensor"
)

// caller makes one request after the other, with a state where the scene has them.
type caller struct {
	*scene
	state backend.State
	step  int // of the sequence, that the state is at
	// out holds the caller's own tensors, which every answer is written to, and last
	// what was there when it was given.
	out, last tensor.Features
}

func (c *caller) close() {
	if c.state != nil {
		if err := c.state.Close(); err != nil {
			c.Errorf("closing a state: %v", err)
		}
	}
	c.state = nil
}

// ready makes the state, if there is none or the sequence is over.
func (c *caller) ready() {
	if !c.r.stateful || c.state != nil && c.step < steps {
		return
	}
	c.close()
	st, err := c.program.NewState()
	if err != nil {
		c.Errorf("a new state: %v", err)
		return
	}
	c.state, c.step = st, 0
}

// ask makes one request, and sorts what becomes of it. The fallback is well, so that
// nothing but time is a reason to refuse one; that leaves the sequence where it was.
func (c *caller) ask() {
	c.ready()
	if !equal(c.out, c.last) {
		c.Error("an answer was written to after it had been given")
	}
	if c.out == nil {
		c.out = tensor.Features{}
	}
	for name, v := range c.out {
		if _, ok := v.(*tensor.Tensor); !ok {
			delete(c.out, name)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	c.sent.Add(1)
	j := &backend.Job{In: []tensor.Features{c.in}, Out: []tensor.Features{c.out}, State: c.state}
	start := time.Now()
	err := c.program.Run(ctx, j)
	took := time.Since(start)
	if took > deadline+patience() {
		c.late.Add(1)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = append(c.took, took)
	switch {
	case err != nil:
		c.refused.Add(1)
		c.out, c.last = nil, nil
		if !errors.Is(err, fault.Timeout) || errors.Is(err, fault.State) {
			c.Errorf("refused: %v", err)
		}
		return
	case j.Dispatch.Fallback:
		c.fallback.Add(1)
	default:
		c.primary.Add(1)
	}
	if c.last = c.want[c.step]; !equal(c.out, c.last) {
		c.wrong.Add(1)
		c.wrongAt = time.Now()
		c.out, c.last = nil, nil
	}
	if c.r.stateful {
		c.step++
	}
}

// equal wants the same bits.
func equal(got, want tensor.Features) bool {
	if len(got) != len(want) {
		return false
	}
	for name, w := range want {
		a, ok1 := got[name].(*tensor.Tensor)
		b, ok2 := w.(*tensor.Tensor)
		switch {
		case ok1 != ok2 || !ok1 && !reflect.DeepEqual(got[name], w):
			return false
		case ok1 && (!tensor.EqualShape(a.Shape(), b.Shape()) || !bytes.Equal(a.Bytes(), b.Bytes())):
			return false
		}
	}
	return true
}
