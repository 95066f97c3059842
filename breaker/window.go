package breaker

import (
	"errors"
	"time"

	"coreml/internal/fault"
)

// Outcome is how a request went.
type Outcome struct {
	Err       error
	Latency   time.Duration
	Footprint int64 // bytes that the backend takes now; 0: not measured
}

// verdict is an outcome as the rules see it.
type verdict struct {
	counts, failed, slow, drift bool
	footprint                   int64
	text                        string // of the failure
}

func (o Options) judge(c Outcome) verdict {
	if fault.ByCaller(c.Err) {
		return verdict{}
	}
	v := verdict{counts: true, failed: c.Err != nil, slow: o.SLA > 0 && c.Latency > o.SLA, footprint: c.Footprint}
	if c.Err != nil {
		v.text = short(c.Err.Error())
		v.drift = errors.Is(c.Err, fault.Drift)
	}
	return v
}

// short keeps a text that comes from elsewhere from filling the memory.
func short(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// Evidence is what the window holds.
type Evidence struct {
	Samples     int           `json:"samples"`
	Failures    int           `json:"failures"`
	Violations  int           `json:"violations"`
	Drifts      int           `json:"drifts"`
	Footprint   int64         `json:"footprint_bytes"` // the last that was measured
	Span        time.Duration `json:"span_ns"`         // since the oldest sample
	LastFailure string        `json:"last_failure"`
}

type sample struct {
	at           time.Duration
	failed, slow bool
}

// window holds the last outcomes: a ring, and the sums of what is in it.
type window struct {
	age       time.Duration
	ring      []sample
	first, n  int
	failures  int
	slow      int
	drifts    []time.Duration // the last ones
	keep      int             // so many drifts: as many as the rule can need
	footprint int64
	last      string
}

func newWindow(o Options) window {
	return window{age: o.Age, ring: make([]sample, o.Samples), keep: max(o.MaxDrifts, 0) + 1}
}

func (w *window) add(now time.Duration, v verdict) {
	w.expire(now)
	if w.n == len(w.ring) {
		w.drop()
	}
	w.ring[(w.first+w.n)%len(w.ring)] = sample{now, v.failed, v.slow}
	w.n++
	w.failures += one(v.failed)
	w.slow += one(v.slow)
	if v.footprint != 0 {
		w.footprint = v.footprint
	}
	if v.failed {
		w.last = v.text
	}
	if v.drift {
		w.drifted(now, v.text)
	}
}

func (w *window) drifted(now time.Duration, text string) {
	if len(w.drifts) == w.keep {
		w.drifts = w.drifts[:copy(w.drifts, w.drifts[1:])]
	}
	w.drifts = append(w.drifts, now)
	w.last = short(text)
}

func (w *window) expire(now time.Duration) {
	for w.n > 0 && now-w.ring[w.first].at > w.age {
		w.drop()
	}
	for len(w.drifts) > 0 && now-w.drifts[0] > w.age {
		w.drifts = w.drifts[:copy(w.drifts, w.drifts[1:])]
	}
}

func (w *window) drop() {
	s := w.ring[w.first]
	w.failures -= one(s.failed)
	w.slow -= one(s.slow)
	w.first = (w.first + 1) % len(w.ring)
	w.n--
}

func (w *window) clear() {
	w.first, w.n, w.failures, w.slow, w.footprint, w.last = 0, 0, 0, 0, 0, ""
	w.drifts = w.drifts[:0]
}

func (w *window) evidence(now time.Duration) Evidence {
	w.expire(now)
	e := Evidence{Samples: w.n, Failures: w.failures, Violations: w.slow, Drifts: len(w.drifts), Footprint: w.footprint, LastFailure: w.last}
	if w.n > 0 {
		e.Span = now - w.ring[w.first].at
	}
	return e
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
