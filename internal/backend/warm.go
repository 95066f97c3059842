package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"coreml/internal/fault"
	"coreml/telemetry"
	"coreml/tensor"
)

// ErrWarming is the error of runs of a program that is not there yet. It wraps fault.Load.
var ErrWarming = fmt.Errorf("backend: not ready: %w", fault.Load)

// WarmOptions say when a program that loads in the background may answer. The
// zero value has the defaults.
type WarmOptions struct {
	Key telemetry.Key
	// Wait makes Warm return only when the first attempt to load has ended.
	Wait bool
	// Checks is how many answers have to pass Check before the program answers; 0: 2.
	Checks int
	// Check judges an answer by that of Reference to the same request; nil: answers are not checked.
	Check     func(got, want tensor.Features) error
	Reference Program
	// LoadTimeout bounds one attempt to load, and RunTimeout one answer to be
	// checked; 0: 30 minutes and 1 minute.
	LoadTimeout, RunTimeout time.Duration
	// Backoff is how long to wait before loading again after a failure; it
	// doubles up to 32 times that. 0: 15 s.
	Backoff time.Duration

	Observer telemetry.Observer // nil: nobody
}

func (o WarmOptions) orDefaults() WarmOptions {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.LoadTimeout, 30*time.Minute)
	set(&o.RunTimeout, time.Minute)
	set(&o.Backoff, 15*time.Second)
	if o.Checks <= 0 {
		o.Checks = 2
	}
	if o.Check == nil || o.Reference == nil {
		o.Checks = 0
	}
	if o.Observer == nil {
		o.Observer = telemetry.Func(func(telemetry.Event) {})
	}
	return o
}

// Warm is a program that is being loaded. Until it is there, and has passed
// the check on requests that came meanwhile, its runs fail at once with
// ErrWarming, so that the next of a chain answers. One that could not be
// loaded is loaded again after a while, when somebody asks for it.
func Warm(load func(context.Context) (Program, error), o WarmOptions) Program {
	w := &warming{load: load, o: o.orDefaults()}
	w.life, w.end = context.WithCancel(context.Background())
	w.mu.Lock()
	done := w.begin()
	w.mu.Unlock()
	if w.o.Wait {
		<-done
	}
	return w
}

// How far a program has come.
const (
	warmLoads   = "it is being loaded"
	warmChecked = "its answers are being checked"
	warmFailed  = "it could not be loaded"
)

type warming struct {
	load func(context.Context) (Program, error)
	o    WarmOptions
	life context.Context
	end  context.CancelFunc

	ready atomic.Pointer[Program]

	mu       sync.Mutex
	phase    string
	why      error   // of warmFailed
	begun    Program // of warmChecked
	passed   int
	checking bool
	failures int
	retry    time.Time // when to load again; zero: never
	closed   bool
	work     sync.WaitGroup // loading and checking
}

// begin starts to load. w.mu is held.
func (w *warming) begin() <-chan struct{} {
	w.phase, w.passed = warmLoads, 0
	w.work.Add(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer w.work.Done()
		ctx, cancel := context.WithTimeout(w.life, w.o.LoadTimeout)
		defer cancel()
		p, err := w.loadSafely(ctx)
		if err != nil {
			w.fail(err)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.begun, w.phase = p, warmChecked
		if w.o.Checks == 0 {
			w.open()
		}
	}()
	return done
}

func (w *warming) loadSafely(ctx context.Context) (p Program, err error) {
	defer func() {
		if v := recover(); v != nil {
			p, err = nil, fmt.Errorf("%w: panic: %v", fault.Load, v)
		}
	}()
	return w.load(ctx)
}

// open moves traffic to the program. w.mu is held.
func (w *warming) open() {
	p := w.begun
	w.ready.Store(&p)
	w.o.Observer.Observe(telemetry.Event{Type: telemetry.Swapped, Key: w.o.Key, Time: time.Now(), To: w.o.Key.Backend})
}

// permanent failures will be the same the next time.
var permanent = []error{fault.Unsupported, fault.Invalid, fault.Limit}

func (w *warming) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase, w.why, w.begun = warmFailed, err, nil
	w.retry = time.Now().Add(w.o.Backoff << min(w.failures, 5))
	w.failures++
	for _, k := range permanent {
		if errors.Is(err, k) {
			w.retry = time.Time{}
		}
	}
}

// program is the loaded one, or why it may not answer yet.
func (w *warming) program() (Program, error) {
	if p := w.ready.Load(); p != nil {
		return *p, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, fmt.Errorf("backend: %w", fault.Closed)
	}
	err := fmt.Errorf("%w: %s", ErrWarming, w.phase)
	if w.phase == warmFailed {
		err = fmt.Errorf("%w: %s: %w", ErrWarming, w.phase, w.why)
		if !w.retry.IsZero() && !time.Now().Before(w.retry) {
			w.begin()
		}
	}
	return nil, err
}

// Run implements Program.
func (w *warming) Run(ctx context.Context, j *Job) error {
	p, err := w.program()
	if err != nil {
		w.offer(j)
		return err
	}
	st, ok := j.State.(*warmState)
	if !ok {
		return p.Run(ctx, j)
	}
	inner := *j
	if inner.State, err = st.real(p); err != nil {
		return err
	}
	err = p.Run(ctx, &inner)
	j.Out, j.Dispatch = inner.Out, inner.Dispatch
	return err
}

// offer takes a request to check the program with, if it wants one now.
func (w *warming) offer(j *Job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.checking || w.phase != warmChecked || w.ready.Load() != nil || len(j.In) == 0 {
		return
	}
	w.checking = true
	w.work.Add(1)
	p, in := w.begun, cloneFeatures(j.In[0])
	go func() {
		defer w.work.Done()
		w.judge(w.check(p, in))
	}()
}

// errUnjudged is of a request that the reference does not answer: it says nothing.
var errUnjudged = errors.New("the reference did not answer")

func (w *warming) check(p Program, in tensor.Features) error {
	ctx, cancel := context.WithTimeout(w.life, w.o.RunTimeout)
	defer cancel()
	answers := [2]tensor.Features{}
	for i, p := range []Program{w.o.Reference, p} {
		j := &Job{In: []tensor.Features{in}, Out: []tensor.Features{{}}}
		if err := safely(ctx, p, j); err != nil {
			if i == 0 {
				return errUnjudged
			}
			return err
		}
		answers[i] = j.Out[0]
	}
	return w.o.Check(answers[1], answers[0])
}

func (w *warming) judge(err error) {
	w.mu.Lock()
	w.checking = false
	p := w.begun
	if err == nil {
		if w.passed++; w.passed == w.o.Checks {
			w.open()
		}
	}
	w.mu.Unlock()
	if err == nil || err == errUnjudged || w.life.Err() != nil {
		return
	}
	w.fail(err)
	_ = p.Close() // it is not going to be asked
}

// NewState implements Program. The state of a program that is not there yet is
// made when it first runs with it.
func (w *warming) NewState() (State, error) {
	p, err := w.program()
	if errors.Is(err, ErrWarming) {
		return &warmState{}, nil
	}
	if err != nil {
		return nil, err
	}
	return p.NewState()
}

// warmState is a state that waits for its program. Its user calls it once at a time.
type warmState struct {
	inner State
	from  tensor.Features // what was loaded meanwhile
}

func (s *warmState) real(p Program) (State, error) {
	if s.inner == nil {
		inner, err := restored(p, s.from)
		if err != nil {
			return nil, err
		}
		s.inner, s.from = inner, nil
	}
	return s.inner, nil
}

func (s *warmState) Save(to tensor.Features) error {
	if s.inner == nil {
		return fmt.Errorf("%w: it has not run with this state", ErrWarming)
	}
	return s.inner.Save(to)
}

func (s *warmState) Load(from tensor.Features) error {
	if s.inner != nil {
		return s.inner.Load(from)
	}
	if s.from == nil {
		s.from = tensor.Features{}
	}
	maps.Copy(s.from, cloneFeatures(from))
	return nil
}

func (s *warmState) Close() error {
	if s.inner == nil {
		return nil
	}
	return s.inner.Close()
}

// Capabilities are nothing until the program answers.
func (w *warming) Capabilities() Capabilities {
	if p := w.ready.Load(); p != nil {
		return (*p).Capabilities()
	}
	return Capabilities{}
}

// Close ends loading, waits for it, and closes what was loaded.
func (w *warming) Close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return nil
	}
	w.end()
	w.work.Wait()
	if w.begun == nil {
		return nil
	}
	return w.begun.Close()
}
