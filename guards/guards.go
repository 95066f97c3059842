// Package guards has the options and the reports of what stands around a backend:
// isolation in a child process, the fallback, the comparison with a reference.
package guards

import (
	"time"

	"coreml/tensor"
)

// Isolation says what a child process may take. The zero value has the defaults.
type Isolation struct {
	// RunTimeout and LoadTimeout bound what has no deadline of its own. 0: no limit for
	// runs, 10 minutes for loading, which some accelerators take for their first load.
	RunTimeout  time.Duration
	LoadTimeout time.Duration
	// StartTimeout is for how long a child may take to come up; 0: 10 s.
	StartTimeout time.Duration
	// Grace is for how long a child may go on with a run after its deadline before it is
	// killed and replaced; 0: 100 ms. The run itself has returned by then.
	Grace time.Duration
	// CancelGrace is the same for a run that is cancelled before its deadline; 0: 5 s.
	CancelGrace time.Duration
	// ControlTimeout bounds calls without a context: states, capabilities, closing; 0: 10 s.
	ControlTimeout time.Duration
	// SharedLimit bounds the bytes of tensors in flight of one child; 0: 4 GiB.
	SharedLimit int64
	// MemoryLimit bounds the bytes that a child allocates itself; 0: no limit. It is hard
	// on Linux, and a hint to the garbage collector elsewhere.
	MemoryLimit int64
	// SharedDir is a folder for files to share; "": memory, or the temporary folder where
	// the system has no memory without a name.
	SharedDir string
	// Checkpoint keeps a copy of each state after every good run, so that it outlives the child.
	Checkpoint bool
}

// Dispatch says who answered a prediction, and why it was not who was asked first.
type Dispatch struct {
	Backend   string `json:"backend"`
	Unit      string `json:"unit"`      // "cpu avx512"
	Requested string `json:"requested"` // the backend that was asked first, of a chain
	Fallback  bool   `json:"fallback"`  // another one than Requested answered
	Reason    string `json:"reason"`    // of a fallback: why
}

// Limits are what an output may differ by from the reference's. A zero field is not judged.
type Limits struct {
	MaxError  float64 // the largest |got - want|, at most
	RMSE      float64 // root of the mean square of got - want, at most
	Cosine    float64 // of the angle between the two, at least
	SNR       float64 // of want to got - want in dB, at least
	TopK      int     // Agreement is of so many largest values (5)
	Agreement float64 // share of them that both have; of texts and integers the share that is equal; at least
}

// Difference is how two values of an output differ.
type Difference struct {
	Output    string  `json:"output"`
	Elements  int     `json:"elements"`
	MaxError  float64 `json:"max_error"`
	RMSE      float64 `json:"rmse"`
	Cosine    float64 `json:"cosine"`
	SNR       float64 `json:"snr_db"` // at most 300, which is that of equal values
	Agreement float64 `json:"agreement"`
	// Broken is what cannot be measured: another type or shape, a value that is
	// finite on one side only; "" mostly.
	Broken string `json:"broken,omitempty"`
}

// Drift is the evidence of an answer that parts from the reference.
type Drift struct {
	In, Got, Want tensor.Features
	Before, After tensor.Features // the state, as the reference had it; nil: none was given
	Left          tensor.Features // the state as By left it; nil: not known
	By, Reference string          // the backends
	At            time.Time       // when By answered
	Held          bool            // the answer was not given
	Differences   []Difference
	Err           error // coreml.ErrDrift, with what differs
}

// Memory is what a model takes beside its mapped file, in bytes, as far as it has been planned.
type Memory struct {
	Weights     int64 // in the forms that kernels read, packed or still to be packed; all predictions share them
	Activations int64 // the most that one prediction took or needs: activations, scratch memory, lists and loops
}
