package coreml

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"coreml/internal/backend"
	"coreml/internal/engine"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
)

// Options say how a model is opened. The zero value is right for most programs.
type Options struct {
	// Function is the function to run of a model that has several; "" is its default.
	Function string
	// Threads is how many threads one prediction may use; 0 means one for each
	// physical core, and never more than GOMAXPROCS.
	Threads int
	// MemoryLimit bounds the bytes that packed weights and activations take
	// beside the mapped file; more is refused with ErrLimit before it is allocated. 0: no limit.
	MemoryLimit int64
	// Preload packs all weights while opening, so that the first prediction is as fast as the rest.
	Preload bool
	// Backend chooses who runs the model: "" or "cpu" is the CPU engine,
	// "reference" the slow interpreter that specifies it.
	Backend string

	level string // the CPU level; tests compare them
}

// Model is an open model. It is safe for concurrent use.
type Model struct {
	file    *mlmodel.Model
	program backend.Program
	desc    *Description
	close   func() error
}

var backends = []backend.Backend{engine.CPU{}, engine.Reference{}}

// Open opens an .mlpackage folder or an .mlmodel file. Weights are mapped, not
// read, so the files have to stay as they are until Close.
func Open(path string, o ...Options) (*Model, error) {
	m, err := mlmodel.Open(path)
	if err != nil {
		return nil, err
	}
	return load(context.Background(), m, o)
}

// OpenFS opens a model in a file system, such as one that is embedded. It is read to memory once.
func OpenFS(fsys fs.FS, name string, o ...Options) (*Model, error) {
	m, err := mlmodel.OpenFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return load(context.Background(), m, o)
}

// Describe reads what a model says about itself, without loading it; models that
// cannot be run here are described too.
func Describe(path string) (*Description, error) { return mlmodel.Describe(path) }

func load(ctx context.Context, file *mlmodel.Model, o []Options) (*Model, error) {
	var opt Options
	if len(o) > 0 {
		opt = o[0]
	}
	b, err := choose(opt.Backend)
	if err == nil {
		var p backend.Program
		p, err = b.Load(ctx, file, backend.Config{Function: opt.Function, Threads: opt.Threads, MemoryLimit: opt.MemoryLimit, Preload: opt.Preload, Level: opt.level})
		if err == nil {
			return &Model{file: file, program: p, desc: file.Description}, nil
		}
	}
	return nil, errors.Join(err, file.Close())
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

// Description says what the model takes and gives.
func (m *Model) Description() *Description { return m.desc }

// Predict answers one request. It stops between two operations when ctx ends.
func (m *Model) Predict(ctx context.Context, in Features) (Features, error) {
	out := Features{}
	return out, m.PredictInto(ctx, in, out, nil)
}

// PredictInto is Predict with the caller's outputs: tensors that out holds are
// filled, the others added. A stateful model reads and updates state; nil is a
// new one, forgotten afterwards. When it fails, out is not to be used.
func (m *Model) PredictInto(ctx context.Context, in, out Features, state *State) error {
	j := backend.Job{In: []Features{in}, Out: []Features{out}}
	if state != nil {
		j.State = state.s
	}
	return wrap(m.program.Run(ctx, &j))
}

// PredictBatch answers several requests, in order.
func (m *Model) PredictBatch(ctx context.Context, in []Features) ([]Features, error) {
	j := backend.Job{In: in, Out: make([]Features, len(in))}
	if err := wrap(m.program.Run(ctx, &j)); err != nil {
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
type Memory = backend.Memory

// Memory states the figures that Options.MemoryLimit is compared with.
func (m *Model) Memory() Memory { return m.program.Capabilities().Memory }

// Close waits for predictions in flight, then lets go of the file.
func (m *Model) Close() error { return errors.Join(m.program.Close(), m.file.Close()) }

// State is what a stateful model remembers between predictions. One prediction
// at a time may use it.
type State struct{ s backend.State }

// NewState makes a state of zeros; ErrState if the model has none.
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

// Load sets the states that f names.
func (s *State) Load(f Features) error { return s.s.Load(f) }

// Close frees the state.
func (s *State) Close() error { return s.s.Close() }
