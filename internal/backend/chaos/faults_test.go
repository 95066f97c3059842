package chaos_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"go.uber.org/goleak"

	"coreml/breaker"
	"coreml/internal/backend"
	"coreml/internal/backend/chaos"
	"coreml/internal/engine"
	"coreml/internal/testkit"
)

const (
	// faultsTime is how long TestFaults runs, such as 60s.
	faultsTime = "COREML_FAULTS"
	// controlFile tells a child process where its faults are set.
	controlFile = "COREML_CHAOS"
)

func TestMain(m *testing.M) {
	backend.ServeIsolated(chaos.Backend(engine.CPU{}, chaos.File(os.Getenv(controlFile))))
	goleak.VerifyTestMain(m)
}

const (
	deadline = 400 * time.Millisecond
	sla      = 60 * time.Millisecond // of the rows that are slow
)

var (
	callers = 64
	// strict holds the run that makes the table to its figures. In an ordinary test the
	// machine does other things too: then callers may see their deadlines late, and
	// the breaker may have opened before.
	strict = os.Getenv(faultsTime) != ""
)

// patience is how late a caller may see its deadline.
func patience() time.Duration {
	if strict {
		return 250 * time.Millisecond
	}
	return 3 * time.Second
}

// row is one fault and what has to become of it. Whatever it is, an answer is right
// to the last bit, but for the rows that are sampled.
type row struct {
	name     string
	fault    chaos.Fault
	isolated bool
	stateful bool    // every caller has a state of its own, and knows the sequence
	shadow   float64 // share of the answers that are compared; 1: before they are given
	trips    bool    // the breaker has to open
	rule     string  // the breaker's, where it is one for sure
	reason   string  // why the fallback answered, that has to be among the others
	limit    int64   // bytes that a child may take
	most     int64   // footprint that opens the breaker; 0: the default
	linux    bool    // no other system limits or tells a child's memory
}

// sampled reports whether answers are given before they are compared.
func (r *row) sampled() bool { return r.shadow > 0 && r.shadow < 1 }

// mostWrong is how many wrong answers may be given before a sampled shadow has opened
// the breaker: three times as many as are compared one in, and those in flight.
func (r *row) mostWrong() int64 {
	if !r.sampled() {
		return 0
	}
	return int64(3/r.shadow) + 2*int64(callers)
}

var rows = []row{
	{name: "none"},
	{name: "none, every answer held", shadow: 1},
	{name: "none, isolated", isolated: true},
	{name: "slow, exponential", fault: chaos.Fault{Kind: chaos.Slow, Delay: 100 * time.Millisecond, Tail: chaos.Exponential}, trips: true},
	{name: "slow, log-normal", fault: chaos.Fault{Kind: chaos.Slow, Delay: 100 * time.Millisecond, Tail: chaos.LogNormal}, trips: true},
	{name: "slow, bimodal", fault: chaos.Fault{Kind: chaos.Slow, Delay: 50 * time.Millisecond, Tail: chaos.Bimodal}, trips: true},
	{name: "errors", fault: chaos.Fault{Kind: chaos.Error}, trips: true, rule: "success", reason: "RuntimeError"},
	{name: "errors, a third", fault: chaos.Fault{Kind: chaos.Error, Share: 1. / 3}, trips: true, rule: "success", reason: "RuntimeError"},
	{name: "panics", fault: chaos.Fault{Kind: chaos.Panic, Share: 0.5}, trips: true, rule: "success", reason: "RuntimeError"},
	{name: "hangs", fault: chaos.Fault{Kind: chaos.Hang}, trips: true, reason: "Timeout"},
	{name: "wrong shapes", fault: chaos.Fault{Kind: chaos.Shape}, trips: true, rule: "success", reason: "RuntimeError"},
	{name: "wrong numbers", fault: chaos.Fault{Kind: chaos.Wrong}, shadow: 1, trips: true, rule: "drift", reason: "NumericDrift"},
	{name: "wrong numbers, a tenth", fault: chaos.Fault{Kind: chaos.Wrong, Share: 0.1}, shadow: 1, trips: true, rule: "drift", reason: "NumericDrift"},
	{name: "NaN", fault: chaos.Fault{Kind: chaos.NaN}, shadow: 1, trips: true, rule: "drift", reason: "NumericDrift"},
	{name: "wrong numbers, sampled", fault: chaos.Fault{Kind: chaos.Wrong}, shadow: 0.1, trips: true, rule: "drift"},
	{name: "memory growth", fault: chaos.Fault{Kind: chaos.Memory, Grow: 64 << 20}, trips: true, rule: "footprint"},
	{name: "memory growth, isolated", fault: chaos.Fault{Kind: chaos.Hoard, Grow: 256 << 10}, isolated: true, trips: true, rule: "footprint", most: 64 << 20, linux: true},
	{name: "crashes, isolated", fault: chaos.Fault{Kind: chaos.Exit}, isolated: true, trips: true, reason: "ProcessKilled"},
	{name: "crashes, then no loading", fault: chaos.Fault{Kind: chaos.Exit, NoLoad: true}, isolated: true, trips: true, reason: "LoadError"},
	{name: "hangs, isolated", fault: chaos.Fault{Kind: chaos.Hang}, isolated: true, trips: true, reason: "Timeout"},
	{name: "killed, isolated", fault: chaos.Fault{Kind: chaos.Kill}, isolated: true, trips: true, reason: "ProcessKilled"},
	{name: "out of memory, isolated", fault: chaos.Fault{Kind: chaos.Exhaust}, isolated: true, trips: true, reason: "MemoryPressure", limit: 192 << 20, linux: true},
	{name: "wrong numbers, isolated", fault: chaos.Fault{Kind: chaos.Wrong}, isolated: true, shadow: 1, trips: true, rule: "drift", reason: "NumericDrift"},
	{name: "states, none", stateful: true},
	{name: "states, errors", fault: chaos.Fault{Kind: chaos.Error, Share: 1. / 3}, stateful: true, trips: true, rule: "success", reason: "RuntimeError"},
	{name: "states, hangs", fault: chaos.Fault{Kind: chaos.Hang}, stateful: true, trips: true, reason: "Timeout"},
	{name: "states, wrong numbers", fault: chaos.Fault{Kind: chaos.Wrong}, stateful: true, shadow: 1, trips: true, rule: "drift", reason: "NumericDrift"},
	{name: "states made wrong", fault: chaos.Fault{Kind: chaos.State}, stateful: true, shadow: 1, trips: true, rule: "drift", reason: "NumericDrift"},
	{name: "states, crashes, isolated", fault: chaos.Fault{Kind: chaos.Exit, Share: 0.1}, isolated: true, stateful: true, trips: true, reason: "ProcessKilled"},
	{name: "states, hangs, isolated", fault: chaos.Fault{Kind: chaos.Hang}, isolated: true, stateful: true, trips: true, reason: "Timeout"},
}

// options of the breaker: fast enough to see it close in the time of a row.
var options = breaker.Options{Backoff: 20 * time.Millisecond, MaxBackoff: 80 * time.Millisecond, Steady: time.Second, ProbeTimeout: time.Second}

// TestFaults puts one fault after the other into the primary of a chain, under many
// callers. Every request has to be answered right within its deadline or refused with
// a typed error, once; the breaker has to open within the first window of the fault and
// to close within its probe time after it; and nothing may be left.
func TestFaults(t *testing.T) {
	total := 3 * time.Second
	if d, err := time.ParseDuration(os.Getenv(faultsTime)); err == nil {
		total = d
	}
	if testkit.Race && os.Getenv(faultsTime) == "" {
		t.Skip("it judges times, which the race detector stretches; the decorators' own tests run under it")
	}
	if testkit.Race {
		callers = 8
	}
	if testing.Short() {
		t.Skip("takes ", total)
	}
	models := openModels(t)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\trequests\tprimary\tfallback\trefused\twrong\tp99\topened after\tclosed after\t")
	for i := range rows {
		r := &rows[i]
		if r.linux && runtime.GOOS != "linux" || r.limit > 0 && testkit.Race {
			continue // the race detector's own memory is beyond any limit
		}
		t.Run(r.name, func(t *testing.T) {
			s := newScene(t, models[r.stateful], r)
			s.play(total / time.Duration(len(rows)))
			s.close()
			fmt.Fprintln(w, s.line())
			s.judge()
		})
	}
	w.Flush()
	t.Logf("%d callers\n%s", callers, &table)
}
