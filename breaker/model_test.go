package breaker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"coreml/internal/fault"
)

// model is the specification of a breaker, slow and obvious: it keeps the whole
// history and works everything out from it.
type model struct {
	o      Options
	now    time.Duration
	rand   func() float64
	all    []result        // every outcome that counted
	drifts []time.Duration // every drift
	from   int             // all[from:] belong to the present state
	fromD  int

	state                         State
	moves                         []State // where it went
	trips, reopens, late, refused int
	opened                        int // openings that the back-off remembers
	end                           time.Duration
	closedAt                      time.Duration
	held                          bool
	probe                         *pass
	probeAt                       time.Duration
}

type result struct {
	at      time.Duration
	failed  bool
	slow    bool
	bytes   int64
	isDrift bool
}

// pass is the model's ticket.
type pass struct {
	move int
	done bool
}

func (m *model) enter(s State) {
	m.state = s
	m.moves = append(m.moves, s)
	m.from, m.fromD = len(m.all), len(m.drifts)
	m.probe = nil
	if s == Closed {
		m.closedAt = m.now
	}
}

func (m *model) open() {
	if m.state != Open {
		m.opened++
	}
	d := m.o.Backoff
	for i := 1; i < m.opened; i++ {
		d = min(2*d, m.o.MaxBackoff)
	}
	m.end = m.now + d + time.Duration(float64(d)*m.o.Jitter*(2*m.rand()-1))
	m.enter(Open)
}

func (m *model) trip() {
	if m.state == Closed && m.now-m.closedAt >= m.o.Steady {
		m.opened = 0
	}
	if m.state != Open {
		m.trips++
	}
	m.open()
}

func (m *model) reopen() {
	m.reopens++
	m.open()
}

// window is what the rules look at.
func (m *model) window() (w []result, drifts int) {
	for _, r := range m.all[max(m.from, len(m.all)-m.o.Samples):] {
		if m.now-r.at <= m.o.Age {
			w = append(w, r)
		}
	}
	for _, d := range m.drifts[m.fromD:] {
		if m.now-d <= m.o.Age {
			drifts++
		}
	}
	return w, drifts
}

func (m *model) evidence() Evidence {
	w, drifts := m.window()
	e := Evidence{Samples: len(w), Drifts: min(drifts, m.o.MaxDrifts+1)}
	for _, r := range w {
		if r.failed {
			e.Failures++
		}
		if r.slow {
			e.Violations++
		}
	}
	if len(w) > 0 {
		e.Span = m.now - w[0].at
	}
	for _, r := range m.all[m.from:] {
		if r.bytes != 0 {
			e.Footprint = r.bytes
		}
	}
	return e
}

func (m *model) judge() {
	e := m.evidence()
	few := float64(e.Samples-e.Failures) < m.o.MinSuccess/100*float64(e.Samples)
	slow := e.Violations > int(m.o.MaxViolations)
	if e.Samples > 100 {
		slow = float64(e.Violations)/float64(e.Samples) > m.o.MaxViolations/100
	}
	if e.Samples >= m.o.MinSamples && few || slow || e.Footprint > m.o.MaxFootprint || e.Drifts > m.o.MaxDrifts {
		m.trip()
	}
}

func (m *model) allow() *pass {
	if m.state == HalfOpen && m.probe != nil && m.now-m.probeAt > m.o.ProbeTimeout {
		m.reopen()
	}
	if m.state == Open && !m.held && m.now >= m.end {
		m.enter(HalfOpen)
	}
	p := &pass{move: len(m.moves)}
	switch {
	case m.state == Closed:
		return p
	case m.state == HalfOpen && m.probe == nil:
		m.probe, m.probeAt = p, m.now
		return p
	}
	m.refused++
	return nil
}

func (m *model) finish(p *pass, o Outcome) {
	if p.done {
		return
	}
	p.done = true
	if p.move != len(m.moves) {
		m.late++
		return
	}
	m.probe = nil
	if o.Err != nil && fault.ByCaller(o.Err) {
		return
	}
	r := result{at: m.now, failed: o.Err != nil, slow: o.Latency > m.o.SLA, bytes: o.Footprint, isDrift: errors.Is(o.Err, fault.Drift)}
	m.all = append(m.all, r)
	if r.isDrift {
		m.drifts = append(m.drifts, m.now)
	}
	if m.state == Closed {
		m.judge()
		return
	}
	good := 0
	for _, r := range m.all[m.from:] {
		if !r.slow {
			good++
		}
	}
	switch {
	case r.failed || r.bytes > m.o.MaxFootprint:
		m.reopen()
	case good == m.o.Probes:
		m.enter(Closed)
	case len(m.all)-m.from == m.o.MaxProbes:
		m.reopen()
	}
}

func (m *model) drift() {
	if m.state == Open {
		return
	}
	m.drifts = append(m.drifts, m.now)
	if m.state == HalfOpen {
		m.reopen()
		return
	}
	m.judge()
}

func (m *model) reset() {
	m.opened, m.held = 0, false
	if m.state != Closed {
		m.enter(Closed)
		return
	}
	m.closedAt = m.now
	m.from, m.fromD = len(m.all), len(m.drifts)
}

// both drives a breaker and its model through the same steps.
type both struct {
	r      *rand.Rand
	clock  time.Time
	b      *Breaker
	m      *model
	moves  []State
	passes []*pass
	tix    []*Ticket
	bad    float64 // share of failures in this phase
	slow   float64
	pace   time.Duration
}

func newBoth(seed uint64) *both {
	d := &both{r: rand.New(rand.NewPCG(seed, 2)), clock: time.Unix(1e9, 0)}
	o := Options{Samples: 20 + d.r.IntN(200), Age: time.Minute, SLA: time.Second, MaxDrifts: d.r.IntN(3), MaxProbes: 6, ProbeTimeout: 20 * time.Second}
	a, b := rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 3))
	d.b = New(Key{}, o, Hooks{Now: func() time.Time { return d.clock }, Rand: a.Float64,
		OnChange: func(c Change) { d.moves = append(d.moves, c.To) }})
	d.m = &model{o: o.withDefaults(), rand: b.Float64}
	return d
}

func (d *both) outcome() Outcome {
	o := Outcome{Latency: time.Duration(d.r.Int64N(int64(time.Second) + 1))}
	if d.r.Float64() < d.slow {
		o.Latency += time.Second
	}
	if d.r.Float64() < d.bad {
		o.Err = []error{fault.Runtime, fault.Timeout, fault.Killed, errors.New("other")}[d.r.IntN(4)]
	}
	switch d.r.IntN(500) {
	case 0:
		o.Err = fault.Drift
	case 1:
		o.Footprint = 2<<30 + int64(d.r.IntN(3)) - 1
	case 2, 3, 4, 5, 6, 7, 8, 9:
		o.Err = []error{fault.Invalid, fault.Schema, fmt.Errorf("x: %w", fault.Closed)}[d.r.IntN(3)]
	}
	return o
}

func (d *both) step(tb testing.TB) {
	if d.r.IntN(1000) == 0 {
		d.bad = []float64{0, 0, 0.02, 0.06, 0.5, 1}[d.r.IntN(6)]
		d.slow = []float64{0, 0, 0.02, 0.05, 1}[d.r.IntN(5)]
		d.pace = []time.Duration{time.Millisecond, 50 * time.Millisecond, 3 * time.Second}[d.r.IntN(3)]
	}
	switch k := d.r.IntN(1000); {
	case k < 350:
		t, _ := d.b.Allow()
		p := d.m.allow()
		if (t == nil) != (p == nil) {
			tb.Fatalf("Allow gives %v, the model %v", t, p)
		}
		if t != nil && len(d.tix) < 8 {
			d.tix, d.passes = append(d.tix, t), append(d.passes, p)
		}
	case k < 700 && len(d.tix) > 0:
		i, o := d.r.IntN(len(d.tix)), d.outcome()
		d.tix[i].Done(o)
		d.m.finish(d.passes[i], o)
		if d.r.IntN(8) != 0 { // else a second Done may follow
			d.tix = append(d.tix[:i], d.tix[i+1:]...)
			d.passes = append(d.passes[:i], d.passes[i+1:]...)
		}
	case k < 993:
		d.pass(time.Duration(d.r.Int64N(int64(d.pace) + 1)))
	case k < 994:
		d.pass(-time.Duration(d.r.Int64N(int64(time.Hour))))
	case k < 995:
		d.pass(time.Duration(d.r.Int64N(int64(time.Hour))))
	default:
		d.byHand(k)
	}
}

func (d *both) pass(t time.Duration) {
	d.clock = d.clock.Add(t)
	d.m.now += max(t, 0)
	d.b.Status() // each step of the clock is seen
}

func (d *both) byHand(k int) {
	switch k {
	case 995:
		d.b.Trip("x")
		d.m.trip()
	case 996:
		d.b.Hold("x")
		d.m.trip()
		d.m.held = true
	case 997, 998:
		d.b.Reset("x")
		d.m.reset()
	case 999:
		d.b.Drift("x")
		d.m.drift()
	}
}

func (d *both) check(t *testing.T, seed uint64, step int) {
	t.Helper()
	have := d.b.Status()
	have.Evidence.LastFailure = ""
	m := d.m
	want := Status{State: m.state, Since: have.Since, Reason: have.Reason, Held: m.held, Trips: m.trips, Reopens: m.reopens,
		Refused: m.refused, Late: m.late, Evidence: m.evidence()}
	if m.state == Open && !m.held {
		want.Retry = max(0, m.end-m.now)
	}
	if have != want {
		t.Fatalf("seed %d, step %d: breaker and model differ (-breaker +model):\n%s", seed, step, cmp.Diff(have, want))
	}
	if len(d.moves) != len(m.moves) || len(m.moves) > 0 && d.moves[len(d.moves)-1] != m.moves[len(m.moves)-1] {
		t.Fatalf("seed %d, step %d: told %d transitions, the model made %d", seed, step, len(d.moves), len(m.moves))
	}
}

// TestAgainstModel compares after every one of a million steps.
func TestAgainstModel(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	visits, trips := [3]int{}, 0
	for seed := range seeds {
		d := newBoth(seed)
		for step := range 5000 {
			d.step(t)
			d.check(t, seed, step)
			visits[d.m.state]++
		}
		trips += d.m.trips
	}
	t.Logf("steps closed, open, half-open: %v; trips: %d", visits, trips)
	for s, n := range visits {
		if n < 1000 {
			t.Errorf("only %d steps were %v", n, State(s))
		}
	}
}
