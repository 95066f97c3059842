package backend

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"coreml/internal/telemetry"
	"coreml/tensor"
)

// ShadowOptions say which answers are recomputed, and what becomes of those that
// part from the reference. The zero value of a field has its default.
type ShadowOptions struct {
	Key     telemetry.Key
	Share   float64           // of the answers: 0.01 is every hundredth; 0: 0.01
	Queue   int               // answers that may wait; 0: 16
	Limits  map[string]Limits // by output; those of an output's dtype otherwise
	Timeout time.Duration     // of one recomputation; 0: 1 minute

	// Drift is told of answers beyond the limits, one at a time; nil: nobody is.
	Drift    func(Drifted)
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
		o.Drift = func(Drifted) {}
	}
	if o.Observer == nil {
		o.Observer = telemetry.Func(func(telemetry.Event) {})
	}
	return o
}

// Drifted is the evidence of an answer that parts from the reference.
type Drifted struct {
	In, Got, Want tensor.Features
	Before, After tensor.Features // the state, as the reference had it; nil: none was given
	By, Reference string          // the backends
	At            time.Time       // when By answered
	Differences   []Difference
	Err           error // wraps fault.Drift
}

// Shadow is p, of whose answers a share is recomputed by the reference after they
// were given, and compared. No run waits for that: what finds the queue full is
// dropped. The reference is not closed with it.
func Shadow(p, reference Program, o ShadowOptions) Program {
	s := &shadow{Program: p, reference: reference, o: o.orDefaults()}
	s.queue = make(chan sample, s.o.Queue)
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
	queue     chan sample
	life      context.Context
	end       context.CancelFunc
	closing   chan struct{}
	closed    sync.Once
	work      sync.WaitGroup
	answers   atomic.Uint64
}

// sample is an answer to be recomputed. It owns what it holds.
type sample struct {
	in, got tensor.Features
	before  tensor.Features // the state; nil: none was given
	by      string
	at      time.Time
}

// due reports whether the n-th answer is one of the share, which are evenly spaced.
func (s *shadow) due(n uint64) bool {
	return math.Floor(float64(n)*s.o.Share) > math.Floor(float64(n-1)*s.o.Share)
}

func (s *shadow) Run(ctx context.Context, j *Job) error {
	if len(j.In) == 0 || !s.due(s.answers.Add(1)) {
		return s.Program.Run(ctx, j)
	}
	var x sample
	if j.State != nil {
		x.before = tensor.Features{}
		if err := j.State.Save(x.before); err != nil {
			return s.Program.Run(ctx, j) // which says what is wrong with it
		}
	}
	if err := s.Program.Run(ctx, j); err != nil {
		return err
	}
	if len(s.queue) == cap(s.queue) {
		s.drop()
		return nil
	}
	x.in, x.got, x.by = cloneFeatures(j.In[0]), cloneFeatures(j.Out[0]), j.Dispatch.Backend
	x.at = time.Now()
	select {
	case s.queue <- x:
	default:
		s.drop()
	}
	return nil
}

func (s *shadow) drop() {
	s.o.Observer.Observe(telemetry.Event{Type: telemetry.Compared, Key: s.o.Key, Time: time.Now(), Reason: "dropped"})
}

// run recomputes what is in the queue.
func (s *shadow) run() {
	defer s.work.Done()
	for {
		select {
		case x := <-s.queue:
			s.recompute(x)
		case <-s.closing:
			s.finish()
			return
		}
	}
}

// finish recomputes what is in the queue already.
func (s *shadow) finish() {
	for {
		select {
		case x := <-s.queue:
			s.recompute(x)
		default:
			return
		}
	}
}

func (s *shadow) recompute(x sample) {
	ctx, cancel := context.WithTimeout(s.life, s.o.Timeout)
	defer cancel()
	start := time.Now()
	d := Drifted{In: x.in, Got: x.got, Before: x.before, By: x.by, At: x.at}
	err := s.want(ctx, &d)
	if err != nil {
		s.drop() // the reference could not say
		return
	}
	d.Differences, d.Err = judge(s.o.Limits, d.Got, d.Want)
	e := telemetry.Event{Type: telemetry.Compared, Key: s.o.Key, Time: time.Now(), Duration: time.Since(start), Err: d.Err}
	if d.Err != nil {
		e.Detail = d.Differences
		s.o.Drift(d)
	}
	s.o.Observer.Observe(e)
}

// want fills in what the reference says.
func (s *shadow) want(ctx context.Context, d *Drifted) error {
	j := &Job{In: []tensor.Features{d.In}, Out: []tensor.Features{{}}}
	if d.Before != nil {
		st, err := restored(s.reference, d.Before)
		if err != nil {
			return err
		}
		defer st.Close()
		j.State = st
	}
	if err := safely(ctx, s.reference, j); err != nil {
		return err
	}
	d.Want, d.Reference = j.Out[0], j.Dispatch.Backend
	if j.State == nil {
		return nil
	}
	d.After = tensor.Features{}
	return j.State.Save(d.After)
}

// Close compares what is in the queue, for as long as one recomputation may take.
func (s *shadow) Close() error {
	s.closed.Do(func() { close(s.closing) })
	t := time.AfterFunc(s.o.Timeout, s.end)
	s.work.Wait()
	t.Stop()
	s.end()
	return s.Program.Close()
}
