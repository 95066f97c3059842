package backend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"coreml/guards"
	"coreml/internal/fault"
	"coreml/telemetry"
	"coreml/tensor"
)

// ShadowOptions say which answers are recomputed, and what becomes of those that
// part from the reference. The zero value of a field has its default.
type ShadowOptions struct {
	Key     telemetry.Key
	Share   float64                  // of the answers: 0.01 is every hundredth; 0: 0.01
	Hold    bool                     // an answer of the share waits for its comparison, and is given only if it passes
	Queue   int                      // answers that may wait; 0: 16
	Limits  map[string]guards.Limits // by output; those of an output's dtype otherwise
	Timeout time.Duration            // of one recomputation; 0: 1 minute

	// Drift is told of answers beyond the limits, one at a time; nil: nobody is.
	Drift    func(guards.Drift)
	Observer telemetry.Observer // nil: nobody
}

func (o ShadowOptions) orDefaults() ShadowOptions {
	if o.Share <= 0 {
		o.Share = 0.01
	}
	o.Share = min(o.Share, 1)
	if o.Queue <= 0 {
		o.Queue = 16
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Drift == nil {
		o.Drift = func(guards.Drift) {}
	}
	if o.Observer == nil {
		o.Observer = telemetry.Func(func(telemetry.Event) {})
	}
	return o
}

// ErrUncompared is the error of an answer that was held and that the reference could
// not judge, for a reason other than time. It wraps fault.Runtime and is not held
// against the program.
var ErrUncompared = fmt.Errorf("backend: not compared, so not given: %w", fault.Runtime)

// errNotGiven marks the drift of an answer that was held: whoever Drift tells has it already.
var errNotGiven = errors.New("backend: not given")

// Shadow is p, of whose answers a share is recomputed by the reference and compared,
// with the states that they leave.
//
// Without Hold that happens after they were given: no run waits, and what finds the
// queue full is dropped. With it, or where the job asks for it, the run ends with
// the comparison: an error that wraps fault.Drift for an answer beyond the limits,
// fault.Timeout for one that was not compared before ctx ended, and ErrUncompared
// for one that the reference fails at. The state is then what it was before the
// run. A reference that ignores its context is left behind.
//
// The reference is not closed with the shadow.
func Shadow(p, reference Program, o ShadowOptions) Program {
	s := &shadow{Program: p, reference: reference, o: o.orDefaults()}
	s.queue = make(chan *sample, s.o.Queue)
	s.life, s.end = context.WithCancel(context.Background())
	s.closing = make(chan struct{})
	s.work.Add(1)
	go s.run()
	return s
}

type shadow struct {
	Program
	reference Program
	o         ShadowOptions
	queue     chan *sample
	life      context.Context // of what is in the queue
	end       context.CancelFunc
	answers   atomic.Uint64
	behind    atomic.Int64 // comparisons that nobody waits for any more
	telling   sync.Mutex   // held while Drift is told

	mu      sync.Mutex
	closed  bool
	closing chan struct{}
	runs    sync.WaitGroup // in flight
	work    sync.WaitGroup // the queue, and comparisons that runs wait for
}

// sample are answers of one job to be recomputed, in turn where there is a state. It owns what it holds.
type sample struct {
	in, got       []tensor.Features
	before, after tensor.Features // the state; nil: none was given
	by            string
	at            time.Time
	held          bool
}

func (s *shadow) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("backend: shadowed program: %w", fault.Closed)
	}
	s.runs.Add(1)
	return nil
}

// due reports whether one of the answers after the first n, up to the m-th, is
// one of the share, which are evenly spaced.
func (s *shadow) due(n, m uint64) bool {
	return math.Floor(float64(m)*s.o.Share) > math.Floor(float64(n)*s.o.Share)
}

// Run implements Program.
func (s *shadow) Run(ctx context.Context, j *Job) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.runs.Done()
	st, err := s.state(j)
	if err != nil {
		return err
	}
	last := s.answers.Add(uint64(len(j.In)))
	first := last - uint64(len(j.In))
	if !j.Hold && !s.due(first, last) || len(j.In) == 0 {
		return s.ask(ctx, j, st)
	}
	x := &sample{held: s.o.Hold || j.Hold}
	if st != nil {
		x.before = tensor.Features{}
		if err := st.Save(x.before); err != nil {
			if x.held {
				return err
			}
			return s.ask(ctx, j, st) // which says what is wrong with it
		}
	}
	if err := s.ask(ctx, j, st); err != nil {
		return err
	}
	for i := range j.In {
		if j.Hold || st != nil || s.due(first+uint64(i), first+uint64(i)+1) {
			x.in, x.got = append(x.in, j.In[i]), append(x.got, j.Out[i])
		}
	}
	if !x.held {
		s.enqueue(x, j, st)
		return nil
	}
	if err = s.own(x, j, st); err == nil {
		err = s.hold(ctx, x)
	}
	if err != nil && st != nil {
		st.back.Store(&x.before)
	}
	return err
}

// ask runs the job on the program.
func (s *shadow) ask(ctx context.Context, j *Job, st *shadowState) error {
	if st == nil {
		return s.Program.Run(ctx, j)
	}
	inner := *j
	inner.State = st.State
	err := s.Program.Run(ctx, &inner)
	j.Out, j.Dispatch = inner.Out, inner.Dispatch
	return err
}

// own makes the sample outlive its job.
func (s *shadow) own(x *sample, j *Job, st *shadowState) error {
	x.in, x.got, x.by, x.at = cloneAll(x.in), cloneAll(x.got), j.Dispatch.Backend, time.Now()
	if st == nil {
		return nil
	}
	x.after = tensor.Features{}
	if err := st.Save(x.after); err != nil {
		s.drop()
		return err
	}
	return nil
}

func (s *shadow) enqueue(x *sample, j *Job, st *shadowState) {
	if len(s.queue) == cap(s.queue) {
		s.drop()
		return
	}
	if s.own(x, j, st) != nil {
		return
	}
	select {
	case s.queue <- x:
	default:
		s.drop()
	}
}

func (s *shadow) drop() {
	s.o.Observer.Observe(telemetry.Event{Type: telemetry.Compared, Key: s.o.Key, Time: time.Now(), Reason: "dropped"})
}

// maxBehind is how many comparisons may go on that nobody waits for, before
// answers that are to be held are refused at once.
const maxBehind = 64

// hold compares a sample while its caller waits.
func (s *shadow) hold(ctx context.Context, x *sample) error {
	if n := s.behind.Load(); n >= maxBehind {
		s.drop()
		return fmt.Errorf("%w: %d comparisons have not ended", ErrUncompared, n)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	verdict := make(chan error, 1)
	var alone atomic.Bool // one of the two has gone
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		drifts, err := s.compare(ctx, x)
		verdict <- err
		s.tell(drifts)
		if alone.Swap(true) {
			s.behind.Add(-1)
		}
	}()
	var err error
	select {
	case err = <-verdict:
		if err == nil {
			return nil
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.behind.Add(1)
	if alone.Swap(true) {
		s.behind.Add(-1)
	}
	switch {
	case errors.Is(err, fault.Drift):
		return fmt.Errorf("%w: %w", errNotGiven, err)
	case ctx.Err() == nil:
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("backend: not compared in time, so not given: %w: %w", fault.Timeout, ctx.Err())
	}
	return fmt.Errorf("backend: not compared: %w", ctx.Err())
}

// run recomputes what is in the queue, and at the end what is left there.
func (s *shadow) run() {
	defer s.work.Done()
	for {
		select {
		case x := <-s.queue:
			s.recompute(x)
			continue
		default:
		}
		select {
		case x := <-s.queue:
			s.recompute(x)
		case <-s.closing:
			if len(s.queue) == 0 {
				return
			}
		}
	}
}

func (s *shadow) recompute(x *sample) {
	ctx, cancel := context.WithTimeout(s.life, s.o.Timeout)
	defer cancel()
	drifts, _ := s.compare(ctx, x)
	s.tell(drifts)
}

// compare judges the answers of a sample by the reference's. The error is that of
// the first drift, or ErrUncompared if there is none and the reference could not say.
func (s *shadow) compare(ctx context.Context, x *sample) (drifts []guards.Drift, err error) {
	var st State
	if x.before != nil {
		if st, err = restored(s.reference, x.before); err != nil {
			s.drop()
			return nil, uncompared(err)
		}
		defer st.Close()
	}
	before := x.before
	for i := range x.in {
		start := time.Now()
		d := guards.Drift{In: x.in[i], Got: x.got[i], Before: before, By: x.by, At: x.at, Held: x.held}
		if i == len(x.in)-1 {
			d.Left = x.after
		}
		if err := s.want(ctx, &d, st); err != nil {
			s.drop()
			if len(drifts) > 0 {
				break
			}
			return nil, uncompared(err)
		}
		before = d.After
		judgeDrift(&d, s.o.Limits)
		e := telemetry.Event{Type: telemetry.Compared, Key: s.o.Key, Time: time.Now(), Duration: time.Since(start), Err: d.Err}
		if d.Err != nil {
			e.Detail = d.Differences
			drifts = append(drifts, d)
		}
		s.o.Observer.Observe(e)
	}
	if len(drifts) > 0 {
		return drifts, drifts[0].Err
	}
	return nil, nil
}

// uncompared hides the kind of the reference's error: it says nothing about who was asked.
func uncompared(err error) error { return fmt.Errorf("%w: the reference: %v", ErrUncompared, err) }

// want fills in what the reference says.
func (s *shadow) want(ctx context.Context, d *guards.Drift, st State) error {
	j := &Job{In: []tensor.Features{d.In}, Out: []tensor.Features{{}}, State: st}
	if err := safely(ctx, s.reference, j); err != nil {
		return err
	}
	d.Want, d.Reference = j.Out[0], j.Dispatch.Backend
	if st == nil {
		return nil
	}
	d.After = tensor.Features{}
	return st.Save(d.After)
}

func (s *shadow) tell(drifts []guards.Drift) {
	if len(drifts) == 0 {
		return
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	for _, d := range drifts {
		s.o.Drift(d)
	}
}

// Close waits for runs in flight, and compares what is in the queue, for as long as one
// recomputation may take. A reference that goes on is an error.
func (s *shadow) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.runs.Wait()
	close(s.closing)
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	err := s.ended(done)
	return errors.Join(err, s.Program.Close())
}

// ended waits for comparisons.
func (s *shadow) ended(done <-chan struct{}) error {
	defer s.end()
	for _, wait := range []time.Duration{s.o.Timeout, time.Second} {
		t := time.NewTimer(wait)
		select {
		case <-done:
			t.Stop()
			return nil
		case <-t.C:
			s.end()
		}
	}
	return fmt.Errorf("backend: closing a shadow: %w: the reference goes on", fault.Timeout)
}
