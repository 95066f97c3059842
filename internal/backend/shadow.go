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
	// Dropped is told how many answers of the share were not compared so far,
	// for want of room or of the reference's answer; nil: nobody is.
	Dropped func(total uint64)
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
	if o.Dropped == nil {
		o.Dropped = func(uint64) {}
	}
	return o
}

// Drifted is the evidence of an answer that parts from the reference.
type Drifted struct {
	In, Got, Want tensor.Features
	Before        tensor.Features // the state before; nil: none was given
	By, Reference string          // the backends
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
	work      sync.WaitGroup
	answers   atomic.Uint64
	dropped   atomic.Uint64
}

// sample is an answer to be recomputed. It owns what it holds.
type sample struct {
	in, got, before tensor.Features
	stateful        bool
	by              string
}

// due reports whether the n-th answer is one of the share, which are evenly spaced.
func (s *shadow) due(n uint64) bool {
	return math.Floor(float64(n)*s.o.Share) > math.Floor(float64(n-1)*s.o.Share)
}

func (s *shadow) Run(ctx context.Context, j *Job) error {
	if len(j.In) == 0 || !s.due(s.answers.Add(1)) {
		return s.Program.Run(ctx, j)
	}
	x := sample{stateful: j.State != nil}
	if x.stateful {
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
	select {
	case s.queue <- x:
	default:
		s.drop()
	}
	return nil
}

func (s *shadow) drop() {
	s.o.Dropped(s.dropped.Add(1))
}

// run recomputes what is in the queue.
func (s *shadow) run() {
	defer s.work.Done()
	for {
		select {
		case x := <-s.queue:
			s.recompute(x)
		case <-s.life.Done():
			return
		}
	}
}

func (s *shadow) recompute(x sample) {
	ctx, cancel := context.WithTimeout(s.life, s.o.Timeout)
	defer cancel()
	start := time.Now()
	want, by, err := s.want(ctx, x)
	if err != nil {
		s.drop() // the reference could not say
		return
	}
	differences, err := judge(s.o.Limits, x.got, want)
	e := telemetry.Event{Type: telemetry.Compared, Key: s.o.Key, Time: time.Now(), Duration: time.Since(start), Err: err}
	if err != nil {
		e.Detail = differences
		s.o.Drift(Drifted{In: x.in, Got: x.got, Want: want, Before: x.before, By: x.by, Reference: by, Differences: differences, Err: err})
	}
	s.o.Observer.Observe(e)
}

func (s *shadow) want(ctx context.Context, x sample) (tensor.Features, string, error) {
	j := &Job{In: []tensor.Features{x.in}, Out: []tensor.Features{{}}}
	if x.stateful {
		st, err := restored(s.reference, x.before)
		if err != nil {
			return nil, "", err
		}
		defer st.Close()
		j.State = st
	}
	if err := safely(ctx, s.reference, j); err != nil {
		return nil, "", err
	}
	return j.Out[0], j.Dispatch.Backend, nil
}

// Close gives up what is in the queue.
func (s *shadow) Close() error {
	s.end()
	s.work.Wait()
	return s.Program.Close()
}
