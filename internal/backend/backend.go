// Package backend is the seam between the public API and whatever runs a model.
// Behaviour (telemetry, fallback, isolation) is added by wrapping these two interfaces.
package backend

import (
	"context"
	"time"

	"coreml/guards"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// Backend is a way to run models on this machine.
type Backend interface {
	Name() string
	Usable() error // nil, or why it cannot be used on this machine
	Load(ctx context.Context, m *mlmodel.Model, c Config) (Program, error)
}

// Config is plain data, so that another process can load the same program.
type Config struct {
	Function    string // "": the default one
	Threads     int    // 0: one for each physical core
	MemoryLimit int64  // bytes of weights and of one run beside the file; 0: no limit
	Preload     bool   // pack all weights when loading
	Level       string // the CPU level to run at, for tests and comparison; "": the best
}

// Program is a loaded function of a model. It is safe for concurrent use.
type Program interface {
	Run(ctx context.Context, j *Job) error
	NewState() (State, error)
	Capabilities() Capabilities
	Close() error // waits for runs in flight
}

// Job is one prediction, or a batch of them. After Run returns, a program never touches it again.
type Job struct {
	In  []tensor.Features
	Out []tensor.Features // one for each of In; given tensors are filled, missing ones allocated
	// State is used and updated by each of the batch in turn; nil: each gets a new one if the model has states.
	State State
	// Hold asks a Shadow on the way to compare the answers before Run returns.
	Hold     bool
	Dispatch guards.Dispatch
	// Queued is the part of Run's time that passed before anybody worked on the job: the
	// wait for a child process that comes up. Programs add to it.
	Queued time.Duration
}

// State is the memory that a stateful model keeps from one prediction to the next.
type State interface {
	Save(tensor.Features) error // copies every state into the given map
	Load(tensor.Features) error // sets the states named in the map
	Close() error
}

// Capabilities describe a loaded program.
type Capabilities struct {
	Unit   string // the device class and level: "cpu avx512"
	Memory guards.Memory
	Ops    map[string]int // operators by where they will run; planned, never guessed
}
