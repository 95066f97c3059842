package engine

import (
	"fmt"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/lower"
	"coreml/internal/mlmodel"
	"coreml/schema"
)

// maker is how a backend of this package makes a program of a function, and readies it.
type maker struct {
	program func(*graph.Function) (*program, error)
	ready   func(*program) error
}

// load makes a program of a model.
func load(m *mlmodel.Model, c backend.Config, mk maker) (_ backend.Program, err error) {
	defer guard(&err, "engine: ")()
	fn, err := lower.Graph(m, c.Function)
	if err != nil {
		return nil, err
	}
	d, err := mlmodel.FunctionNamed(m.Description, c.Function)
	if err != nil {
		return nil, err
	}
	p, err := open(fn, d, mk)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return p, nil
}

// open makes a program of a function that a file describes. One that is not handed out is closed.
func open(fn *graph.Function, d *schema.Function, mk maker) (*program, error) {
	f, err := newFeatures(fn, d)
	if err != nil {
		return nil, err
	}
	for _, o := range f.out {
		if err := readable(o.value.Type); err != nil {
			return nil, fmt.Errorf("output %s: %w", fault.Quote(o.name), err)
		}
	}
	p, err := mk.program(fn)
	if err != nil {
		return nil, err
	}
	done := false
	defer func() {
		if !done {
			p.Close()
		}
	}()
	p.feats = f
	if err := mk.ready(p); err != nil {
		return nil, err
	}
	done = true
	return p, nil
}

// readable refuses results that callers can do nothing with.
func readable(t graph.Type) error {
	if t.Kind == graph.KindList || t.Kind == graph.KindState {
		return fmt.Errorf("%v: %w: want a tensor, a string or a dictionary", t, fault.Unsupported)
	}
	return nil
}
