package backend_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coreml/breaker"
	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/telemetry"
	"coreml/tensor"
)

// heldChain is a chain whose first program is under a shadow.
type heldChain struct {
	first, second, ref *summing
	breaker            *breaker.Breaker
	mu                 sync.Mutex
	drifts             []guards.Drift
	compared, dropped  int
	backend.Program
}

func newHeldChain(o backend.ShadowOptions, f backend.FallbackOptions) *heldChain {
	c := &heldChain{first: &summing{name: "first"}, second: &summing{name: "second"}, ref: &summing{name: "ref"}}
	c.breaker = breaker.New(breaker.Key{}, breaker.Options{}, breaker.Hooks{Rand: func() float64 { return 0.5 }})
	o.Drift = func(d guards.Drift) {
		c.breaker.Drift(d.Err.Error())
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drifts = append(c.drifts, d)
	}
	o.Observer = telemetry.Func(func(e telemetry.Event) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e.Reason == "dropped" {
			c.dropped++
		} else {
			c.compared++
		}
	})
	f.Check = backend.Check(nil)
	c.Program = backend.Fallback(f,
		backend.Link{Key: telemetry.Key{Backend: "first"}, Program: backend.Shadow(c.first, c.ref, o), Breaker: c.breaker, Prompt: true},
		backend.Link{Key: telemetry.Key{Backend: "second"}, Program: c.second, Prompt: true})
	return c
}

// TestHoldGivesNoWrongAnswer: whatever the first program says, and however many
// ask, what callers get is right.
func TestHoldGivesNoWrongAnswer(t *testing.T) {
	for name, offset := range map[string]float32{"wrong": 1, "NaN": float32(math.NaN()), "infinite": float32(math.Inf(1))} {
		synctest.Test(t, func(t *testing.T) {
			c := newHeldChain(backend.ShadowOptions{Share: 1, Hold: true}, backend.FallbackOptions{})
			var callers sync.WaitGroup
			var first atomic.Int64
			for range 8 {
				callers.Go(func() {
					for i := range 50 {
						if i == 20 {
							c.first.setOffset(offset)
						}
						j := run(t, c, within(t, time.Second), float32(i))
						if y(j) != float32(i) {
							t.Errorf("%s: answer %v by %s, want %d", name, y(j), j.Dispatch.Backend, i)
						}
						if !j.Dispatch.Fallback {
							first.Add(1)
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			callers.Wait()
			synctest.Wait()
			s := c.breaker.Status()
			if s.State != breaker.Open || s.Reason.Rule != "drift" {
				t.Errorf("%s: the breaker %+v", name, s)
			}
			if len(c.drifts) == 0 || !c.drifts[0].Held || !errors.Is(c.drifts[0].Err, fault.Drift) || c.compared < int(first.Load())+len(c.drifts) || first.Load() < 100 {
				t.Errorf("%s: %d drifts, %d compared, %d by the first", name, len(c.drifts), c.compared, first.Load())
			}
			c.Close()
		})
	}
}

// TestHoldComparesEveryElement: an answer that is wrong anywhere in a batch is not given.
func TestHoldComparesEveryElement(t *testing.T) {
	p, ref := &summing{name: "p"}, &summing{name: "ref"}
	s := backend.Shadow(&spoiling{Program: p, at: 2}, ref, backend.ShadowOptions{Share: 1, Hold: true})
	defer s.Close()
	j := &backend.Job{In: []tensor.Features{x(1)[0], x(2)[0], x(3)[0], x(4)[0]}, Out: make([]tensor.Features, 4)}
	if err := s.Run(context.Background(), j); !errors.Is(err, fault.Drift) {
		t.Error(err)
	}
}

// spoiling spoils the answer of one element, or the state.
type spoiling struct {
	backend.Program
	at    int // -1: none
	state float32
}

func (p *spoiling) Run(ctx context.Context, j *backend.Job) error {
	err := p.Program.Run(ctx, j)
	if err == nil && p.at >= 0 && p.at < len(j.Out) {
		tensor.Data[float32](j.Out[p.at]["y"].(*tensor.Tensor))[0]++
	}
	if j.State != nil {
		j.State.(*sum).n += p.state
	}
	return err
}

// TestHeldDriftWithoutFallback is an error, and leaves the state as it was.
func TestHeldDriftWithoutFallback(t *testing.T) {
	for name, bad := range map[string]spoiling{"answer": {at: 0}, "state": {at: -1, state: 1}} {
		p := &spoiling{Program: &summing{name: "p"}, at: -1}
		s := backend.Shadow(p, &summing{name: "ref"}, backend.ShadowOptions{Share: 1, Hold: true})
		st, err := s.NewState()
		if err != nil {
			t.Fatal(err)
		}
		step := func() (float32, error) {
			j := &backend.Job{In: x(1), Out: make([]tensor.Features, 1), State: st}
			if err := s.Run(context.Background(), j); err != nil {
				return 0, err
			}
			return y(j), nil
		}
		if v, err := step(); v != 1 || err != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
		p.at, p.state = bad.at, bad.state
		if _, err := step(); !errors.Is(err, fault.Drift) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want drift", name, err)
		}
		p.at, p.state = -1, 0
		saved := tensor.Features{}
		if err := st.Save(saved); err != nil || saved["n"].(*tensor.Tensor).Float32s()[0] != 1 {
			t.Errorf("%s: the state is %v (%v), want 1", name, saved["n"], err)
		}
		if v, err := step(); v != 2 || err != nil {
			t.Errorf("%s: afterwards %v, %v", name, v, err)
		}
		if err := errors.Join(st.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestHoldWithAState: the sequence goes on right while the first program is wrong for a while.
func TestHoldWithAState(t *testing.T) {
	for _, every := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			c := newHeldChain(backend.ShadowOptions{Share: 1, Hold: true}, backend.FallbackOptions{Checkpoint: every})
			st, err := c.NewState()
			if err != nil {
				t.Fatal(err)
			}
			total, back := float32(0), 0
			for i := range 60 {
				c.first.setOffset(map[bool]float32{true: 5}[i >= 7 && i < 20])
				total += float32(i)
				j := &backend.Job{In: x(float32(i)), Out: make([]tensor.Features, 1), State: st}
				if err := c.Run(within(t, time.Second), j); err != nil {
					t.Fatal(err)
				}
				if y(j) != total {
					t.Errorf("step %d: %v by %s, want %v", i, y(j), j.Dispatch.Backend, total)
				}
				if i > 20 && !j.Dispatch.Fallback {
					back++
				}
				time.Sleep(500 * time.Millisecond)
			}
			if len(c.drifts) == 0 || back == 0 {
				t.Errorf("%d drifts; the first answered %d times after it was mended", len(c.drifts), back)
			}
			if err := errors.Join(st.Close(), c.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHoldDoesNotWaitForTheReference longer than the deadline, and keeps few that hang.
func TestHoldDoesNotWaitForTheReference(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := newHeldChain(backend.ShadowOptions{Share: 1, Hold: true}, backend.FallbackOptions{})
		c.ref.meddle = func(context.Context) error { <-release; return nil }
		before := runtime.NumGoroutine()
		for i := range 500 {
			start := time.Now()
			j := run(t, c, within(t, time.Second), 1)
			if took := time.Since(start); y(j) != 1 || !j.Dispatch.Fallback || took > 500*time.Millisecond {
				t.Errorf("request %d: %v by %+v after %v", i, y(j), j.Dispatch, took)
			}
			c.breaker.Reset("so that it is asked again")
		}
		if n := runtime.NumGoroutine() - before; n > 80 {
			t.Errorf("%d goroutines are left", n)
		}
		if len(c.drifts) != 0 || c.dropped == 0 {
			t.Errorf("%d drifts, %d dropped", len(c.drifts), c.dropped)
		}
		close(release)
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestHoldWithoutAVerdict(t *testing.T) {
	no := errors.New("no luck")
	for _, c := range []struct {
		name     string
		meddle   func(context.Context) error
		deadline time.Duration
		want     error
		after    time.Duration
	}{
		{"the reference fails", func(context.Context) error { return no }, time.Hour, backend.ErrUncompared, 0},
		{"the reference dislikes the input", func(context.Context) error { return fault.Schema }, time.Hour, backend.ErrUncompared, 0},
		{"the reference panics", func(context.Context) error { panic(no) }, time.Hour, backend.ErrUncompared, 0},
		{"the deadline passes", func(c context.Context) error { <-c.Done(); return c.Err() }, time.Second, fault.Timeout, time.Second},
		{"the comparison takes too long", func(c context.Context) error { <-c.Done(); return c.Err() }, time.Hour, fault.Timeout, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			ref := &summing{name: "ref", meddle: c.meddle}
			s := backend.Shadow(&summing{name: "p"}, ref, backend.ShadowOptions{Share: 1, Hold: true})
			start := time.Now()
			err := s.Run(within(t, c.deadline), &backend.Job{In: x(1), Out: make([]tensor.Features, 1)})
			if !errors.Is(err, c.want) || errors.Is(err, fault.Schema) || errors.Is(err, fault.Drift) || time.Since(start) != c.after {
				t.Errorf("%s: %v after %v", c.name, err, time.Since(start))
			}
			if err := s.Close(); err != nil {
				t.Errorf("%s: closing: %v", c.name, err)
			}
		})
	}
}

// TestHoldLeavesTheBreakerAlone when it is the reference that fails or the caller that goes.
func TestHoldLeavesTheBreakerAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newHeldChain(backend.ShadowOptions{Share: 1, Hold: true}, backend.FallbackOptions{})
		c.ref.meddle = func(context.Context) error { return fault.Memory }
		for range 30 {
			if j := run(t, c, within(t, time.Second), 1); y(j) != 1 || !j.Dispatch.Fallback || !strings.Contains(j.Dispatch.Reason, "not compared") {
				t.Errorf("%v, %+v", y(j), j.Dispatch)
			}
		}
		for range 30 {
			ctx, cancel := context.WithCancel(context.Background())
			c.ref.meddle = func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }
			err := c.Run(ctx, &backend.Job{In: x(1), Out: make([]tensor.Features, 1)})
			if !errors.Is(err, context.Canceled) || errors.Is(err, fault.Timeout) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if s := c.breaker.Status(); s.State != breaker.Closed || s.Evidence.Samples != 0 || c.second.runs.Load() != 30 {
			t.Errorf("%+v; the second ran %d times", s, c.second.runs.Load())
		}
		c.Close()
	})
}

// TestHeldDriftsAreCountedOnce by the breaker.
func TestHeldDriftsAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := breaker.New(breaker.Key{}, breaker.Options{MaxDrifts: 4, MinSuccess: -1}, breaker.Hooks{})
		s := backend.Shadow(&summing{name: "first", offset: 1}, &summing{name: "ref"}, backend.ShadowOptions{Share: 1, Hold: true,
			Drift: func(d guards.Drift) { b.Drift(d.Err.Error()) }})
		c := backend.Fallback(backend.FallbackOptions{}, backend.Link{Program: s, Breaker: b, Prompt: true}, backend.Link{Program: &summing{name: "second"}, Prompt: true})
		for i := range 6 {
			if want := map[bool]breaker.State{true: breaker.Open}[i >= 5]; b.Status().State != want {
				t.Errorf("after %d drifts it is %v, want %v", i, b.Status().State, want)
			}
			run(t, c, context.Background(), 1)
			synctest.Wait()
		}
		c.Close()
	})
}

// TestProbesAreComparedFirst: with a shadow, whatever its share, no probe closes the
// breaker or reaches a caller before its answer has been compared.
func TestProbesAreComparedFirst(t *testing.T) {
	for _, c := range []struct {
		name       string
		checkpoint int // 0: without a state
		alone      bool
	}{{"on trial", 0, false}, {"on trial with a state", 1, false}, {"with a state that is not known", -1, false}, {"when nobody else answers", 0, true}} {
		synctest.Test(t, func(t *testing.T) {
			p := newHeldChain(backend.ShadowOptions{Share: 1e-6}, backend.FallbackOptions{Checkpoint: c.checkpoint})
			var st backend.State
			if c.checkpoint != 0 {
				var err error
				if st, err = p.NewState(); err != nil {
					t.Fatal(err)
				}
				defer st.Close()
			}
			p.breaker.Trip("by hand")
			p.first.setOffset(1)
			total := float32(0)
			ask := func() (float32, error) {
				time.Sleep(5 * time.Minute)
				j := &backend.Job{In: x(1), Out: make([]tensor.Features, 1), State: st}
				err := p.Run(within(t, time.Second), j)
				synctest.Wait()
				if err == nil {
					total++
					return y(j), nil
				}
				return 0, err
			}
			want := func() float32 {
				if st == nil {
					return 1
				}
				return total
			}
			if c.alone {
				p.second.meddle = func(context.Context) error { return fault.Killed }
			}
			for range 10 {
				v, err := ask()
				if c.alone && !errors.Is(err, fault.Drift) || !c.alone && (err != nil || v != want()) || p.breaker.Status().State == breaker.Closed {
					t.Errorf("%s: %v, %v; the breaker is %v", c.name, v, err, p.breaker.Status().State)
				}
			}
			if p.first.runs.Load() < 10 {
				t.Errorf("%s: %d probes", c.name, p.first.runs.Load())
			}
			p.first.setOffset(0)
			for range 5 {
				if v, err := ask(); err != nil || v != want() {
					t.Errorf("%s: when it is well: %v, %v", c.name, v, err)
				}
			}
			if p.breaker.Status().State != breaker.Closed {
				t.Errorf("%s: it stays %v", c.name, p.breaker.Status().State)
			}
			p.Close()
		})
	}
}

func TestShadowCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ref := &summing{name: "ref", meddle: func(context.Context) error { <-release; return nil }}
		s := backend.Shadow(&summing{name: "p"}, ref, backend.ShadowOptions{Share: 1})
		run(t, s, context.Background(), 1)
		if err := s.Close(); !errors.Is(err, fault.Timeout) {
			t.Errorf("closing: %v", err)
		}
		if err := s.Run(context.Background(), &backend.Job{In: x(1), Out: make([]tensor.Features, 1)}); !errors.Is(err, fault.Closed) {
			t.Errorf("afterwards: %v", err)
		}
		close(release)
		synctest.Wait()
	})
}

// TestHoldRefusesWhatIsNoAnswer, and survives it.
func TestHoldRefusesWhatIsNoAnswer(t *testing.T) {
	for name, out := range map[string]tensor.Features{"nothing": nil, "no tensor": {"y": (*tensor.Tensor)(nil)}, "another output": {"z": "?"}} {
		s := backend.Shadow(&answering{out: out}, &summing{name: "ref"}, backend.ShadowOptions{Share: 1, Hold: true})
		if err := s.Run(context.Background(), &backend.Job{In: x(1), Out: make([]tensor.Features, 1)}); !errors.Is(err, fault.Drift) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
	}
}

// answering is a program with one answer.
type answering struct {
	summing
	out tensor.Features
}

func (p *answering) Run(_ context.Context, j *backend.Job) error {
	j.Out[0] = p.out
	return nil
}

// wide is a program with a large state, of which a run writes one element.
type wide struct {
	summing
	write float32
}

type wideState struct{ v []float32 }

func (p *wide) NewState() (backend.State, error) {
	s := &wideState{make([]float32, 1<<16)}
	for i := range s.v {
		s.v[i] = 1
	}
	return s, nil
}

func (p *wide) Run(ctx context.Context, j *backend.Job) error {
	j.State.(*wideState).v[7] = p.write
	inner := *j
	inner.State = nil
	err := p.summing.Run(ctx, &inner)
	j.Out = inner.Out
	return err
}

func (s *wideState) Save(to tensor.Features) error {
	to["v"] = tensor.Of(append([]float32(nil), s.v...))
	return nil
}

func (s *wideState) Load(from tensor.Features) error {
	copy(s.v, tensor.Data[float32](from["v"].(*tensor.Tensor)))
	return nil
}

func (s *wideState) Close() error { return nil }

// TestShadowJudgesWhatChangedOfAState: one wrong element among many right ones is drift.
func TestShadowJudgesWhatChangedOfAState(t *testing.T) {
	for _, c := range []struct {
		wrote float32
		ok    bool
	}{{2, true}, {2.0001, true}, {3, false}, {1, false}, {float32(math.NaN()), false}} {
		s := backend.Shadow(&wide{write: c.wrote}, &wide{write: 2}, backend.ShadowOptions{Share: 1, Hold: true})
		st, err := s.NewState()
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(context.Background(), &backend.Job{In: x(1), Out: make([]tensor.Features, 1), State: st})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.Drift) {
			t.Errorf("%v for 2: %v", c.wrote, err)
		}
		s.Close()
	}
}
