package backend

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"coreml/breaker"
	"coreml/internal/fault"
	"coreml/telemetry"
	"coreml/tensor"
)

// runOn runs the job on program i, with its state if it has one, and publishes the
// results. Hold has them compared before.
func (r *request) runOn(ctx context.Context, i int, hold bool) error {
	var held State
	if r.st != nil {
		var err error
		if held, err = r.st.bring(ctx, i, hold); err != nil {
			return fmt.Errorf("moving the state to it: %w", err)
		}
	}
	l := r.f.chain[i]
	var inner *Job
	var err error
	left := false
	if l.Prompt {
		inner = r.j.borrowed(held)
		inner.Hold = hold
		err = safely(ctx, l.Program, inner)
	} else {
		inner = r.j.private(held)
		inner.Hold = hold
		left, err = r.f.call(ctx, l, inner)
	}
	last := i == len(r.f.chain)-1
	for k := 0; err == nil && !last && k < len(inner.Out); k++ {
		if err = r.f.o.Accept(inner.Out[k]); err != nil {
			err = fault.As(fault.Runtime, err)
		}
	}
	if r.st != nil {
		r.st.ran(i, err, left, r.j.In)
	}
	if err != nil {
		return err
	}
	r.j.publish(inner)
	r.j.Dispatch = inner.Dispatch
	return nil
}

// safely is p.Run, with a panic as an error: a program that is broken has others to stand in for it.
func safely(ctx context.Context, p Program, j *Job) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: panic: %v\n%s", fault.Runtime, v, debug.Stack())
		}
	}()
	return p.Run(ctx, j)
}

// How a call that may be left behind ends: whoever sets it first decides.
const (
	callRuns = iota
	callEnded
	callLeft
)

// call runs a job, and leaves it behind when ctx ends. The job has to own what it holds.
func (f *fallback) call(ctx context.Context, l *link, j *Job) (left bool, err error) {
	var how atomic.Int32
	done := make(chan error, 1)
	start := time.Now()
	go func() {
		err := safely(ctx, l.Program, j)
		done <- err
		if how.CompareAndSwap(callRuns, callEnded) {
			return
		}
		if j.State != nil {
			j.State.Close()
		}
		l.stuck.Add(-1)
		f.o.Observer.Observe(telemetry.Event{Type: telemetry.Late, Key: l.Key, Time: time.Now(), Duration: time.Since(start), Err: err})
	}()
	select {
	case err := <-done:
		return false, err
	case <-ctx.Done():
	}
	l.stuck.Add(1)
	if how.CompareAndSwap(callRuns, callLeft) {
		return true, ctx.Err()
	}
	l.stuck.Add(-1)
	return false, <-done
}

// probe is a request of a half-open breaker that is made after the request was answered by another
// program, on copies, and judged by that answer. The caller waits for none of it.
type probe struct {
	i      int
	ticket *breaker.Ticket
	before tensor.Features // the state before the request
}

// onTrial reports whether the probe of program i can be made after the request.
func (r *request) onTrial(i int, t *breaker.Ticket) bool {
	if r.f.o.Check == nil || i == len(r.f.chain)-1 {
		return false
	}
	p := &probe{i: i, ticket: t}
	if r.st != nil {
		if !r.st.checkpointed() {
			return false
		}
		p.before = r.st.good
	}
	r.probe = p
	return true
}

// endProbe makes the trial of a request that was answered; one without an answer decides nothing.
func (r *request) endProbe(err error) {
	p := r.probe
	if p == nil {
		return
	}
	r.probe = nil
	if err != nil || r.f.enter() != nil {
		r.f.chain[p.i].report(p.ticket, Outcome{Err: context.Canceled})
		return
	}
	limit := r.f.o.Attempt
	if at, ok := r.ctx.Deadline(); ok {
		if d := time.Duration(float64(at.Sub(r.start)) * (1 - r.f.o.Reserve)); limit == 0 || d < limit {
			limit = d
		}
	}
	if limit <= 0 {
		limit = time.Minute
	}
	// Results that the caller brought are the caller's again when Run returns.
	j, want := &Job{In: cloneAll(r.j.In), Out: make([]tensor.Features, len(r.j.In))}, cloneAll(r.j.Out)
	for i := range j.Out {
		j.Out[i] = tensor.Features{}
	}
	stateful := r.st != nil
	go func() {
		defer r.f.runs.Done()
		ctx, cancel := context.WithTimeout(r.f.life, limit)
		defer cancel()
		r.f.try(ctx, p, j, want, stateful)
	}()
}

func (f *fallback) try(ctx context.Context, p *probe, j *Job, want []tensor.Features, stateful bool) {
	l := f.chain[p.i]
	var err error
	if stateful {
		if j.State, err = restored(l.Program, p.before); err != nil {
			l.report(p.ticket, Outcome{Err: err})
			return
		}
	}
	start := time.Now()
	left, err := f.call(ctx, l, j)
	took := time.Since(start)
	if j.State != nil && !left {
		j.State.Close()
	}
	for i := 0; err == nil && i < len(want); i++ {
		err = f.o.Check(j.Out[i], want[i])
	}
	f.weigh(l) // what it took before says nothing about now
	l.report(p.ticket, Outcome{Err: err, Latency: took})
}
