// Package backend is the seam between the public API and whatever runs a model.
// Behaviour (telemetry, fallback, isolation) is added by wrapping these two interfaces.
package backend

import (
	"context"
	"time"

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
	Dispatch Dispatch
	// Queued is the part of Run's time that passed before anybody worked on the job: the
	// wait for a child process that comes up. Programs add to it.
	Queued time.Duration
}

// Dispatch says who answered, and why it was not who was asked first.
type Dispatch struct {
	Backend   string `json:"backend"`
	Unit      string `json:"unit"`      // "cpu avx512"
	Requested string `json:"requested"` // the backend that was asked first, of a chain
	Fallback  bool   `json:"fallback"`  // another one than Requested answered
	Reason    string `json:"reason"`    // of a fallback: why
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
	Memory Memory
	Ops    map[string]int // operators by where they will run; planned, never guessed
}

// Memory is what a program takes beside the mapped file, in bytes.
type Memory struct {
	Weights     int64 // in the forms that kernels read, packed or still to be packed; all runs share them
	Activations int64 // the most that one run took or needs: activations, scratch memory, lists and loops
}
