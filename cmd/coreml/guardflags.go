package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"coreml"
	"coreml/telemetry"
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

// apply sets what the flags say. Drift is told on w.
func (g *guardFlags) apply(o *coreml.Options, w io.Writer) error {
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
		if err := checkBackend("fallback", g.fallback); err != nil {
			return err
		}
		o.Fallback = &coreml.Fallback{To: g.fallback}
	}
	if g.share > 0 {
		o.Shadow = &coreml.Shadow{Share: g.share, Hold: g.hold, Evidence: g.cases}
		o.Observer = tell(o.Shadow, w)
	}
	return nil
}

// tell says on w what becomes of drifts: the first in words, and the case of each that is kept.
func tell(s *coreml.Shadow, w io.Writer) coreml.Observer {
	var once sync.Once
	s.OnDrift = func(d coreml.Drift) {
		once.Do(func() { fmt.Fprintf(w, "%v\n", d.Err) })
	}
	return telemetry.Func(func(e coreml.Event) {
		switch {
		case e.Type != telemetry.Recorded:
		case e.Err != nil:
			fmt.Fprintf(w, "an answer that differs could not be recorded: %v\n", e.Err)
		default:
			fmt.Fprintf(w, "recorded; check with: coreml verify %s\n", shellQuote(fmt.Sprint(e.Detail)))
		}
	})
}
