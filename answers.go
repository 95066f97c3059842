package coreml

import (
	"time"

	"coreml/internal/backend"
)

// Dispatch says who answered a prediction, and why it was not who was asked first.
type Dispatch struct {
	Backend   string `json:"backend"`
	Unit      string `json:"unit"`      // "cpu avx512"
	Requested string `json:"requested"` // the backend that was asked first, of a chain
	Fallback  bool   `json:"fallback"`  // another one than Requested answered
	Reason    string `json:"reason"`    // of a fallback: why
}

// Drift is the evidence of an answer that parts from the reference.
type Drift struct {
	In, Got, Want Features
	Before, After Features // the state, as the reference had it; nil: none was given
	Left          Features // the state as By left it; nil: not known
	By, Reference string   // the backends
	At            time.Time
	Held          bool // the answer was not given
	Differences   []Difference
	Err           error // ErrDrift, with what differs most
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

func driftOf(d backend.Drifted) Drift {
	out := Drift{In: d.In, Got: d.Got, Want: d.Want, Before: d.Before, After: d.After, Left: d.Left,
		By: d.By, Reference: d.Reference, At: d.At, Held: d.Held, Err: d.Err}
	for _, x := range d.Differences {
		out.Differences = append(out.Differences, Difference(x))
	}
	return out
}

// backendLimits are limits as backends take them.
func backendLimits(l map[string]Limits) map[string]backend.Limits {
	out := map[string]backend.Limits{}
	for name, x := range l {
		out[name] = backend.Limits(x)
	}
	return out
}
