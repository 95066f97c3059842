// Package fault has the kinds of failure that the public API tells apart.
// Every layer wraps one of them with %w; the root package exports them.
package fault

import "errors"

var (
	Invalid     = errors.New("invalid")         // a file or an input that is malformed: the caller's to mend
	Unsupported = errors.New("unsupported")     // well-formed, but nothing here can run it
	Limit       = errors.New("limit exceeded")  // it would take more than the options allow
	Schema      = errors.New("schema mismatch") // features do not match the model's description
	Timeout     = errors.New("timeout")         // not answered before the deadline
	Compile     = errors.New("compile failed")  // a backend could not compile the model
	Load        = errors.New("load failed")     // files are absent or a backend could not load the model
	Memory      = errors.New("memory pressure") // memory ran out during the work
	Runtime     = errors.New("runtime error")   // a prediction failed
	State       = errors.New("state unusable")  // a state is busy, closed, or was left half-written
	Drift       = errors.New("numeric drift")   // answers part from the reference
	Killed      = errors.New("process killed")  // the isolated process died
	Cache       = errors.New("cache corrupt")   // a cached artefact fails its check
	Closed      = errors.New("closed")          // the model was closed
)

// Kinds lists them all.
var Kinds = []error{Invalid, Unsupported, Limit, Schema, Timeout, Compile, Load, Memory, Runtime, State, Drift, Killed, Cache, Closed}

// As gives err the kind k unless it has a kind already.
func As(k, err error) error {
	if err == nil {
		return nil
	}
	for _, have := range Kinds {
		if errors.Is(err, have) {
			return err
		}
	}
	return &kinded{k, err}
}

type kinded struct{ kind, err error }

func (e *kinded) Error() string   { return e.err.Error() }
func (e *kinded) Unwrap() []error { return []error{e.kind, e.err} }
