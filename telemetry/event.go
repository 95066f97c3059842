// Package telemetry watches backends: what they were asked, who answered, how
// long it took, what failed and why.
//
// Whoever runs a backend tells an Observer one Event at a time. Metrics sums
// them up for Snapshot; Log writes them as JSON lines; Tee gives them to
// several. Exporters of other systems implement Observer too.
package telemetry

import "time"

// Key names what is measured. Of an Answered event it says who answered.
type Key struct {
	Model   string `json:"model"`
	Backend string `json:"backend"`
	Unit    string `json:"unit"`
}

// Type says what an event tells.
type Type uint8

const (
	Compiled Type = iota // a backend compiled a model apart from loading it, or failed to; those of this version do not
	Loaded               // a backend loaded a model, or failed to
	Started              // a backend was asked; exactly one Ran follows
	Ran                  // it answered or failed, or the caller went away
	Late                 // a call that was given up came to its end, after its Ran
	Answered             // a request left the chain of backends: one for each request
	Measured             // Memory was measured
	Moved                // a breaker made a transition
	Compared             // an answer was recomputed; Err is the drift, if any. Reason "dropped": it was not, for want of room or of a reference
	Swapped              // traffic moved from one backend to another
	Recorded             // an answer that drifted was kept as a case, or could not be; Detail is its folder
	types
)

var typeNames = [types]string{"compile", "load", "start", "inference", "late", "answer", "memory", "breaker", "shadow", "warm", "evidence"}

func (t Type) String() string { return typeNames[t] }

// Event is one thing that happened. Fields that do not apply are left zero.
type Event struct {
	Type Type
	Key
	Time     time.Time     // when it ended
	Duration time.Duration // what it took, without Queue
	Queue    time.Duration // what it waited before
	Err      error         // nil: it went well
	Memory   int64         // bytes that the backend takes now; 0: not measured

	// Of Answered: who was asked first ("ane", or "coreml/ane"), the unit that
	// the plan named, and whether somebody else answered.
	Requested string
	Planned   string
	Fallback  bool
	// Reason is one word for why: of a fallback "breaker", "warming" or the
	// Kind of a failure; of Moved the rule. Numbers and names belong in Detail.
	Reason string

	From, To string // of Moved and Swapped
	Detail   any    // evidence, as it should stand in the log's JSON; of rare events only
}

// Observer is told of events. Observe is called on the path of a prediction, by
// many goroutines at once: it must not wait.
type Observer interface{ Observe(Event) }

// Func makes an Observer of a function.
type Func func(Event)

// Observe calls f.
func (f Func) Observe(e Event) { f(e) }

// Tee tells each of several observers, in order.
type Tee []Observer

// Observe tells them all.
func (t Tee) Observe(e Event) {
	for _, o := range t {
		o.Observe(e)
	}
}
