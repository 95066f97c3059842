package coreml

import (
	"context"
	"time"

	"coreml/breaker"
	"coreml/guards"
	"coreml/telemetry"
)

// Options say how a model is opened. The zero value is right for most programs:
// the CPU engine, in this process, with nothing around it.
//
// The fields from Timeout on keep a model answering when its backend does not:
//
//	coreml.Options{
//		Backend:   "…",                // whoever is fast, and may hang, crash or be wrong
//		Isolate:   &coreml.Isolation{}, // in a process of its own,
//		Fallback:  &coreml.Fallback{},  // with the CPU engine to stand in,
//		Shadow:    &coreml.Shadow{},    // which also checks a share of its answers,
//		WarmStart: true,                // and answers until it has loaded.
//	}
type Options struct {
	// Function is the function to run of a model that has several; "" is its default.
	Function string
	// Threads is how many threads one prediction may use; 0 means one for each
	// physical core, and never more than GOMAXPROCS.
	Threads int
	// MemoryLimit bounds the bytes that the model's weights, in the forms that kernels
	// read, and one prediction take together beside the mapped file. A prediction takes
	// its activations, scratch memory for each thread, and what lists and loops hold.
	// What would take more fails with ErrLimit before it is allocated: already in Open, if
	// it is known there. A prediction that was possible once stays possible; a first one
	// that would need new weights is refused if they left too little for those made before.
	// Each prediction counts by itself, so that n at once may take n times as much beside the
	// weights; the memory of up to GOMAXPROCS of them is kept for the next ones. A State may
	// take as much again. Features, plans and the reading of the file do not count. 0: no limit.
	MemoryLimit int64
	// Preload packs all weights while opening, so that the first prediction is as fast as the rest.
	Preload bool
	// Backend chooses who runs the model: "" or "cpu" is the CPU engine,
	// "reference" the slow interpreter that specifies it.
	Backend string

	// Timeout is the deadline of predictions whose context has none; 0: they have none.
	Timeout time.Duration
	// Isolate runs the backend in a child process of this program: what would have
	// killed or hung the program becomes an error. nil: in this process.
	Isolate *Isolation
	// Canary tries a model in a child process before it is loaded here, once for
	// each model and system; one that kills its child is refused. Verdicts are kept in
	// the user's cache. An isolated model is not loaded here and needs none.
	Canary bool
	// Fallback answers what the backend does not. nil: its errors are the caller's.
	Fallback *Fallback
	// Breaker says when the backend is not asked any more for a while, where there is a fallback.
	Breaker Breaker
	// Shadow recomputes a share of the answers and compares. nil: none.
	Shadow *Shadow
	// WarmStart opens the model as soon as the fallback has loaded it; that answers until
	// the backend has loaded the model too and its first answers are the same. It
	// implies a Fallback.
	WarmStart bool
	// Wrap puts a function around the backend's predictions: another service, a
	// limit, or a fault to rehearse. What it returns is taken as the backend's answer.
	Wrap func(next Predictor) Predictor

	// Observer is told of every event of the model. It must not wait. nil: only
	// Model.Telemetry is.
	Observer Observer
	// EventLog is a file to append events to, as JSON lines; it is rotated at 8 MiB, and
	// the last three are kept. "": none.
	EventLog string
	// Status lets "coreml status" see the model while this process runs. So does a
	// value of COREML_STATUS in the environment other than "" and 0.
	Status bool

	level string // the CPU level; tests compare them
}

// Predictor answers one request.
type Predictor = func(ctx context.Context, in Features) (Features, error)

// Isolation says what a child process may take. The zero value has the defaults.
type Isolation = guards.Isolation

// Breaker has the thresholds of a circuit breaker. The zero value has the defaults:
// less than 95 % success of at least 10 calls, more than 3 of 100 calls over the SLA,
// more than 2 GiB, or drift. Of a child process the memory is what it has of its own,
// as Linux says; on other systems it is what the backend said when it was loaded. A child
// above the limit is replaced.
type Breaker = breaker.Options

// Fallback says who answers when the backend does not. The zero value has the defaults.
type Fallback struct {
	// To is the backend that stands in; "": cpu.
	To string
	// Reserve is the share of the time until a request's deadline that is kept for it; 0: half.
	Reserve float64
	// Attempt is the longest that the backend may take for a request; 0: a minute.
	Attempt time.Duration
	// Checkpoint is after how many predictions a State is copied, so that it outlives
	// the backend that holds it; those since are repeated by who stands in. 0: 1. Negative: never.
	Checkpoint int
}

// Shadow says which answers are recomputed, and what they may differ by. States
// are compared with the answers that change them. No probe of the breaker counts or is
// given before it has been compared, whatever the share. The zero value has the
// defaults.
type Shadow struct {
	// Share of the answers; 0: 0.01, every hundredth.
	Share float64
	// Hold makes an answer of the share wait for its comparison, within the deadline of
	// its request, and gives it only if it passes. Otherwise the fallback answers
	// or, without one, the call fails: with ErrDrift beyond the limits, ErrTimeout
	// if the comparison did not end in time, ErrRuntime if the reference failed. A State
	// is then what it was before the call. With a Share of 1 no wrong answer is given.
	Hold bool
	// By is the backend that recomputes; "": the fallback's, or without one the
	// CPU engine for all others and the reference for the CPU engine.
	By string
	// Limits for outputs by name. Others have those of their dtype: 30 dB of
	// signal to noise for float32, 25 dB for float16, 99 % equal integers, equal labels.
	Limits map[string]Limits
	// Queue is how many answers may wait; what comes when it is full is not compared. 0: 16.
	Queue int
	// Evidence is a folder for answers beyond the limits, as cases that "coreml verify"
	// checks: a copy of the model, the input, the state and what the reference says. A
	// process keeps the first 16 of a model. They are written beside the predictions;
	// one that cannot be written is an event and nothing else. "": none are kept.
	Evidence string
	// OnDrift is told of answers beyond the limits, one at a time, beside the
	// predictions. More than Breaker.MaxDrifts of them open the breaker.
	OnDrift func(Drift)
}

// Limits are what an output may differ by. A zero field is not judged.
type Limits = guards.Limits

// Difference is how two values of an output differ.
type Difference = guards.Difference

// Drift is the evidence of an answer that parts from the reference; its Err is ErrDrift.
type Drift = guards.Drift

// Dispatch says who answered a prediction, and why it was not who was asked first.
type Dispatch = guards.Dispatch

// Event is something that happened to a model: a load, a run, an answer, a
// transition of its breaker.
type Event = telemetry.Event

// Observer is told of events, by many goroutines at once.
type Observer = telemetry.Observer

// Telemetry counts and times what happened to a model. Its JSON is stable.
type Telemetry = telemetry.Snapshot
