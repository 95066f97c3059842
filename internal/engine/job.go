package engine

import (
	"context"
	"fmt"
	"slices"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/tensor"
)

// executor computes a program's function for the predictions of a job, one after the other.
type executor interface {
	// set gives an input or a state its memory.
	set(v *graph.Value, t graph.Type, s graph.Slot)
	compute() error
	// result is an output of what was computed last, valid until the next.
	result(o *output) (graph.Type, graph.Slot, error)
	// fit checks the caller's tensors for the results by what is known of these before they are computed.
	fit(out tensor.Features) error
	// wrote reports whether a state has been written since compute began.
	wrote() bool
	end()
}

// Run implements backend.Program.
func (p *program) Run(ctx context.Context, j *backend.Job) error {
	if err := p.answer(ctx, j); err != nil {
		return fmt.Errorf("%s: %w", p.prefix, err)
	}
	j.Dispatch = p.dispatch
	return nil
}

func (p *program) answer(ctx context.Context, j *backend.Job) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.active.Done()
	var given *state
	if j.State != nil {
		var err error
		if given, err = p.claim(j.State); err != nil {
			return err
		}
		defer given.busy.Store(false)
	}
	x := p.executor(ctx)
	defer x.end()
	for i := range j.In {
		if err := p.one(x, j.In[i], &j.Out[i], given); err != nil {
			if len(j.In) > 1 {
				err = fmt.Errorf("batch element %d: %w", i, err)
			}
			return err
		}
	}
	return nil
}

// one makes one prediction. A stateful model that is given no state gets a new one.
func (p *program) one(x executor, in tensor.Features, out *tensor.Features, st *state) (err error) {
	defer guard(&err, "")()
	if err := p.feats.read(in, x.set); err != nil {
		return err
	}
	if st == nil && len(p.fn.States) > 0 {
		if st, err = p.newState(); err != nil {
			return err
		}
	}
	for k, v := range p.fn.States {
		x.set(v, v.Type, st.slots[k])
	}
	if err := x.fit(*out); err != nil {
		return err
	}
	if err := computeWith(x, st); err != nil {
		return err
	}
	if *out == nil {
		*out = tensor.Features{}
	}
	for k := range p.feats.out {
		if err := handOut(x, &p.feats.out[k], *out); err != nil {
			return fmt.Errorf("output %s: %w", fault.Quote(p.feats.out[k].name), err)
		}
	}
	return nil
}

// computeWith runs the function. A state that was written before it failed, by an error or
// a panic, is broken: it is neither what it was nor what it was to be.
func computeWith(x executor, st *state) error {
	done := false
	defer func() {
		if !done && st != nil && x.wrote() {
			st.broken.Store(true)
		}
	}()
	err := x.compute()
	done = err == nil
	return err
}

// handOut gives one result to the caller.
func handOut(x executor, o *output, to tensor.Features) error {
	t, s, err := x.result(o)
	if err == nil {
		err = readable(t) // the file may have declared something else
	}
	if err != nil {
		return err
	}
	if l, ok := s.Obj.([]string); ok {
		s.Obj = slices.Clone(l) // the model's own
	}
	return o.write(t, s, to)
}

// enter holds Close back until p.active is done, or refuses what comes after it.
func (p *program) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("the model is %w", fault.Closed)
	}
	p.active.Add(1)
	return nil
}
