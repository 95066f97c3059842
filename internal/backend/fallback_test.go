package backend_test

import (
	"context"
	"errors"
	"math"
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

// summing is a program whose answer y is x plus offset, and whose state n sums
// up x. What meddle does comes before.
type summing struct {
	name   string
	offset float32
	meddle func(ctx context.Context) error
	runs   atomic.Int64
	closed atomic.Bool
	shift  atomic.Uint32 // bits of an offset that changes while it runs
}

func (p *summing) setOffset(v float32) { p.shift.Store(math.Float32bits(v)) }

func (p *summing) Run(ctx context.Context, j *backend.Job) error {
	p.runs.Add(1)
	if p.meddle != nil {
		if err := p.meddle(ctx); err != nil {
			return err
		}
	}
	for i, in := range j.In {
		x, ok := in["x"].(*tensor.Tensor)
		if !ok {
			return fault.As(fault.Schema, errors.New("no x"))
		}
		n := tensor.Data[float32](x)[0]
		if j.State != nil {
			s := j.State.(*sum)
			s.n += n
			n = s.n
		}
		if j.Out[i] == nil {
			j.Out[i] = tensor.Features{}
		}
		y, ok := j.Out[i]["y"].(*tensor.Tensor)
		if !ok {
			y = tensor.New(tensor.Float32, 1)
			j.Out[i]["y"] = y
		}
		tensor.Data[float32](y)[0] = n + p.offset + math.Float32frombits(p.shift.Load())
	}
	j.Dispatch = guards.Dispatch{Backend: p.name, Unit: p.name + " unit"}
	return nil
}

func (p *summing) NewState() (backend.State, error) { return &sum{}, nil }
func (p *summing) Close() error                     { p.closed.Store(true); return nil }
func (p *summing) Capabilities() backend.Capabilities {
	return backend.Capabilities{Unit: p.name + " unit", Memory: guards.Memory{Weights: 1}}
}

type sum struct {
	n      float32
	broken error
}

func (s *sum) Save(to tensor.Features) error {
	to["n"] = tensor.Scalar(s.n)
	return s.broken
}

func (s *sum) Load(from tensor.Features) error {
	s.n = tensor.Data[float32](from["n"].(*tensor.Tensor))[0]
	return nil
}

func (s *sum) Close() error { return nil }

func x(v float32) []tensor.Features {
	return []tensor.Features{{"x": tensor.Of([]float32{v})}}
}

func y(j *backend.Job) float32 { return tensor.Data[float32](j.Out[0]["y"].(*tensor.Tensor))[0] }

// pair is a chain of a primary with a breaker and a secondary.
type pair struct {
	first, second *summing
	breaker       *breaker.Breaker
	mu            sync.Mutex
	events        []telemetry.Event
	backend.Program
}

func newPair(o backend.FallbackOptions, meddle func(ctx context.Context) error) *pair {
	p := &pair{first: &summing{name: "first", meddle: meddle}, second: &summing{name: "second"}}
	p.breaker = breaker.New(breaker.Key{Backend: "first"}, breaker.Options{}, breaker.Hooks{Rand: func() float64 { return 0.5 }})
	o.Observer = telemetry.Func(func(e telemetry.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, e)
	})
	p.Program = backend.Fallback(o,
		backend.Link{Key: telemetry.Key{Backend: "first", Unit: "planned"}, Program: p.first, Breaker: p.breaker},
		backend.Link{Key: telemetry.Key{Backend: "second"}, Program: p.second, Prompt: true})
	return p
}

func (p *pair) count(typ telemetry.Type) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func run(t *testing.T, p backend.Program, ctx context.Context, v float32) *backend.Job {
	t.Helper()
	j := &backend.Job{In: x(v), Out: make([]tensor.Features, 1)}
	if err := p.Run(ctx, j); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestFallbackAnswersWithTheNext(t *testing.T) {
	for _, c := range []struct {
		name   string
		meddle func(ctx context.Context) error
		reason string
	}{
		{"error", func(context.Context) error { return errors.New("no luck") }, "no luck"},
		{"panic", func(context.Context) error { panic("no luck") }, "no luck"},
		{"killed", func(context.Context) error { return fault.Killed }, "process killed"},
		{"unsupported there", func(context.Context) error { return fault.Unsupported }, "unsupported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(backend.FallbackOptions{}, c.meddle)
			given := tensor.New(tensor.Float32, 1)
			j := &backend.Job{In: x(3), Out: []tensor.Features{{"y": given}}}
			if err := p.Run(context.Background(), j); err != nil {
				t.Fatal(err)
			}
			if y(j) != 3 || j.Out[0]["y"] != given {
				t.Errorf("answer %v in the caller's tensor: %v", y(j), j.Out[0]["y"] == given)
			}
			d := j.Dispatch
			if d.Backend != "second" || d.Unit != "second unit" || d.Requested != "first" || !d.Fallback || !strings.Contains(d.Reason, c.reason) {
				t.Errorf("dispatch %+v", d)
			}
			if err := p.Close(); err != nil || !p.first.closed.Load() || !p.second.closed.Load() {
				t.Errorf("closing: %v", err)
			}
			if err := p.Run(context.Background(), j); !errors.Is(err, fault.Closed) {
				t.Errorf("after closing: %v", err)
			}
		})
	}
}

func TestFallbackSaysWhoAnswersWhenAllIsWell(t *testing.T) {
	p := newPair(backend.FallbackOptions{}, nil)
	defer p.Close()
	j := run(t, p, context.Background(), 2)
	if d := j.Dispatch; d.Backend != "first" || d.Fallback || d.Reason != "" || d.Requested != "first" {
		t.Errorf("dispatch %+v", d)
	}
	if p.second.runs.Load() != 0 {
		t.Error("the second was asked too")
	}
	if n := p.count(telemetry.Answered); n != 1 {
		t.Errorf("%d answers are told", n)
	}
}

func TestFallbackKeepsBadInputAndCancellationFromTheNext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := newPair(backend.FallbackOptions{}, nil)
	defer p.Close()
	for range 30 {
		err := p.Run(context.Background(), &backend.Job{In: []tensor.Features{{}}, Out: make([]tensor.Features, 1)})
		if !errors.Is(err, fault.Schema) {
			t.Fatalf("bad input: %v", err)
		}
	}
	p.first.meddle = func(c context.Context) error { cancel(); <-c.Done(); return c.Err() }
	for range 30 {
		if err := p.Run(ctx, &backend.Job{In: x(1), Out: make([]tensor.Features, 1)}); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
	}
	if p.second.runs.Load() != 0 || p.breaker.Status().State != breaker.Closed || p.breaker.Status().Evidence.Samples != 0 {
		t.Errorf("the second ran %d times, the breaker has %+v", p.second.runs.Load(), p.breaker.Status())
	}
}

func TestFallbackKeepsTimeForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newPair(backend.FallbackOptions{Reserve: 0.4, Stuck: 3}, func(context.Context) error { <-release; return nil })
		for i := range 5 {
			start := time.Now()
			given := tensor.New(tensor.Float32, 1)
			j := &backend.Job{In: x(3), Out: []tensor.Features{{"y": given}}}
			if err := p.Run(within(t, time.Second), j); err != nil {
				t.Fatal(err)
			}
			want := 600 * time.Millisecond
			if i >= 3 { // as many calls are left behind as may be
				want = 0
			}
			if took := time.Since(start); took != want {
				t.Errorf("request %d took %v, want %v", i, took, want)
			}
			if !j.Dispatch.Fallback || !strings.Contains(j.Dispatch.Reason, "timeout") {
				t.Errorf("dispatch %+v", j.Dispatch)
			}
			// The call that was left behind must not touch these any more.
			defer func() {
				if got := tensor.Data[float32](given)[0]; got != 3 {
					t.Errorf("the caller's tensor became %v", got)
				}
			}()
		}
		p.first.offset = 100
		close(release)
		synctest.Wait()
		if n := p.count(telemetry.Late); n != 3 {
			t.Errorf("%d late calls are told, want 3", n)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFallbackCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newPair(backend.FallbackOptions{}, func(context.Context) error { <-release; return nil })
		_ = run(t, p, within(t, time.Second), 1)
		p.Close()
		close(release)
		synctest.Wait()
	})
}

func TestFallbackTimesOutAsAWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(backend.FallbackOptions{}, func(c context.Context) error { <-c.Done(); return c.Err() })
		p.second.meddle = p.first.meddle
		start := time.Now()
		err := p.Run(within(t, time.Second), &backend.Job{In: x(1), Out: make([]tensor.Features, 1)})
		if !errors.Is(err, fault.Timeout) || time.Since(start) != time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		p.Close()
	})
}

func TestFallbackNamesAllFailures(t *testing.T) {
	p := newPair(backend.FallbackOptions{}, func(context.Context) error { return fault.Killed })
	defer p.Close()
	p.second.meddle = func(context.Context) error { return fault.Memory }
	err := p.Run(context.Background(), &backend.Job{In: x(1), Out: make([]tensor.Features, 1)})
	if !errors.Is(err, fault.Killed) || !errors.Is(err, fault.Memory) {
		t.Error(err)
	}
}

func TestFallbackRefusesAnswersThatAreNotAccepted(t *testing.T) {
	p := newPair(backend.FallbackOptions{Accept: func(out tensor.Features) error {
		if tensor.Data[float32](out["y"].(*tensor.Tensor))[0] > 50 {
			return errors.New("too large")
		}
		return nil
	}}, nil)
	defer p.Close()
	p.first.offset = 100
	j := run(t, p, context.Background(), 1)
	if y(j) != 1 || !strings.Contains(j.Dispatch.Reason, "too large") {
		t.Errorf("answer %v, %+v", y(j), j.Dispatch)
	}
	if s := p.breaker.Status(); s.Evidence.Failures != 1 {
		t.Errorf("%+v", s.Evidence)
	}
}

// TestFallbackOpensAndRecovers walks the whole way: failures open the breaker, the
// next answers at once, probes run beside it and are judged by its answers, and
// only good ones bring the first back.
func TestFallbackOpensAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		p := newPair(backend.FallbackOptions{Check: backend.Check(nil)}, func(context.Context) error {
			if broken.Load() {
				return errors.New("no luck")
			}
			return nil
		})
		for range 10 {
			run(t, p, within(t, time.Second), 1)
		}
		if p.breaker.Status().State != breaker.Open || p.first.runs.Load() != 10 {
			t.Fatalf("breaker %v after %d runs", p.breaker.Status().State, p.first.runs.Load())
		}
		j := run(t, p, within(t, time.Second), 1)
		if p.first.runs.Load() != 10 || !strings.Contains(j.Dispatch.Reason, "10 of 10") && !strings.Contains(j.Dispatch.Reason, "0 of 10") {
			t.Errorf("%d runs, reason %q", p.first.runs.Load(), j.Dispatch.Reason)
		}
		broken.Store(false)
		p.first.offset = 100 // it answers again, and wrong
		time.Sleep(3 * time.Second)
		if j := run(t, p, within(t, time.Second), 1); y(j) != 1 || !j.Dispatch.Fallback {
			t.Errorf("the answer of a probe reached the caller: %v, %+v", y(j), j.Dispatch)
		}
		synctest.Wait()
		if s := p.breaker.Status(); s.State != breaker.Open || !strings.Contains(s.Reason.Text, "drift") {
			t.Errorf("after a wrong probe: %+v", s)
		}
		p.first.offset = 0
		for i := 0; p.breaker.Status().State != breaker.Closed && i < 100; i++ {
			time.Sleep(time.Second)
			if j := run(t, p, within(t, time.Second), 1); y(j) != 1 {
				t.Errorf("answer %v", y(j))
			}
			synctest.Wait()
		}
		if j := run(t, p, within(t, time.Second), 1); j.Dispatch.Backend != "first" {
			t.Errorf("it has not come back: %+v", j.Dispatch)
		}
		p.Close()
	})
}

func TestFallbackProbesWithoutCheckAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(backend.FallbackOptions{}, nil)
		p.breaker.Trip("by hand")
		if j := run(t, p, context.Background(), 1); !j.Dispatch.Fallback || !strings.Contains(j.Dispatch.Reason, "by hand") {
			t.Errorf("%+v", j.Dispatch)
		}
		time.Sleep(2 * time.Second)
		if j := run(t, p, context.Background(), 1); j.Dispatch.Backend != "first" {
			t.Errorf("%+v", j.Dispatch)
		}
		synctest.Wait()
		p.Close()
	})
}

// BenchmarkFallbackRun is what a chain adds to a run of its first program.
func BenchmarkFallbackRun(b *testing.B) {
	first := &summing{name: "first"}
	chain := func(prompt bool) backend.Program {
		return backend.Fallback(backend.FallbackOptions{}, backend.Link{Program: first, Breaker: breaker.New(breaker.Key{}, breaker.Options{}, breaker.Hooks{}), Prompt: prompt},
			backend.Link{Program: &summing{name: "second"}, Prompt: true})
	}
	for name, p := range map[string]backend.Program{"direct": first, "prompt": chain(true), "with copies": chain(false)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			j := &backend.Job{In: x(1), Out: []tensor.Features{{}}}
			for b.Loop() {
				if err := p.Run(context.Background(), j); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// heavy is a program that takes memory.
type heavy struct {
	*summing
	bytes atomic.Int64
}

func (p *heavy) Footprint() int64 { return p.bytes.Load() }

// TestProbesAreWeighedWhenTheyEnd: what the program took before does not keep its breaker open.
func TestProbesAreWeighedWhenTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &heavy{summing: &summing{name: "first"}}
		p.bytes.Store(3 << 30)
		b := breaker.New(breaker.Key{}, breaker.Options{Probes: 1, MaxBackoff: time.Second}, breaker.Hooks{})
		c := backend.Fallback(backend.FallbackOptions{Measure: time.Hour, Check: backend.Check(nil)},
			backend.Link{Program: p, Breaker: b, Prompt: true}, backend.Link{Program: &summing{name: "second"}, Prompt: true})
		for range 2 {
			run(t, c, context.Background(), 1)
			synctest.Wait()
		}
		if s := b.Status(); s.State != breaker.Open || s.Reason.Rule != "footprint" {
			t.Fatalf("%+v", s)
		}
		for _, want := range []breaker.State{breaker.Open, breaker.Closed} {
			time.Sleep(2 * time.Second)
			run(t, c, context.Background(), 1)
			synctest.Wait()
			if b.Status().State != want {
				t.Errorf("%d bytes: %v, want %v", p.bytes.Load(), b.Status().State, want)
			}
			p.bytes.Store(1 << 20)
		}
		c.Close()
	})
}
