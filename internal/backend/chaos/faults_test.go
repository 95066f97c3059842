package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"go.uber.org/goleak"

	"coreml/internal/backend"
	"coreml/internal/backend/chaos"
	"coreml/internal/breaker"
	"coreml/internal/engine"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/internal/telemetry"
	"coreml/internal/testkit"
	"coreml/tensor"
)

const (
	// faultsTime is how long TestFaults runs, such as 60s.
	faultsTime = "COREML_FAULTS"
	// controlFile tells a child process where its faults are set.
	controlFile = "COREML_CHAOS"
)

func TestMain(m *testing.M) {
	backend.ServeIsolated(chaos.Backend(engine.CPU{}, chaos.File(os.Getenv(controlFile))))
	goleak.VerifyTestMain(m)
}

const (
	deadline = 400 * time.Millisecond
	sla      = 60 * time.Millisecond // of the rows that are slow
)

var (
	callers = 64
	// strict holds the run that makes the table to its figures. In an ordinary test the
	// machine does other things too: then callers may see their deadlines late, and
	// the breaker may have opened before.
	strict = os.Getenv(faultsTime) != ""
)

// patience is how late a caller may see its deadline.
func patience() time.Duration {
	if strict {
		return 250 * time.Millisecond
	}
	return 3 * time.Second
}

// row is one fault and what has to become of it.
type row struct {
	name     string
	fault    chaos.Fault
	isolated bool
	shadow   float64 // share of the answers that are compared
	trips    bool    // the breaker has to open
	wrong    bool    // answers may be wrong until the shadow has seen it
	rule     string  // the breaker's, where it is one for sure
}

var rows = []row{
	{name: "none"},
	{name: "none, isolated", isolated: true},
	{name: "slow, exponential", fault: chaos.Fault{Kind: chaos.Slow, Delay: 100 * time.Millisecond, Tail: chaos.Exponential}, trips: true},
	{name: "slow, log-normal", fault: chaos.Fault{Kind: chaos.Slow, Delay: 100 * time.Millisecond, Tail: chaos.LogNormal}, trips: true},
	{name: "slow, bimodal", fault: chaos.Fault{Kind: chaos.Slow, Delay: 50 * time.Millisecond, Tail: chaos.Bimodal}, trips: true},
	{name: "errors", fault: chaos.Fault{Kind: chaos.Error}, trips: true, rule: "success"},
	{name: "errors, a third", fault: chaos.Fault{Kind: chaos.Error, Share: 1. / 3}, trips: true, rule: "success"},
	{name: "panics", fault: chaos.Fault{Kind: chaos.Panic, Share: 0.5}, trips: true, rule: "success"},
	{name: "hangs", fault: chaos.Fault{Kind: chaos.Hang}, trips: true},
	{name: "wrong shapes", fault: chaos.Fault{Kind: chaos.Shape}, trips: true, rule: "success"},
	{name: "wrong numbers", fault: chaos.Fault{Kind: chaos.Wrong}, shadow: 0.1, trips: true, wrong: true, rule: "drift"},
	{name: "NaN", fault: chaos.Fault{Kind: chaos.NaN}, shadow: 0.1, trips: true, wrong: true, rule: "drift"},
	{name: "memory growth", fault: chaos.Fault{Kind: chaos.Memory, Grow: 64 << 20}, trips: true, rule: "footprint"},
	{name: "crashes, isolated", fault: chaos.Fault{Kind: chaos.Exit}, isolated: true, trips: true},
	{name: "hangs, isolated", fault: chaos.Fault{Kind: chaos.Hang}, isolated: true, trips: true},
}

// options of the breaker: fast enough to see it close in the time of a row.
var options = breaker.Options{Backoff: 20 * time.Millisecond, MaxBackoff: 80 * time.Millisecond, Steady: time.Second, ProbeTimeout: time.Second}

// TestFaults puts one fault after the other into the primary of a chain, under
// many callers, and counts what becomes of every request.
func TestFaults(t *testing.T) {
	total := 3 * time.Second
	if d, err := time.ParseDuration(os.Getenv(faultsTime)); err == nil {
		total = d
	}
	if testkit.Race && os.Getenv(faultsTime) == "" {
		t.Skip("it judges times, which the race detector stretches; the decorators' own tests run under it")
	}
	if testkit.Race {
		callers = 8
	}
	if testing.Short() {
		t.Skip("takes ", total)
	}
	m, err := mlmodel.Open("../../../testdata/cases/tiny_classifier/model.mlpackage")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\trequests\tprimary\tfallback\trefused\twrong\tp99\topened after\tclosed after\t")
	for i := range rows {
		r := &rows[i]
		t.Run(r.name, func(t *testing.T) {
			s := newScene(t, m, r)
			s.play(total / time.Duration(len(rows)))
			s.close()
			fmt.Fprintln(w, s.line())
			s.judge()
		})
	}
	w.Flush()
	t.Logf("%d callers\n%s", callers, &table)
}

// scene is a chain, its callers, and what they saw.
type scene struct {
	*testing.T
	r       *row
	control *chaos.Control
	program backend.Program
	breaker *breaker.Breaker
	in      tensor.Features
	want    tensor.Features
	check   func(got, want tensor.Features) error

	sent, primary, fallback, refused, wrong, late atomic.Int64
	mu                                            sync.Mutex
	took                                          []time.Duration
	changes                                       []breaker.Change
	broke, mended                                 time.Time
	sentBefore, sentOpen                          int64 // requests when the fault could be seen, and when the breaker opened
	before                                        usage
	wrongAt                                       time.Time // the last wrong answer
}

// usage is what a process holds.
type usage struct {
	goroutines, descriptors int
	heap                    uint64
}

func usageNow() usage {
	u := usage{goroutines: runtime.NumGoroutine()}
	if all, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.descriptors = len(all)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc
	return u
}

func newScene(t *testing.T, m *mlmodel.Model, r *row) *scene {
	s := &scene{T: t, r: r, check: backend.Check(nil), control: &chaos.Control{}, before: usageNow()}
	if r.isolated {
		name := filepath.Join(t.TempDir(), "fault")
		t.Setenv(controlFile, name)
		s.control = chaos.File(name)
	}
	s.set(chaos.Fault{})
	b := chaos.Backend(engine.CPU{}, s.control)
	if r.isolated {
		b = backend.Isolate(b, backend.IsolateOptions{})
	}
	load := func(b backend.Backend) backend.Program {
		p, err := b.Load(context.Background(), m, backend.Config{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, last := load(b), load(engine.CPU{})
	o := options
	if r.fault.Kind == chaos.Slow {
		o.SLA = sla
	}
	s.breaker = breaker.New(breaker.Key{Backend: b.Name()}, o, breaker.Hooks{OnChange: s.changed})
	s.breathe(first)
	s.prepare(m, last)
	if r.shadow > 0 {
		first = backend.Shadow(first, last, backend.ShadowOptions{Share: r.shadow,
			Drift: func(d backend.Drifted) { s.breaker.Drift(d.Err.Error()) }})
	}
	f := backend.FallbackOptions{Attempt: time.Second, Measure: 10 * time.Millisecond, Check: s.check,
		Accept: func(out tensor.Features) error { return sameShapes(out, s.want) }}
	s.program = backend.Fallback(f, backend.Link{Key: telemetry.Key{Backend: "primary"}, Program: first, Breaker: s.breaker, Prompt: r.isolated},
		backend.Link{Key: telemetry.Key{Backend: "fallback"}, Program: last, Prompt: true})
	return s
}

// breathe runs the primary once, so that its first run is over before anything is measured.
func (s *scene) breathe(p backend.Program) {
	_ = p.Run(context.Background(), &backend.Job{In: []tensor.Features{{}}, Out: []tensor.Features{{}}})
}

func (s *scene) prepare(m *mlmodel.Model, p backend.Program) {
	img := m.Description.Inputs[0]
	s.in = tensor.Features{img.Name: picture()}
	j := &backend.Job{In: []tensor.Features{s.in}, Out: []tensor.Features{{}}}
	if err := p.Run(context.Background(), j); err != nil {
		s.Fatal(err)
	}
	s.want = j.Out[0]
}

func sameShapes(got, want tensor.Features) error {
	for name, w := range want {
		g, ok := got[name]
		if !ok {
			return fmt.Errorf("no output %q", name)
		}
		a, ok1 := g.(*tensor.Tensor)
		b, ok2 := w.(*tensor.Tensor)
		if ok1 != ok2 || ok1 && !tensor.EqualShape(a.Shape(), b.Shape()) {
			return fmt.Errorf("output %q is %v, want %v", name, g, w)
		}
	}
	return nil
}

func (s *scene) set(f chaos.Fault) {
	if err := s.control.Set(f); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) changed(c breaker.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, c)
	if c.To == breaker.Open && s.sentOpen == 0 && !s.broke.IsZero() {
		s.sentOpen = s.sent.Load()
	}
}

// play lets the callers ask for a time, of which the fault has the second third.
func (s *scene) play(d time.Duration) {
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range callers {
		all.Add(1)
		go func() {
			defer all.Done()
			for ctx.Err() == nil {
				s.ask()
				time.Sleep(5 * time.Millisecond)
			}
		}()
	}
	time.Sleep(d / 3)
	s.mu.Lock()
	s.broke, s.sentBefore = time.Now(), s.sent.Load()
	s.mu.Unlock()
	s.set(s.r.fault)
	if k := s.r.fault.Kind; k == chaos.Slow || k == chaos.Hang { // nobody can tell before an attempt is over
		time.AfterFunc(deadline/2, s.fromNow)
	}
	s.until(d, func() bool { return !s.r.trips || !s.opened().IsZero() })
	s.mended = time.Now()
	s.set(chaos.Fault{})
	s.until(d, func() bool { return s.breaker.State() == breaker.Closed })
	stop()
	all.Wait()
}

// fromNow begins to count the requests that may pass until the breaker opens.
func (s *scene) fromNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sentOpen == 0 {
		s.sentBefore = s.sent.Load()
	}
}

// until waits a third of d, and for what has to happen some seconds more where the machine is slow.
func (s *scene) until(d time.Duration, happened func() bool) {
	time.Sleep(d / 3)
	for end := time.Now().Add(5 * time.Second); !happened() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// ask makes one request, and sorts what becomes of it.
func (s *scene) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	s.sent.Add(1)
	j := &backend.Job{In: []tensor.Features{s.in}, Out: []tensor.Features{{}}}
	start := time.Now()
	err := s.program.Run(ctx, j)
	took := time.Since(start)
	if took > deadline+patience() {
		s.late.Add(1)
	}
	switch {
	case err != nil && kind(err):
		s.refused.Add(1)
	case err != nil:
		s.Errorf("an error of no kind: %v", err)
	case j.Dispatch.Fallback:
		s.fallback.Add(1)
	default:
		s.primary.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, took)
	if err == nil && s.check(j.Out[0], s.want) != nil {
		s.wrong.Add(1)
		s.wrongAt = time.Now()
	}
}

func kind(err error) bool {
	for _, k := range fault.Kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

func (s *scene) close() {
	if err := s.program.Close(); err != nil {
		s.Errorf("closing: %v", err)
	}
}

// opened is when the breaker first opened after the fault was set; closed when it
// last closed after that was over.
func (s *scene) opened() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if c.To == breaker.Open && c.At.After(s.broke) {
			return c.At
		}
	}
	return time.Time{}
}

func (s *scene) closed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.changes) {
		if c.To == breaker.Closed && c.At.After(s.mended) {
			return c.At
		}
	}
	return time.Time{}
}

func (s *scene) line() string {
	after := func(t, since time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Sub(since).Round(time.Millisecond).String()
	}
	slices.Sort(s.took)
	p99 := s.took[min(len(s.took)-1, int(math.Ceil(0.99*float64(len(s.took)))))]
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d\t%v\t%s\t%s\t", s.r.name, s.sent.Load(), s.primary.Load(), s.fallback.Load(), s.refused.Load(), s.wrong.Load(),
		p99.Round(100*time.Microsecond), after(s.opened(), s.broke), after(s.closed(), s.mended))
}

func (s *scene) judge() {
	if sum := s.primary.Load() + s.fallback.Load() + s.refused.Load(); sum != s.sent.Load() || int(sum) != len(s.took) {
		s.Errorf("%d requests, %d answers: some are lost or answered twice", s.sent.Load(), sum)
	}
	if n := s.late.Load(); n > 0 {
		s.Errorf("%d requests ended more than %v after their deadline", n, patience())
	}
	if s.primary.Load() == 0 {
		s.Error("the primary never answered")
	}
	s.judgeBreaker()
	s.judgeWrong()
	s.judgeUsage()
}

func (s *scene) judgeBreaker() {
	opened := s.opened()
	switch {
	case !s.r.trips:
		return
	case opened.IsZero():
		s.Errorf("the breaker did not open: %+v", s.breaker.Status())
		return
	case s.closed().IsZero():
		s.Errorf("the breaker did not close again: %+v", s.breaker.Status())
	}
	// Within the first window: as many outcomes as that holds or, of wrong numbers,
	// three times as many as are compared one in; and those in flight.
	window := 100
	if s.r.shadow > 0 {
		window = int(3 / s.r.shadow)
	}
	if n := s.sentOpen - s.sentBefore; strict && n > int64(window+2*callers) {
		s.Errorf("it opened %d requests after the fault was set, want at most %d and those in flight", n, window)
	}
	for _, c := range s.changes {
		if c.To != breaker.Open || !c.At.Equal(opened) {
			continue
		}
		if s.r.rule != "" && c.Reason.Rule != s.r.rule && (strict || c.Reason.Rule != "probe") {
			s.Errorf("it opened by %v, want %s", c.Reason, s.r.rule)
		}
	}
	// At the end of the fault the back-off is at most the longest; then come three
	// probes, one after the other, each after a request.
	most := time.Duration(float64(options.MaxBackoff)*1.2) + patience()
	if took := s.closed().Sub(s.mended); took > most {
		s.Errorf("it closed %v after the fault had ended, want at most %v", took, most)
	}
}

// judgeWrong: the shadow finds wrong numbers within three times its sampling
// period; what was in flight by then is answered too.
func (s *scene) judgeWrong() {
	n := s.wrong.Load()
	if n > 0 && !s.r.wrong {
		s.Errorf("%d answers are wrong", n)
	}
	if s.r.wrong && s.wrongAt.After(s.opened().Add(patience())) {
		s.Errorf("an answer was wrong %v after the breaker had opened", s.wrongAt.Sub(s.opened()))
	}
}

func (s *scene) judgeUsage() {
	s.took = nil
	var now usage
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		now = usageNow()
		if now.goroutines <= s.before.goroutines && now.descriptors <= s.before.descriptors {
			break
		}
	}
	if now.goroutines > s.before.goroutines || now.descriptors > s.before.descriptors || now.heap > s.before.heap+8<<20 {
		s.Errorf("it grew from %+v to %+v", s.before, now)
	}
}
