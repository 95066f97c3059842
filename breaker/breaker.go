// Package breaker decides whether a backend may be asked for an answer. A breaker
// belongs to one model on one unit of one backend. While closed it lets every
// request through and judges the outcomes of the last ones; open, it lets none
// through until a back-off has passed; half-open, one at a time, as a probe.
//
// It starts no goroutine and no timer: time passes when it is asked.
package breaker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Key names what a breaker guards.
type Key struct {
	Model   string `json:"model"`
	Backend string `json:"backend"`
	Unit    string `json:"unit"`
}

func (k Key) String() string { return k.Model + " on " + k.Backend + "/" + k.Unit }

// State is where a breaker stands.
type State int

const (
	Closed State = iota
	Open
	HalfOpen
)

func (s State) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// MarshalText gives the state's name to JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Change is a transition with its evidence. Evidence is what the window held
// before the transition cleared it.
type Change struct {
	Key      Key           `json:"key"`
	At       time.Time     `json:"at"`
	From     State         `json:"from"`
	To       State         `json:"to"`
	Reason   Reason        `json:"reason"`
	Evidence Evidence      `json:"evidence"`
	Trips    int           `json:"trips"`
	Backoff  time.Duration `json:"backoff_ns"` // until the next probe; of changes to Open
}

// Hooks are what a breaker takes from its host; each may be nil.
type Hooks struct {
	Now      func() time.Time // time.Now
	Rand     func() float64   // uniform in [0, 1)
	OnChange func(Change)     // told every transition, in order, outside of any lock
}

// ErrOpen is what every refusal matches.
var ErrOpen = errors.New("breaker: open")

// Refusal is the error of Allow.
type Refusal struct {
	Key    Key
	State  State
	Reason Reason        // why the breaker opened
	Retry  time.Duration // until a probe may be let through; 0 if one is under way or the breaker is held
}

func (r *Refusal) Error() string { return fmt.Sprintf("breaker: %v: %v: %v", r.Key, r.State, r.Reason) }
func (r *Refusal) Unwrap() error { return ErrOpen }

// Breaker is safe for concurrent use.
type Breaker struct {
	key   Key
	opt   Options
	rules []Condition
	hooks Hooks

	mu      sync.Mutex
	elapsed time.Duration // since the breaker was made; never falls
	last    time.Time     // the clock when elapsed was last brought up to date

	state   State
	since   time.Time
	reason  Reason
	era     uint64 // counts transitions: an outcome of an earlier era is late
	window  window
	trips   int
	reopens int
	late    int
	refused int

	streak   int           // trips and reopenings since it last stayed closed for Options.Steady
	retry    time.Duration // elapsed at which the back-off ends
	closedAt time.Duration
	held     bool

	probing bool
	probeAt time.Duration
	probes  int // of this half-open era that had a countable outcome
	good    int

	queue   []Change
	telling bool
}

// New makes a closed breaker.
func New(k Key, o Options, h Hooks) *Breaker {
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.Rand == nil {
		h.Rand = rand.Float64
	}
	o = o.withDefaults()
	now := h.Now()
	return &Breaker{key: k, opt: o, rules: o.conditions(), hooks: h, last: now, since: now, window: newWindow(o)}
}

// Allow gives a ticket for one request, or a *Refusal. Each ticket wants one Done.
func (b *Breaker) Allow() (*Ticket, error) {
	b.mu.Lock()
	defer b.unlock()
	now := b.advance()
	if b.state == HalfOpen && b.probing && now-b.probeAt > b.opt.ProbeTimeout {
		b.reopen(Reason{"probe", fmt.Sprintf("no outcome within %v", b.opt.ProbeTimeout)})
	}
	if b.state == Open && !b.held && now >= b.retry {
		b.move(HalfOpen, b.reason, 0)
	}
	switch {
	case b.state == Closed:
		return &Ticket{b: b, era: b.era}, nil
	case b.state == HalfOpen && !b.probing:
		b.probing, b.probeAt = true, now
		return &Ticket{b: b, era: b.era, probe: true}, nil
	}
	b.refused++
	return nil, &Refusal{Key: b.key, State: b.state, Reason: b.reason, Retry: b.wait()}
}

// Ticket stands for one request that was let through.
type Ticket struct {
	b     *Breaker
	era   uint64
	probe bool
	done  atomic.Bool
}

// Probe reports whether the outcome helps to decide about closing. A caller that
// can check the answer should do so before Done: a breaker that drift opened
// would otherwise close on wrong numbers.
func (t *Ticket) Probe() bool { return t.probe }

// Done reports the outcome. Only the first call counts, and only if the breaker
// has not changed its state since Allow.
func (t *Ticket) Done(o Outcome) {
	if t.done.Swap(true) {
		return
	}
	b := t.b
	b.mu.Lock()
	defer b.unlock()
	now := b.advance()
	v := b.opt.judge(o)
	switch {
	case t.era != b.era:
		b.late++
	case t.probe:
		b.probed(v)
	case v.counts:
		b.window.add(now, v)
		b.check()
	}
}

// check opens a closed breaker if a condition gives a reason.
func (b *Breaker) check() {
	e := b.window.evidence(b.elapsed)
	for _, c := range b.rules {
		if text := c.Check(e); text != "" {
			b.trip(Reason{c.Name, text})
			return
		}
	}
}

func (b *Breaker) probed(v verdict) {
	b.probing = false
	if !v.counts {
		return
	}
	b.window.add(b.elapsed, v)
	b.probes++
	if !v.slow {
		b.good++
	}
	switch {
	case v.failed:
		b.reopen(Reason{"probe", "failed: " + v.text})
	case b.opt.tooBig(v.footprint):
		b.reopen(Reason{"probe", fmt.Sprintf("footprint %d bytes, want at most %d", v.footprint, b.opt.MaxFootprint)})
	case b.good >= b.opt.Probes:
		b.close(Reason{"probe", fmt.Sprintf("%d good of %d", b.good, b.probes)})
	case b.probes >= b.opt.MaxProbes:
		b.reopen(Reason{"probe", fmt.Sprintf("only %d of %d within %v, want %d", b.good, b.probes, b.opt.SLA, b.opt.Probes)})
	}
}

// Drift reports an answer that parts from the reference, found after its Done.
// It opens the breaker once there are more than Options.MaxDrifts of them in the window.
func (b *Breaker) Drift(detail string) {
	b.mu.Lock()
	defer b.unlock()
	now := b.advance()
	switch b.state {
	case Closed:
		b.window.drifted(now, detail)
		b.check()
	case HalfOpen:
		b.window.drifted(now, detail)
		b.reopen(Reason{"drift", detail})
	}
}

// Trip opens the breaker by hand. It half-opens after a back-off like any other.
func (b *Breaker) Trip(reason string) {
	b.mu.Lock()
	defer b.unlock()
	b.advance()
	b.trip(Reason{"hand", reason})
}

// Hold opens the breaker until Reset.
func (b *Breaker) Hold(reason string) {
	b.mu.Lock()
	defer b.unlock()
	b.advance()
	b.trip(Reason{"hand", reason})
	b.held = true
}

// Reset closes the breaker and forgets the back-off; trips stay counted.
func (b *Breaker) Reset(reason string) {
	b.mu.Lock()
	defer b.unlock()
	b.advance()
	b.streak = 0
	b.close(Reason{"hand", reason})
}

func (b *Breaker) trip(r Reason) {
	if b.state == Closed && b.elapsed-b.closedAt >= b.opt.Steady {
		b.streak = 0
	}
	if b.state != Open {
		b.trips++
	}
	b.openFor(r)
}

func (b *Breaker) reopen(r Reason) {
	b.reopens++
	b.openFor(r)
}

// openFor opens for the next back-off. One that is open already, and is tripped
// by hand, starts the same back-off anew.
func (b *Breaker) openFor(r Reason) {
	if b.state != Open {
		b.streak++
	}
	d := b.opt.backoff(b.streak, b.hooks.Rand())
	b.retry = b.elapsed + d
	b.reason = r
	b.move(Open, r, d)
}

func (b *Breaker) close(r Reason) {
	b.held = false
	b.closedAt = b.elapsed
	if b.state == Closed {
		b.window.clear()
		return
	}
	b.move(Closed, r, 0)
	b.reason = Reason{}
}

// move makes a transition: outcomes of the era before it are late from now on.
func (b *Breaker) move(to State, r Reason, backoff time.Duration) {
	if b.hooks.OnChange != nil {
		b.queue = append(b.queue, Change{Key: b.key, At: b.last, From: b.state, To: to, Reason: r,
			Evidence: b.window.evidence(b.elapsed), Trips: b.trips, Backoff: backoff})
	}
	b.state, b.since = to, b.last
	b.era++
	b.probing, b.probes, b.good = false, 0, 0
	b.window.clear()
}

// advance brings elapsed up to date. A clock that is set back adds nothing, so
// that neither the window nor a back-off can freeze until it has caught up.
func (b *Breaker) advance() time.Duration {
	now := b.hooks.Now()
	if d := now.Sub(b.last); d > 0 {
		b.elapsed += min(d, longestStep)
	}
	b.last = now
	return b.elapsed
}

// longestStep is longer than any window or back-off and keeps elapsed from overflowing.
const longestStep = 366 * 24 * time.Hour

// unlock tells the queued transitions. Whoever tells first goes on until the
// queue is empty, so that they stay in order and OnChange may call the breaker.
func (b *Breaker) unlock() {
	if len(b.queue) == 0 || b.telling {
		b.mu.Unlock()
		return
	}
	b.telling = true
	defer func() {
		b.telling = false
		b.mu.Unlock()
	}()
	for len(b.queue) > 0 {
		c := b.queue[0]
		b.queue = b.queue[1:]
		b.tell(c)
	}
}

func (b *Breaker) tell(c Change) {
	b.mu.Unlock()
	defer b.mu.Lock()
	b.hooks.OnChange(c)
}

// wait is how much of the back-off is left.
func (b *Breaker) wait() time.Duration {
	if b.state != Open || b.held {
		return 0
	}
	return max(0, b.retry-b.elapsed)
}

// Status describes a breaker at one moment.
type Status struct {
	Key
	State    State         `json:"state"`
	Since    time.Time     `json:"since"`
	Reason   Reason        `json:"reason"` // why it is not closed
	Held     bool          `json:"held"`
	Retry    time.Duration `json:"retry_ns"`
	Trips    int           `json:"trips"`
	Reopens  int           `json:"reopens"` // half-open to open
	Refused  int           `json:"refused"`
	Late     int           `json:"late"` // outcomes of an earlier state, which did not count
	Evidence Evidence      `json:"evidence"`
}

// Status says how the breaker stands. Open with no Retry left means that the next request is a probe.
func (b *Breaker) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance()
	return Status{Key: b.key, State: b.state, Since: b.since, Reason: b.reason, Held: b.held, Retry: b.wait(), Trips: b.trips,
		Reopens: b.reopens, Refused: b.refused, Late: b.late, Evidence: b.window.evidence(b.elapsed)}
}
