package coreml

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"coreml/breaker"
	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/engine"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
)

// Model is an open model. It is safe for concurrent use.
type Model struct {
	file    *mlmodel.Model
	program backend.Program
	desc    *Description
	timeout time.Duration
	guard   *guard
}

var backends = []backend.Backend{engine.CPU{}, engine.Reference{}}

// Open opens an .mlpackage folder or an .mlmodel file. Weights are mapped, not
// read, so the files have to stay as they are until Close.
func Open(path string, o ...Options) (*Model, error) {
	m, err := mlmodel.Open(path)
	if err != nil {
		return nil, err
	}
	return load(context.Background(), m, filepath.Base(path), o)
}

// OpenFS opens a model in a file system, such as one that is embedded. It is read to
// memory once. What a file system says of the size of a file bounds what is read of
// it; files of zip archives may unpack to a hundred times what they take there and 1 MiB.
func OpenFS(fsys fs.FS, name string, o ...Options) (*Model, error) {
	m, err := mlmodel.OpenFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return load(context.Background(), m, name, o)
}

// Describe reads what a model says about itself, without loading it; models that
// cannot be run here are described too.
func Describe(path string) (*Description, error) { return mlmodel.Describe(path) }

func load(ctx context.Context, file *mlmodel.Model, name string, o []Options) (*Model, error) {
	var opt Options
	if len(o) > 0 {
		opt = o[0]
	}
	if err := opt.check(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	g, err := newGuard(file, name, opt)
	if err == nil {
		var p backend.Program
		if p, err = g.load(ctx); err == nil {
			m := &Model{file: file, program: p, timeout: opt.Timeout, guard: g}
			if m.desc, err = mlmodel.Opened(file.Description, opt.Function); err == nil {
				err = g.show(m)
			}
			if err == nil {
				return m, nil
			}
			err = errors.Join(err, p.Close())
		}
		err = errors.Join(err, g.close())
	}
	return nil, errors.Join(err, file.Close())
}

// check refuses numbers that mean nothing.
func (o *Options) check() error {
	name, value := "", any(nil)
	switch {
	case o.Threads < 0:
		name, value = "Threads", o.Threads
	case o.MemoryLimit < 0:
		name, value = "MemoryLimit", o.MemoryLimit
	case o.Timeout < 0:
		name, value = "Timeout", o.Timeout
	default:
		return nil
	}
	return fmt.Errorf("coreml: Options.%s is %v: %w: want 0 or more", name, value, fault.Invalid)
}

func choose(name string) (backend.Backend, error) {
	if name == "" {
		name = "cpu"
	}
	for _, b := range backends {
		if b.Name() == name {
			return b, b.Usable()
		}
	}
	return nil, fmt.Errorf("coreml: backend %q: %w: want cpu or reference", name, fault.Invalid)
}

// Description says what the model takes and gives: the function that it was opened for.
func (m *Model) Description() *Description { return m.desc }

// Predict answers one request. It stops between two operations when ctx ends.
// Float16 results come in float32, as they were computed: see PredictInto.
func (m *Model) Predict(ctx context.Context, in Features) (Features, error) {
	out := Features{}
	return out, m.PredictInto(ctx, in, out, nil)
}

// PredictInto is Predict with the caller's outputs: a tensor that out holds by the
// name of an output is filled, in its own dtype; other results are put there. A
// float16 tensor gets results rounded to float16. A name that is no output's, a
// tensor of another shape than the result's, or one for a result that is none, is
// ErrSchema, and nothing is run if that can be known before.
//
// A stateful model reads and updates state; nil is a new one, forgotten afterwards.
// When it fails, out is not to be used; the state is, unless the run was cut off
// after it had begun to change it. Then the next use says ErrState.
func (m *Model) PredictInto(ctx context.Context, in, out Features, state *State) error {
	_, err := m.PredictWith(ctx, Request{In: in, Out: out, State: state})
	return err
}

// Request is one prediction to make.
type Request struct {
	In    Features
	Out   Features // as in PredictInto; nil: a new map
	State *State   // as in PredictInto
}

// Result is an answer, and who gave it.
type Result struct {
	Out Features
	Dispatch
}

// PredictWith answers one request, and says who answered it.
func (m *Model) PredictWith(ctx context.Context, r Request) (Result, error) {
	if r.Out == nil {
		r.Out = Features{}
	}
	j := backend.Job{In: []Features{r.In}, Out: []Features{r.Out}}
	if r.State != nil {
		j.State = r.State.s
	}
	if err := m.run(ctx, &j); err != nil {
		return Result{}, err
	}
	return Result{r.Out, j.Dispatch}, nil
}

// run gives a job its deadline.
func (m *Model) run(ctx context.Context, j *backend.Job) error {
	if m.timeout > 0 {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, m.timeout)
			defer cancel()
		}
	}
	return wrap(m.program.Run(ctx, j))
}

// PredictBatch answers several requests, in order.
func (m *Model) PredictBatch(ctx context.Context, in []Features) ([]Features, error) {
	j := backend.Job{In: in, Out: make([]Features, len(in))}
	if err := m.run(ctx, &j); err != nil {
		return nil, err
	}
	return j.Out, nil
}

// wrap makes a passed deadline an ErrTimeout.
func wrap(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("coreml: %w: %w", ErrTimeout, err)
	}
	return err
}

// Memory is what a model takes beside its mapped file, in bytes, as far as it has been planned.
type Memory = guards.Memory

// Memory states the figures that Options.MemoryLimit is compared with.
func (m *Model) Memory() Memory { return m.program.Capabilities().Memory }

// Close waits for predictions in flight, then lets go of the file.
func (m *Model) Close() error {
	m.guard.hide(m)
	err := m.program.Close()
	if errors.Is(err, ErrTimeout) {
		return errors.Join(err, m.guard.close()) // what goes on may still read the file
	}
	return errors.Join(err, m.guard.close(), m.file.Close())
}

// Telemetry is what has been counted and timed since the model was opened.
func (m *Model) Telemetry() Telemetry { return m.guard.snapshot() }

// Trip opens the breaker by hand: the fallback answers until a probe after the
// back-off finds the backend well. ErrUnsupported: the model has no fallback.
func (m *Model) Trip(reason string) error { return m.guard.byHand((*breaker.Breaker).Trip, reason) }

// Hold opens the breaker until Reset.
func (m *Model) Hold(reason string) error { return m.guard.byHand((*breaker.Breaker).Hold, reason) }

// Reset closes the breaker by hand.
func (m *Model) Reset(reason string) error { return m.guard.byHand((*breaker.Breaker).Reset, reason) }

// Breakers says how the breaker of the model stands; nothing for a model without a fallback.
func (m *Model) Breakers() []BreakerStatus { return m.guard.breakers() }

// BreakerStatus describes a breaker at one moment.
type BreakerStatus = breaker.Status

// State is what a stateful model remembers between predictions. One prediction
// at a time may use it.
type State struct{ s backend.State }

// NewState makes a state of zeros; ErrState if the model has none, ErrClosed if it was closed.
func (m *Model) NewState() (*State, error) {
	s, err := m.program.NewState()
	if err != nil {
		return nil, err
	}
	return &State{s}, nil
}

// Save returns copies of all states, by name.
func (s *State) Save() (Features, error) {
	f := Features{}
	return f, s.s.Save(f)
}

// Load sets the states that f names, or none of them.
func (s *State) Load(f Features) error { return s.s.Load(f) }

// Close frees the state.
func (s *State) Close() error { return s.s.Close() }
