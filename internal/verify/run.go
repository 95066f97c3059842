package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"coreml"
)

// Status is how a case ended.
type Status string

const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped" // a filter left it out
)

// Result is what became of a case.
type Result struct {
	ID        string        `json:"id"`
	Group     string        `json:"group,omitempty"`
	ModelType string        `json:"model_type,omitempty"`
	Ops       []string      `json:"ops,omitempty"`
	Status    Status        `json:"status"`
	Reason    string        `json:"reason,omitempty"` // of a failure, in a line
	Worst     *Mismatch     `json:"worst,omitempty"`
	Stack     string        `json:"stack,omitempty"` // of a panic
	Time      time.Duration `json:"nanoseconds"`
}

// Options say which cases to run, and how.
type Options struct {
	Tight   bool
	Jobs    int           // cases at a time; 0: one for each processor
	Timeout time.Duration // of one case; 0: a minute
	Open    coreml.Options
	Keep    func(*Case) bool // nil: all
	Each    func(Result)     // called for every result, one at a time
	// Got is called with the outputs of every call, by several goroutines; nil: nobody wants them.
	Got func(c *Case, call int, out coreml.Features)
}

// Run checks all cases, several at a time, and returns their results in order.
// When ctx ends it stops, and leaves out the cases that had not ended by then.
func Run(ctx context.Context, cases []*Case, o Options) []Result {
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	results := make([]Result, len(cases))
	work := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range min(o.Jobs, max(1, len(cases))) {
		wg.Go(func() {
			for i := range work {
				r := one(ctx, cases[i], o)
				if r.Status == Failed && ctx.Err() != nil {
					continue
				}
				results[i] = r
				if o.Each != nil {
					mu.Lock()
					o.Each(r)
					mu.Unlock()
				}
			}
		})
	}
	for i := 0; i < len(cases) && ctx.Err() == nil; i++ {
		select {
		case work <- i:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	return slices.DeleteFunc(results, func(r Result) bool { return r.Status == "" })
}

// one checks a case. A panic is that case's failure.
func one(ctx context.Context, c *Case, o Options) (r Result) {
	r = Result{ID: c.ID, Group: c.Group, ModelType: c.ModelType, Status: Passed}
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.Status, r.Reason, r.Stack = Failed, fmt.Sprintf("panic: %v", p), string(debug.Stack())
		}
		r.Time = time.Since(start)
	}()
	if o.Keep != nil && !o.Keep(c) {
		r.Status = Skipped
		return r
	}
	r.Ops = c.Operators()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	worst, err := c.check(ctx, o)
	if err != nil {
		r.Status, r.Reason = Failed, reason(err)
	}
	if worst != nil {
		r.Status, r.Reason, r.Worst = Failed, worst.String(), worst
	}
	return r
}

// reason is an error in one line; what nothing here runs starts with "unsupported:".
func reason(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", " | ")
	if errors.Is(err, coreml.ErrUnsupported) {
		return "unsupported: " + text
	}
	return text
}
