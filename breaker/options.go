package breaker

import (
	"fmt"
	"time"
)

// Options are plain data. A zero field means its default; a negative threshold
// of a condition turns that condition off.
type Options struct {
	Samples int           // the window holds at most so many outcomes (100)
	Age     time.Duration // and none older than this (5 minutes)

	MinSuccess    float64       // percent of the window that has to succeed (95)
	MinSamples    int           // below so many the success rate is not judged (10)
	SLA           time.Duration // a call that takes longer is a violation; 0: there is none
	MaxViolations float64       // per 100 calls; fewer than 100 count as 100 (3)
	MaxFootprint  int64         // bytes (2 GiB)
	MaxDrifts     int           // answers in the window that may part from the reference (0)

	Backoff    time.Duration // of the first trip; doubles with each further one (1 second)
	MaxBackoff time.Duration // (2 minutes)
	Jitter     float64       // share of the back-off by which it varies either way, below 1 (0.2)
	Steady     time.Duration // after so long in the closed state the back-off starts anew (MaxBackoff)

	Probes       int           // good ones that close (3)
	MaxProbes    int           // answered within the SLA or not; then it opens again (10)
	ProbeTimeout time.Duration // a probe without outcome counts as failed (1 minute)
}

func (o Options) withDefaults() Options {
	orInt(&o.Samples, 100)
	orInt(&o.MinSamples, 10)
	orInt(&o.Probes, 3)
	orInt(&o.MaxProbes, 10)
	or(&o.Age, 5*time.Minute)
	or(&o.MinSuccess, 95)
	or(&o.MaxViolations, 3)
	or(&o.MaxFootprint, 2<<30)
	or(&o.Backoff, time.Second)
	or(&o.MaxBackoff, 2*time.Minute)
	or(&o.Jitter, 0.2)
	or(&o.ProbeTimeout, time.Minute)
	o.MaxBackoff = max(o.MaxBackoff, o.Backoff)
	or(&o.Steady, o.MaxBackoff)
	o.Jitter = min(max(o.Jitter, 0), 0.99)
	o.MinSamples = min(o.MinSamples, o.Samples)
	o.MaxProbes = max(o.MaxProbes, o.Probes)
	return o
}

func or[T comparable](field *T, otherwise T) {
	var zero T
	if *field == zero {
		*field = otherwise
	}
}

// orInt sets a count that cannot be below 1.
func orInt(field *int, otherwise int) {
	if *field <= 0 {
		*field = otherwise
	}
}

// backoff is how long the n-th opening in a row lasts, for a uniform random number in [0, 1).
func (o Options) backoff(n int, random float64) time.Duration {
	d := o.Backoff
	for ; n > 1 && d < o.MaxBackoff; n-- {
		d *= 2
	}
	d = min(d, o.MaxBackoff)
	return d + time.Duration(float64(d)*o.Jitter*(2*random-1))
}

// Reason says why a breaker changed its state.
type Reason struct {
	Rule string `json:"rule"` // "success", "sla", "footprint", "drift", "hand" or "probe"
	Text string `json:"text"`
}

func (r Reason) String() string { return r.Rule + ": " + r.Text }

// Condition looks at the window and says why the breaker should open, or "".
type Condition struct {
	Name  string
	Check func(Evidence) string
}

// conditions are the rules by which a closed breaker opens, the gravest first.
func (o Options) conditions() []Condition {
	all := []struct {
		on bool
		Condition
	}{
		{o.MaxDrifts >= 0, driftOver(o.MaxDrifts)},
		{o.MaxFootprint > 0, footprintOver(o)},
		{o.MinSuccess > 0, successBelow(o.MinSuccess, o.MinSamples)},
		{o.MaxViolations > 0 && o.SLA > 0, violationsOver(o.MaxViolations, o.SLA)},
	}
	var out []Condition
	for _, c := range all {
		if c.on {
			out = append(out, c.Condition)
		}
	}
	return out
}

func successBelow(percent float64, least int) Condition {
	return Condition{"success", func(e Evidence) string {
		ok := e.Samples - e.Failures
		if e.Samples < least || 100*float64(ok) >= percent*float64(e.Samples) {
			return ""
		}
		return fmt.Sprintf("%d of %d succeeded, want %g %%; the last failure: %s", ok, e.Samples, percent, e.LastFailure)
	}}
}

func violationsOver(per100 float64, sla time.Duration) Condition {
	return Condition{"sla", func(e Evidence) string {
		if 100*float64(e.Violations) <= per100*float64(max(e.Samples, 100)) {
			return ""
		}
		return fmt.Sprintf("%d of %d took longer than %v, want at most %g per 100", e.Violations, e.Samples, sla, per100)
	}}
}

func footprintOver(o Options) Condition {
	return Condition{"footprint", func(e Evidence) string {
		if !o.tooBig(e.Footprint) {
			return ""
		}
		return fmt.Sprintf("%d bytes, want at most %d", e.Footprint, o.MaxFootprint)
	}}
}

func driftOver(most int) Condition {
	return Condition{"drift", func(e Evidence) string {
		if e.Drifts <= most {
			return ""
		}
		return fmt.Sprintf("%d answers part from the reference, want at most %d; the last: %s", e.Drifts, most, e.LastFailure)
	}}
}

func (o Options) tooBig(footprint int64) bool {
	return o.MaxFootprint > 0 && footprint > o.MaxFootprint
}
