package main

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"coreml"
	"coreml/internal/verify"
)

// guardFlags are the flags that keep a model answering when its backend does not.
type guardFlags struct {
	isolate, canary, warm, status, hold bool
	fallback, cases, log                string
	share                               float64
	sla                                 time.Duration
}

func (g *guardFlags) add(f *pflag.FlagSet) {
	f.BoolVar(&g.isolate, "isolate", false, "run the backend in a child process; what kills it becomes an error")
	f.BoolVar(&g.canary, "canary", false, "try the model in a child process before it is loaded here, once for each system")
	f.StringVar(&g.fallback, "fallback", "", "backend that answers what --backend does not, within --timeout (cpu, if none is named)")
	f.Lookup("fallback").NoOptDefVal = "cpu"
	f.DurationVar(&g.sla, "sla", 0, "with --fallback: more than 3 of 100 predictions that take longer open the breaker")
	f.Float64Var(&g.share, "shadow", 0, "share of the answers, such as 0.01, to compute again with another backend and compare")
	f.BoolVar(&g.hold, "shadow-hold", false, "let these answers wait for their comparison, and give none that differs")
	f.StringVar(&g.cases, "shadow-cases", "", "folder for answers that differ, as cases that \"coreml verify\" checks")
	f.BoolVar(&g.warm, "warm-start", false, "let the fallback answer until the backend has loaded and its answers are the same")
	f.StringVar(&g.log, "event-log", "", "file to append events to, as JSON lines")
	f.BoolVar(&g.status, "status", false, "let \"coreml status\" see this process")
}

// guarded reports whether something stands between the caller and the backend.
func (g *guardFlags) guarded() bool {
	return g.isolate || g.fallback != "" || g.warm || g.share > 0
}

// maxCases bounds the drifts of a process that are recorded.
const maxCases = 10

// apply sets what the flags say. Drift is told on w.
func (g *guardFlags) apply(o *coreml.Options, model string, w io.Writer) error {
	if !(g.share >= 0 && g.share <= 1) {
		return usageError{fmt.Errorf("--shadow %v: want a share between 0 and 1", g.share)}
	}
	if g.share == 0 && (g.cases != "" || g.hold) {
		return usageError{fmt.Errorf("--shadow-cases and --shadow-hold: nothing is compared; give --shadow")}
	}
	if g.sla < 0 || g.sla > 0 && g.fallback == "" && !g.warm {
		return usageError{fmt.Errorf("--sla %v: want 0 or more, and --fallback", g.sla)}
	}
	o.Canary, o.WarmStart, o.EventLog, o.Status = g.canary, g.warm, g.log, g.status
	o.Breaker.SLA = g.sla
	if g.isolate {
		o.Isolate = &coreml.Isolation{}
	}
	if g.fallback != "" {
		o.Fallback = &coreml.Fallback{To: g.fallback}
	}
	if g.share > 0 {
		o.Shadow = &coreml.Shadow{Share: g.share, Hold: g.hold, OnDrift: g.recorder(model, o.Function, w)}
	}
	return nil
}

// recorder tells of drifts, and keeps the first ones as cases.
func (g *guardFlags) recorder(model, function string, w io.Writer) func(coreml.Drift) {
	n := 0
	var once sync.Once
	return func(d coreml.Drift) {
		n++
		switch {
		case g.cases == "":
			once.Do(func() { fmt.Fprintf(w, "%v\n", d.Err) })
		case n <= maxCases:
			dir := filepath.Join(g.cases, fmt.Sprintf("drift-%s-%d", time.Now().UTC().Format("20060102T150405"), n))
			if err := verify.RecordDrift(dir, model, function, d); err != nil {
				fmt.Fprintf(w, "%v; it could not be recorded: %v\n", d.Err, err)
				return
			}
			fmt.Fprintf(w, "%v; recorded; check with: coreml verify %s\n", d.Err, shellQuote(dir))
		}
	}
}
