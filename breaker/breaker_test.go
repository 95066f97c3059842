package breaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coreml/internal/fault"
)

var bad = Outcome{Err: fault.Runtime}

// send lets one request through and reports its outcome; false if it was refused.
func send(b *Breaker, o Outcome) bool {
	t, err := b.Allow()
	if err != nil {
		return false
	}
	t.Done(o)
	return true
}

func sendN(b *Breaker, n int, o Outcome) {
	for range n {
		send(b, o)
	}
}

func middle() float64 { return 0.5 } // no jitter

// inBubble runs f in virtual time.
func inBubble(t *testing.T, o Options, f func(t *testing.T, b *Breaker)) {
	synctest.Test(t, func(t *testing.T) { f(t, New(Key{"m", "ane", "ane"}, o, Hooks{Rand: middle})) })
}

func wantState(t *testing.T, b *Breaker, want State) {
	t.Helper()
	if s := b.Status(); s.State != want {
		t.Fatalf("%v (%v), want %v", s.State, s.Reason, want)
	}
}

func TestEdges(t *testing.T) {
	slow := Outcome{Latency: time.Second + 1}
	type run struct {
		n int
		o Outcome
	}
	for _, c := range []struct {
		name string
		runs []run
		rule string // "": stays closed
	}{
		{"9 failures", []run{{9, bad}}, ""},
		{"10 failures", []run{{10, bad}}, "success"},
		{"the tenth sample is a success", []run{{9, bad}, {1, Outcome{}}}, "success"},
		{"95 of 100", []run{{95, Outcome{}}, {5, bad}}, ""},
		{"94 of 100", []run{{94, Outcome{}}, {6, bad}}, "success"},
		{"19 of 20", []run{{19, Outcome{}}, {1, bad}}, ""},
		{"18 of 19", []run{{18, Outcome{}}, {1, bad}}, "success"},
		{"3 slow of 100", []run{{97, Outcome{}}, {3, slow}}, ""},
		{"4 slow of 100", []run{{96, Outcome{}}, {4, slow}}, "sla"},
		{"3 slow of 3", []run{{3, slow}}, ""},
		{"4 slow of 4", []run{{4, slow}}, "sla"},
		{"just within the SLA", []run{{100, Outcome{Latency: time.Second}}}, ""},
		{"4 slow, 100 apart", []run{{1, slow}, {99, Outcome{}}, {1, slow}, {99, Outcome{}}, {1, slow}, {99, Outcome{}}, {1, slow}}, ""},
		{"2 GiB less 1", []run{{20, Outcome{Footprint: 2<<30 - 1}}}, ""},
		{"2 GiB", []run{{20, Outcome{Footprint: 2 << 30}}}, ""},
		{"2 GiB and 1", []run{{1, Outcome{Footprint: 2<<30 + 1}}}, "footprint"},
		{"drift", []run{{1, Outcome{Err: fmt.Errorf("shadow: %w", fault.Drift)}}}, "drift"},
		{"bad input", []run{{1000, Outcome{Err: fault.Schema, Latency: time.Minute, Footprint: 1 << 40}}}, ""},
		{"cancelled", []run{{1000, Outcome{Err: context.Canceled, Latency: time.Minute}}}, ""},
		{"deadline", []run{{10, Outcome{Err: context.DeadlineExceeded}}}, "success"},
		{"of no kind", []run{{10, Outcome{Err: errors.New("x")}}}, "success"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(Key{}, Options{SLA: time.Second}, Hooks{})
			for _, r := range c.runs {
				if c.rule != "" && b.Status().State != Closed {
					t.Fatal("open before the last run")
				}
				sendN(b, r.n, r.o)
			}
			s := b.Status()
			if (s.State == Open) != (c.rule != "") || s.Reason.Rule != c.rule {
				t.Errorf("%v by %q (%s), want rule %q", s.State, s.Reason.Rule, s.Reason.Text, c.rule)
			}
		})
	}
}

func TestThresholdsAreOptions(t *testing.T) {
	off := New(Key{}, Options{MinSuccess: -1, MaxViolations: -1, MaxFootprint: -1, MaxDrifts: -1, SLA: time.Second}, Hooks{})
	sendN(off, 1000, Outcome{Err: fault.Drift, Latency: time.Hour, Footprint: 1 << 50})
	wantState(t, off, Closed)
	tight := New(Key{}, Options{MinSuccess: 100, MinSamples: 1}, Hooks{})
	send(tight, bad)
	wantState(t, tight, Open)
	n := New(Key{}, Options{MaxDrifts: 2}, Hooks{})
	n.Drift("a")
	n.Drift("b")
	wantState(t, n, Closed)
	n.Drift("c")
	wantState(t, n, Open)
}

// An open breaker lets a probe through after each back-off, for as long as it takes.
func TestATripIsNotForEver(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		sendN(b, 10, bad)
		for range 50 {
			wantState(t, b, Open)
			if send(b, Outcome{}) {
				t.Fatal("let through while open")
			}
			_, err := b.Allow()
			var r *Refusal
			if !errors.As(err, &r) || !errors.Is(err, ErrOpen) || r.Reason.Text == "" || r.Retry <= 0 || r.Retry > 2*time.Minute {
				t.Fatalf("refusal %#v", err)
			}
			time.Sleep(r.Retry)
			if !send(b, bad) {
				t.Fatal("no probe after the back-off")
			}
		}
		time.Sleep(2 * time.Minute)
		sendN(b, 3, Outcome{})
		wantState(t, b, Closed)
		if s := b.Status(); s.Trips != 1 || s.Reopens != 50 {
			t.Errorf("%d trips, %d reopenings, want 1 and 50", s.Trips, s.Reopens)
		}
	})
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		sendN(b, 10, bad)
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 120, 120} {
			if got := b.Status().Retry; got != want*time.Second {
				t.Errorf("back-off %v, want %v", got, want*time.Second)
			}
			time.Sleep(want*time.Second - 1)
			if send(b, bad) {
				t.Error("a probe before the back-off ended")
			}
			time.Sleep(time.Nanosecond)
			send(b, bad)
		}
	})
	for _, r := range []float64{0, 0.25, 0.999} {
		b := New(Key{}, Options{Jitter: 0.1}, Hooks{Rand: func() float64 { return r }})
		b.Trip("x")
		want := time.Second + time.Duration(0.1*(2*r-1)*float64(time.Second))
		if got := b.Status().Retry; got < want-time.Millisecond || got > want {
			t.Errorf("back-off %v for %g, want %v", got, r, want)
		}
	}
}

// Two failures a day never add up, however many days.
func TestLifetimeDoesNotCount(t *testing.T) {
	slow := Outcome{Latency: time.Hour}
	inBubble(t, Options{SLA: time.Second}, func(t *testing.T, b *Breaker) {
		for range 1000 {
			sendN(b, 2, Outcome{Err: fault.Timeout, Latency: time.Hour})
			sendN(b, 1, slow)
			time.Sleep(24 * time.Hour)
		}
		wantState(t, b, Closed)
		for range 1000 { // nor do they at a steady 2 %
			sendN(b, 49, Outcome{})
			send(b, slow)
		}
		// A million good calls do not hide a fault that begins now.
		sendN(b, 1_000_000, Outcome{})
		sendN(b, 6, bad)
		wantState(t, b, Open)
	})
}

// A probe that never reports, or one that is cancelled, does not keep a breaker half-open.
func TestALostProbeDoesNotDeadlock(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		b.Trip("x")
		time.Sleep(time.Second)
		lost, err := b.Allow()
		if err != nil || !lost.Probe() {
			t.Fatal("no probe", err)
		}
		time.Sleep(time.Minute)
		if _, err := b.Allow(); err == nil || b.Status().State != HalfOpen {
			t.Fatal("two probes at a time, or given up too early")
		}
		time.Sleep(time.Nanosecond)
		b.Allow()
		wantState(t, b, Open)
		time.Sleep(2 * time.Second)
		send(b, Outcome{Err: context.Canceled})
		wantState(t, b, HalfOpen)
		send(b, Outcome{})
		lost.Done(bad) // late: of an earlier half-open state
		sendN(b, 2, Outcome{})
		wantState(t, b, Closed)
		if n := b.Status().Late; n != 1 {
			t.Errorf("%d late, want 1", n)
		}
	})
}

// Of 1,000 callers one at a time is a probe.
func TestNoHerdOfProbes(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		b.Trip("x")
		var now, most, through atomic.Int32
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				time.Sleep(time.Second)
				for b.Status().State != Closed {
					if tk, err := b.Allow(); err == nil && tk.Probe() {
						most.Store(max(most.Load(), now.Add(1)))
						through.Add(1)
						time.Sleep(10 * time.Millisecond)
						now.Add(-1)
						tk.Done(Outcome{})
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		if most.Load() != 1 || through.Load() != 3 {
			t.Errorf("%d probes at a time, %d in all, want 1 and 3", most.Load(), through.Load())
		}
	})
}

func TestSlowProbesAreBounded(t *testing.T) {
	inBubble(t, Options{SLA: time.Second, MaxProbes: 5}, func(t *testing.T, b *Breaker) {
		b.Trip("x")
		time.Sleep(time.Second)
		sendN(b, 4, Outcome{Latency: time.Minute})
		wantState(t, b, HalfOpen)
		send(b, Outcome{Latency: time.Minute})
		wantState(t, b, Open)
		time.Sleep(2 * time.Second)
		sendN(b, 2, Outcome{Latency: time.Minute})
		sendN(b, 3, Outcome{})
		wantState(t, b, Closed)
		b.Trip("x")
		time.Sleep(4 * time.Second)
		send(b, Outcome{Footprint: 2<<30 + 1})
		wantState(t, b, Open)
	})
}

func TestClockJumps(t *testing.T) {
	start := time.Unix(1e9, 0)
	now := start
	b := New(Key{}, Options{}, Hooks{Now: func() time.Time { return now }, Rand: middle})
	b.Trip("x")
	now = start.Add(-100 * 365 * 24 * time.Hour) // back: the back-off still takes one second
	if send(b, Outcome{}) {
		t.Fatal("let through at once")
	}
	now = now.Add(time.Second)
	sendN(b, 3, Outcome{})
	wantState(t, b, Closed)
	for range 1000 { // forward: the window is empty
		sendN(b, 9, bad)
		now = now.Add(200 * 365 * 24 * time.Hour)
		wantState(t, b, Closed)
		now = start
	}
	b = New(Key{}, Options{}, Hooks{Now: func() time.Time { return now }, Rand: middle})
	now = start.Add(1<<63 - 1 - 500*time.Millisecond)
	b.Trip("x") // its back-off must not end beyond the range of a duration
	if send(b, Outcome{}) {
		t.Error("let through at once after the longest jump")
	}
}

func TestAge(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  State
	}{{time.Minute, Open}, {time.Minute + 1, Closed}} {
		inBubble(t, Options{Age: time.Minute}, func(t *testing.T, b *Breaker) {
			sendN(b, 5, bad)
			time.Sleep(c.after)
			sendN(b, 5, bad)
			wantState(t, b, c.want)
		})
	}
}

// A backend that answers probes and fails otherwise changes the state at most as often as the longest back-off allows.
func TestFlapping(t *testing.T) {
	const days = 30
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		b := New(Key{}, Options{}, Hooks{OnChange: func(c Change) {
			if c.To == Open {
				opened++
			}
		}})
		for start := time.Now(); time.Since(start) < days*24*time.Hour; time.Sleep(max(time.Second, b.Status().Retry)) {
			tk, err := b.Allow()
			switch {
			case err != nil:
			case tk.Probe():
				tk.Done(Outcome{})
			default:
				tk.Done(bad)
			}
		}
		most := days*24*3600/(120*8/10) + 10
		t.Logf("opened %d times in %d days", opened, days)
		if opened > most || opened < most/3 {
			t.Errorf("opened %d times in %d days, want at most %d", opened, days, most)
		}
	})
}

func TestSteadyForgetsTheBackoff(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		for _, c := range []struct{ steady, want time.Duration }{{0, 1}, {119, 2}, {120, 1}, {1, 2}} {
			time.Sleep(c.steady * time.Second)
			b.Trip("x")
			if got := b.Status().Retry; got != c.want*time.Second {
				t.Errorf("back-off %v after %d steady seconds, want %v s", got, c.steady, int(c.want))
			}
			time.Sleep(c.want * time.Second)
			sendN(b, 3, Outcome{})
			wantState(t, b, Closed)
		}
	})
}

func TestByHand(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		b.Hold("a new driver")
		b.Trip("x")
		time.Sleep(1000 * time.Hour)
		if send(b, Outcome{}) {
			t.Fatal("let through while held")
		}
		if s := b.Status(); !s.Held || s.Retry != 0 || s.Trips != 1 {
			t.Errorf("status %+v", s)
		}
		b.Reset("done")
		wantState(t, b, Closed)
		b.Trip("x")
		if got := b.Status().Retry; got != time.Second {
			t.Errorf("back-off %v after Reset, want 1s", got)
		}
	})
}

func TestDoneCountsOnce(t *testing.T) {
	b := New(Key{}, Options{}, Hooks{})
	tk, _ := b.Allow()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { tk.Done(bad) })
	}
	wg.Wait()
	if s := b.Status(); s.Evidence.Samples != 1 || s.Evidence.Failures != 1 {
		t.Errorf("counted %+v, want one failure", s.Evidence)
	}
}

// An outcome from before a trip neither closes the breaker nor opens it again.
func TestLateOutcomes(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		var early []*Ticket
		for range 20 {
			tk, _ := b.Allow()
			early = append(early, tk)
		}
		for _, tk := range early[:10] {
			tk.Done(bad)
		}
		time.Sleep(time.Second)
		send(b, Outcome{})
		wantState(t, b, HalfOpen)
		for _, tk := range early[10:] {
			tk.Done(bad)
		}
		wantState(t, b, HalfOpen)
		sendN(b, 2, Outcome{})
		wantState(t, b, Closed)
		if n := b.Status().Late; n != 10 {
			t.Errorf("%d late, want 10", n)
		}
	})
}

// Drift that the shadow finds while half-open opens again; answers of probes cannot show it.
func TestDriftWhileHalfOpen(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, b *Breaker) {
		b.Drift("output y: 0.3")
		time.Sleep(time.Second)
		send(b, Outcome{})
		b.Drift("output y: 0.4")
		if s := b.Status(); s.State != Open || s.Reason != (Reason{"drift", "output y: 0.4"}) {
			t.Errorf("%v, %v", s.State, s.Reason)
		}
		b.Drift("while open")
		if n := b.Status().Evidence.Drifts; n != 0 {
			t.Errorf("%d drifts counted while open", n)
		}
	})
}

func TestChangesCarryEvidenceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var first Change
		var b *Breaker
		b = New(Key{"m", "ane", "ane"}, Options{}, Hooks{Rand: middle, OnChange: func(c Change) {
			if len(got) == 0 {
				first = c
			}
			got = append(got, fmt.Sprintf("%v>%v %s", c.From, c.To, c.Reason.Rule))
			b.Status() // may be called from here
			if c.To == Closed {
				b.Trip("again")
			}
		}})
		sendN(b, 90, Outcome{})
		sendN(b, 6, Outcome{Err: fmt.Errorf("ane: %s: %w", strings.Repeat("x", 1000), fault.Timeout)})
		time.Sleep(time.Second)
		sendN(b, 3, Outcome{})
		want := "closed>open success, open>half-open success, half-open>closed probe, closed>open hand"
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("changes: %s, want %s", s, want)
		}
		e := first.Evidence
		if e.Samples != 95 || e.Failures != 5 || first.Trips != 1 || first.Backoff != time.Second || len(e.LastFailure) > 300 || first.At.IsZero() {
			t.Errorf("evidence %+v", first)
		}
		js, err := json.Marshal(first)
		if err != nil || !strings.Contains(string(js), `"from":"closed","to":"open","reason":{"rule":"success"`) {
			t.Errorf("JSON %s, %v", js, err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	b := New(Key{}, Options{Backoff: time.Microsecond, MaxBackoff: time.Microsecond, SLA: 1}, Hooks{OnChange: func(Change) {}})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 2000 {
				send(b, Outcome{Err: []error{nil, fault.Runtime}[i/100%2], Latency: time.Duration(i % 3)})
				if i%500 == g {
					b.Drift("x")
					b.Status()
				}
			}
		})
	}
	wg.Wait()
	b.Reset("end")
	if !send(b, Outcome{}) {
		t.Error("refused after Reset")
	}
}

func BenchmarkAllowDone(b *testing.B) {
	br := New(Key{}, Options{}, Hooks{})
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			send(br, Outcome{})
		}
	})
}
