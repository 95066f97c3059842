package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"coreml/breaker"
	"coreml/internal/fault"
	"coreml/telemetry"
	"coreml/tensor"
)

// Link is one program of a chain that Fallback asks. All have loaded the same function of the same file.
type Link struct {
	Key     telemetry.Key
	Program Program
	// Breaker says whether the program may be asked; nil: always, as the last should be.
	Breaker *breaker.Breaker
	// Prompt programs return soon after their context has ended, so that they may
	// work on the caller's own tensors. Others get copies, and are left behind when they are late.
	Prompt bool
}

// FallbackOptions are plain data but for the hooks. The zero value has the defaults.
type FallbackOptions struct {
	// Reserve is the share of the time until the caller's deadline that a program
	// leaves to those after it; 0: half.
	Reserve float64
	// Attempt is the longest that any but the last may take; 0: no limit of its own.
	Attempt time.Duration
	// Checkpoint is after how many good runs a state is copied, so that it can move to
	// another program when its own is lost; the runs since are repeated there. 0: 1.
	// Negative: never, and a state that is lost is an error.
	Checkpoint int
	// Stuck is how many calls may be left behind in one program before it is passed over; 0: 16.
	Stuck int
	// Measure is how often memory is measured; 0: every second.
	Measure time.Duration
	// CloseTimeout is for how long Close waits for calls that were left behind; 0: 10 s.
	CloseTimeout time.Duration
	// Accept looks at every answer of all but the last before the caller gets it. One
	// that it refuses counts as a failure; nil: all are accepted.
	Accept func(out tensor.Features) error
	// Check judges the answer of a probe by that of the program which answered in
	// its place. A probe that cannot wait for that (nobody else answers, or its
	// state is not known) asks the Shadow around its program to hold it. So with it, and
	// a Shadow, no probe closes the breaker or reaches a caller without having been
	// compared; nil: probes are judged by their errors, and callers get their answers.
	Check func(got, want tensor.Features) error

	Observer telemetry.Observer // nil: nobody
}

func (o FallbackOptions) orDefaults() FallbackOptions {
	if o.Reserve <= 0 || o.Reserve >= 1 {
		o.Reserve = 0.5
	}
	if o.Checkpoint == 0 {
		o.Checkpoint = 1
	}
	if o.Stuck <= 0 {
		o.Stuck = 16
	}
	if o.Measure <= 0 {
		o.Measure = time.Second
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = 10 * time.Second
	}
	if o.Accept == nil {
		o.Accept = func(tensor.Features) error { return nil }
	}
	if o.Observer == nil {
		o.Observer = telemetry.Func(func(telemetry.Event) {})
	}
	return o
}

// Fallback is a program that asks the first of a chain, and the next when that one's
// breaker is open or the call fails for any reason but the caller's, all within
// the caller's deadline. After Run has returned nil, the caller's maps and tensors hold
// the results of the program that answered. Until then, and after an error, tensors may hold
// what a Prompt program wrote that failed or was refused: it is written over, not undone.
// Closing it closes the chain.
func Fallback(o FallbackOptions, chain ...Link) Program {
	if len(chain) == 0 {
		panic("BUG: backend: a fallback chain of nobody")
	}
	f := &fallback{o: o.orDefaults()}
	f.life, f.end = context.WithCancel(context.Background())
	for _, l := range chain {
		f.chain = append(f.chain, &link{Link: l})
	}
	return f
}

type fallback struct {
	o     FallbackOptions
	chain []*link
	life  context.Context // of trials
	end   context.CancelFunc

	mu     sync.Mutex
	closed bool
	runs   sync.WaitGroup // runs, trials and measurements in flight
}

// link is a Link at work.
type link struct {
	Link
	stuck     atomic.Int64 // calls that were left behind and have not ended
	footprint atomic.Int64
	measured  atomic.Int64 // when, in nanoseconds; 0: never
}

func (f *fallback) enter() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("backend: chain of programs: %w", fault.Closed)
	}
	f.runs.Add(1)
	return nil
}

// Run implements Program.
func (f *fallback) Run(ctx context.Context, j *Job) error {
	if err := f.enter(); err != nil {
		return err
	}
	defer f.runs.Done()
	var st *chainState
	if j.State != nil {
		var ok bool
		if st, ok = j.State.(*chainState); !ok || st.f != f {
			return fmt.Errorf("backend: %w: the state belongs to another model", fault.State)
		}
		if err := st.claim(); err != nil {
			return err
		}
		defer st.release()
	}
	r := &request{f: f, ctx: ctx, j: j, st: st, start: time.Now()}
	err := r.answer()
	r.report(err)
	return err
}

// request is a run on its way along the chain.
type request struct {
	f      *fallback
	ctx    context.Context
	j      *Job
	st     *chainState
	start  time.Time
	by     *link // who was asked last
	first  error // why the first of the chain did not answer
	failed []error
	probe  *probe
}

func (r *request) answer() error {
	for i := range r.f.chain {
		if err := r.ctx.Err(); err != nil {
			return r.over(err)
		}
		done, err := r.ask(i)
		if done {
			r.endProbe(err)
			return err
		}
		if i == 0 {
			r.first = err
		}
		r.failed = append(r.failed, fmt.Errorf("%s: %w", r.f.chain[i].Key.Backend, err))
	}
	if p := r.probe; p != nil { // nobody else could answer
		r.probe = nil
		err := r.attempt(p.i, p.ticket)
		if err == nil || r.final(err) {
			return err
		}
		r.failed = append(r.failed, fmt.Errorf("%s: %w", r.f.chain[p.i].Key.Backend, err))
	}
	if len(r.failed) == 1 {
		return r.failed[0]
	}
	return fmt.Errorf("backend: nobody answered: %w", errors.Join(r.failed...))
}

// over is the error of a request whose context has ended.
func (r *request) over(err error) error {
	r.endProbe(err)
	if len(r.failed) > 0 {
		err = fmt.Errorf("%w, after %w", err, errors.Join(r.failed...))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("backend: %w: %w", fault.Timeout, err)
	}
	return fmt.Errorf("backend: %w", err)
}

// ask asks program i, if its breaker allows that. Done means that nobody else is to be asked.
func (r *request) ask(i int) (done bool, err error) {
	l := r.f.chain[i]
	if l.stuck.Load() >= int64(r.f.o.Stuck) {
		return false, fmt.Errorf("%w: %d calls were left behind in it", fault.Timeout, l.stuck.Load())
	}
	var ticket *breaker.Ticket
	if l.Breaker != nil {
		if ticket, err = l.Breaker.Allow(); err != nil {
			return false, err
		}
		if ticket.Probe() && r.probe == nil && r.onTrial(i, ticket) {
			return false, fmt.Errorf("%w: it is on trial", breaker.ErrOpen)
		}
	}
	r.by = l
	err = r.attempt(i, ticket)
	return err == nil || r.final(err), err
}

// final reports whether nobody else may be asked after an error.
func (r *request) final(err error) bool {
	return r.ctx.Err() != nil || errors.Is(err, fault.Schema) || errors.Is(err, fault.Invalid)
}

// attempt runs the job on program i and tells its breaker.
func (r *request) attempt(i int, ticket *breaker.Ticket) error {
	l := r.f.chain[i]
	ctx, cancel := r.f.budget(r.ctx, i)
	defer cancel()
	start := time.Now()
	err := r.runOn(ctx, i, ticket != nil && ticket.Probe() && r.f.o.Check != nil)
	took := time.Since(start)
	switch {
	case err == nil:
	case errors.Is(err, errNotGiven):
	case r.ctx.Err() != nil:
		err = r.over(fmt.Errorf("%w: %s: %v", r.ctx.Err(), l.Key.Backend, err))
	case ctx.Err() != nil && !fault.ByCaller(err):
		err = fmt.Errorf("%w: no answer within %v: %v", fault.Timeout, took.Round(time.Millisecond), err)
	}
	l.report(ticket, Outcome{Err: err, Latency: took})
	r.f.measure(l)
	return err
}

// Outcome is how a program did, for its breaker.
type Outcome = breaker.Outcome

// report tells the breaker. A program that is not there yet has not failed, nor has
// one whose answer the reference could not judge.
func (l *link) report(t *breaker.Ticket, o Outcome) {
	if t == nil {
		return
	}
	switch {
	case errors.Is(o.Err, ErrWarming), errors.Is(o.Err, ErrUncompared):
		o.Err = context.Canceled
	case errors.Is(o.Err, errNotGiven):
		o.Err = errors.New(o.Err.Error()) // a failure; that it drifted is counted where the shadow tells it
	}
	o.Footprint = l.footprint.Load()
	t.Done(o)
}

// budget is the time that program i has for the request.
func (f *fallback) budget(ctx context.Context, i int) (context.Context, context.CancelFunc) {
	if i == len(f.chain)-1 {
		return ctx, func() {}
	}
	limit := f.o.Attempt
	if at, ok := ctx.Deadline(); ok {
		if d := time.Duration(float64(time.Until(at)) * (1 - f.o.Reserve)); limit == 0 || d < limit {
			limit = max(d, 1)
		}
	}
	if limit == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// report fills in the dispatch of an answer and tells the observer of the request.
func (r *request) report(err error) {
	first := r.f.chain[0]
	by := r.by
	if by == nil {
		by = first
	}
	e := telemetry.Event{Type: telemetry.Answered, Key: by.Key, Time: time.Now(), Err: err, Requested: first.Key.Backend, Planned: first.Key.Unit}
	e.Duration = e.Time.Sub(r.start)
	if err == nil {
		d := &r.j.Dispatch
		if d.Backend == "" {
			d.Backend = by.Key.Backend
		}
		d.Requested, d.Fallback = first.Key.Backend, by != first
		if d.Fallback {
			d.Reason = r.first.Error()
			e.Fallback, e.Reason = true, word(r.first)
		}
	}
	r.f.o.Observer.Observe(e)
}

// word is one word for why the first of a chain did not answer.
func word(err error) string {
	switch {
	case errors.Is(err, breaker.ErrOpen):
		return "breaker"
	case errors.Is(err, ErrWarming):
		return "warming"
	}
	return telemetry.KindOf(err).String()
}

// measure measures the memory of a program when that is due, beside the request.
func (f *fallback) measure(l *link) {
	now := time.Now().UnixNano()
	last := l.measured.Load()
	if l.Breaker == nil || last != 0 && now-last < int64(f.o.Measure) || !l.measured.CompareAndSwap(last, now) || f.enter() != nil {
		return
	}
	go func() {
		defer f.runs.Done()
		f.weigh(l)
	}()
}

func (f *fallback) weigh(l *link) {
	n := Footprint(l.Program)
	l.footprint.Store(n)
	f.o.Observer.Observe(telemetry.Event{Type: telemetry.Measured, Key: l.Key, Time: time.Now(), Memory: n})
}

// Capabilities are those of the first program that says what it runs on, with the memory of all.
func (f *fallback) Capabilities() Capabilities {
	var out Capabilities
	for _, l := range f.chain {
		c := l.Program.Capabilities()
		if out.Unit == "" {
			out.Unit, out.Ops = c.Unit, c.Ops
		}
		out.Memory.Weights += c.Memory.Weights
		out.Memory.Activations += c.Memory.Activations
	}
	return out
}

// Close waits for runs in flight, and for a while for calls that were left behind.
func (f *fallback) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	f.mu.Unlock()
	f.end()
	f.runs.Wait()
	var all []error
	for _, l := range f.chain {
		if err := f.closeLink(l); err != nil {
			all = append(all, fmt.Errorf("%s: %w", l.Key.Backend, err))
		}
	}
	return errors.Join(all...)
}

func (f *fallback) closeLink(l *link) error {
	if l.stuck.Load() == 0 {
		return l.Program.Close()
	}
	done := make(chan error, 1)
	go func() { done <- l.Program.Close() }()
	t := time.NewTimer(f.o.CloseTimeout)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return fmt.Errorf("closing: %w: %d calls go on in it", fault.Timeout, l.stuck.Load())
	}
}
