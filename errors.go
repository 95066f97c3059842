package coreml

import "coreml/internal/fault"

// The kinds of failure, for errors.Is.
var (
	ErrInvalid     = fault.Invalid     // a malformed file or argument
	ErrUnsupported = fault.Unsupported // a model that nothing here can run; the text names the operator or type
	ErrLimit       = fault.Limit       // more memory or time than Options allow
	ErrSchema      = fault.Schema      // inputs, outputs or states that do not fit the model
	ErrTimeout     = fault.Timeout     // no answer before the deadline
	ErrCompile     = fault.Compile     // a backend could not compile the model
	ErrLoad        = fault.Load        // files that are absent, or a backend that could not load them
	ErrMemory      = fault.Memory      // memory ran out during the work
	ErrRuntime     = fault.Runtime     // a prediction that failed
	ErrState       = fault.State       // a state that is busy, closed, or left half-written
	ErrDrift       = fault.Drift       // answers that part from the reference
	ErrKilled      = fault.Killed      // an isolated process that died
	ErrCache       = fault.Cache       // a cached artefact that fails its check
	ErrClosed      = fault.Closed      // a model that was closed
)
