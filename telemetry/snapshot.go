package telemetry

import (
	"cmp"
	"slices"
	"time"
)

// Version of the JSON of a Snapshot. Fields may be added without a new one.
const Version = 1

// Snapshot is everything at one moment. Its JSON is described by snapshot.schema.json:
// durations are in nanoseconds, rates between 0 and 1, lists sorted by their names.
// Counters are read one after the other while predictions go on.
type Snapshot struct {
	Version int       `json:"version"`
	Start   time.Time `json:"start"`
	Time    time.Time `json:"time"`
	LogLost int64     `json:"log_lost"` // events that the log had no room for or could not write
	Series  []Series  `json:"series"`
}

// Series is what is known of one model on one unit of one backend.
type Series struct {
	Key
	Compile   Work           `json:"compile"`
	Load      Work           `json:"load"`
	Inference Inferences     `json:"inference"`
	Answers   Answers        `json:"answers"`
	Memory    Memory         `json:"memory"`
	Shadow    Shadow         `json:"shadow"`
	Breaker   *BreakerStatus `json:"breaker"` // null until its first transition
}

// Work counts compiling or loading.
type Work struct {
	Succeeded   int64            `json:"succeeded"`
	Failed      int64            `json:"failed"`       // the caller's doing too
	SuccessRate *float64         `json:"success_rate"` // without failures that are the caller's doing; null: there were none
	Failures    map[string]int64 `json:"failures"`     // by Kind
	Took        Durations        `json:"took"`         // of the successful ones
}

// Inferences counts what a backend was asked.
type Inferences struct {
	Started     int64            `json:"started"`
	InFlight    int64            `json:"in_flight"`
	Succeeded   int64            `json:"succeeded"`
	Failed      int64            `json:"failed"`       // the backend's doing
	Refused     int64            `json:"refused"`      // the caller's: bad input, misuse, cancelled
	SuccessRate *float64         `json:"success_rate"` // of those not refused; null: there were none
	Late        int64            `json:"late"`
	Failures    map[string]int64 `json:"failures"` // by Kind, refused ones too
	Latency     Durations        `json:"latency"`  // of the successful ones
	Queue       Durations        `json:"queue"`    // of those that waited
}

// Answers counts the requests that left a chain of backends from here.
type Answers struct {
	Succeeded int64            `json:"succeeded"`
	Failures  map[string]int64 `json:"failures"`
	Latency   Durations        `json:"latency"` // whole, with what was tried before
	Dispatch  []Dispatch       `json:"dispatch"`
}

// Dispatch counts answers that came the same way.
type Dispatch struct {
	Requested string `json:"requested"`
	Planned   string `json:"planned"`
	Fallback  bool   `json:"fallback"`
	Reason    string `json:"reason"`
	Count     int64  `json:"count"`
}

// Memory is in bytes; 0: not measured.
type Memory struct {
	Now  int64 `json:"now_bytes"`
	Peak int64 `json:"peak_bytes"`
}

// Shadow counts answers that were recomputed.
type Shadow struct {
	Compared int64 `json:"compared"`
	Drifted  int64 `json:"drifted"`
	Dropped  int64 `json:"dropped"` // should have been, and were not
}

// BreakerStatus is where a breaker went last.
type BreakerStatus struct {
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	Trips  int64     `json:"trips"`
}

// Snapshot reads everything.
func (m *Metrics) Snapshot() Snapshot {
	s := Snapshot{Version: Version, Start: m.start, Time: time.Now(), LogLost: m.lost(), Series: []Series{}}
	for k, v := range m.series.all() {
		s.Series = append(s.Series, v.snapshot(k))
	}
	slices.SortFunc(s.Series, func(a, b Series) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Unit, b.Unit))
	})
	return s
}

func (s *series) snapshot(k Key) Series {
	out := Series{Key: k, Compile: s.compile.snapshot(), Load: s.load.snapshot(),
		Memory: Memory{s.memory.Load(), s.peak.Load()}}
	var ran, answered [kinds]int64
	i := &out.Inference
	for n := range s.shards {
		c := &s.shards[n]
		i.InFlight -= c.ended.Load() // before started, so that it is never negative
		i.Late += c.late.Load()
		out.Shadow.Compared += c.compared.Load()
		out.Shadow.Drifted += c.drifted.Load()
		out.Shadow.Dropped += c.dropped.Load()
		for k := range kinds {
			ran[k] += c.ran[k].Load()
			answered[k] += c.answered[k].Load()
		}
	}
	for n := range s.shards {
		i.Started += s.shards[n].started.Load()
	}
	i.InFlight += i.Started
	i.Succeeded = ran[None]
	i.Failures, i.Failed, i.Refused = failures(ran)
	i.SuccessRate = rate(i.Succeeded, i.Failed)
	i.Latency, i.Queue = s.latency.h.Load().snapshot(), s.queue.h.Load().snapshot()
	out.Answers = s.answers(answered)
	if b := s.breaker.Load(); b != nil {
		moved := *b
		moved.Trips = s.trips.Load()
		out.Breaker = &moved
	}
	return out
}

func (s *series) answers(by [kinds]int64) Answers {
	a := Answers{Succeeded: by[None], Latency: s.answer.h.Load().snapshot(), Dispatch: []Dispatch{}}
	a.Failures, _, _ = failures(by)
	for r, n := range s.routes.all() {
		a.Dispatch = append(a.Dispatch, Dispatch{r.requested, r.planned, r.fallback, r.reason, n.sum()})
	}
	slices.SortFunc(a.Dispatch, func(a, b Dispatch) int {
		return cmp.Or(cmp.Compare(a.Requested, b.Requested), cmp.Compare(a.Planned, b.Planned), cmp.Compare(a.Reason, b.Reason), cmpBool(a.Fallback, b.Fallback))
	})
	return a
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (w *work) snapshot() Work {
	var by [kinds]int64
	for k := range kinds {
		by[k] = w.failures[k].Load()
	}
	out := Work{Took: w.took.h.Load().snapshot()}
	out.Succeeded = int64(out.Took.Count)
	var refused int64
	out.Failures, out.Failed, refused = failures(by)
	out.SuccessRate = rate(out.Succeeded, out.Failed)
	out.Failed += refused
	return out
}

// failures sorts counts by kind into a map, the backend's own and the caller's.
func failures(by [kinds]int64) (m map[string]int64, failed, refused int64) {
	m = map[string]int64{}
	for k, n := range by {
		if n == 0 || Kind(k) == None {
			continue
		}
		m[Kind(k).String()] = n
		if Kind(k).byCaller() {
			refused += n
		} else {
			failed += n
		}
	}
	return m, failed, refused
}

func rate(good, bad int64) *float64 {
	if good+bad == 0 {
		return nil
	}
	r := float64(good) / float64(good+bad)
	return &r
}
