package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"coreml/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ane = Key{"net", "coreml", "ane"}
var cpu = Key{"net", "cpu", "cpu avx2"}

// ran is one inference from start to end.
func ran(o Observer, k Key, d time.Duration, err error) {
	o.Observe(Event{Type: Started, Key: k})
	o.Observe(Event{Type: Ran, Key: k, Duration: d, Err: err})
}

// story is a small history with everything in it.
func story(o Observer) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tell := func(e Event) {
		at = at.Add(time.Second)
		e.Time = at
		o.Observe(e)
	}
	tell(Event{Type: Compiled, Key: ane, Duration: 3 * time.Second})
	tell(Event{Type: Loaded, Key: ane, Duration: time.Second, Memory: 5 << 20})
	tell(Event{Type: Loaded, Key: ane, Err: fault.Load})
	tell(Event{Type: Loaded, Key: cpu, Duration: 20 * time.Millisecond})
	for i := range 4 {
		tell(Event{Type: Started, Key: ane})
		tell(Event{Type: Ran, Key: ane, Duration: time.Duration(i+1) * time.Millisecond, Queue: time.Microsecond, Memory: 4 << 20})
		tell(Event{Type: Answered, Key: ane, Duration: time.Duration(i+1) * time.Millisecond, Requested: "coreml/ane", Planned: "ane"})
	}
	tell(Event{Type: Started, Key: ane})
	tell(Event{Type: Ran, Key: ane, Duration: time.Second, Err: fmt.Errorf("coreml: no answer\nfake line: %w", fault.Timeout)})
	tell(Event{Type: Started, Key: cpu})
	tell(Event{Type: Ran, Key: cpu, Duration: 9 * time.Millisecond})
	tell(Event{Type: Answered, Key: cpu, Duration: 1009 * time.Millisecond, Requested: "coreml/ane", Planned: "ane", Fallback: true, Reason: "Timeout"})
	tell(Event{Type: Late, Key: ane, Duration: 5 * time.Second})
	tell(Event{Type: Started, Key: ane})
	tell(Event{Type: Ran, Key: ane, Err: fault.Schema})
	tell(Event{Type: Answered, Key: Key{Model: "net"}, Requested: "coreml/ane", Err: fault.Schema})
	tell(Event{Type: Compared, Key: ane})
	tell(Event{Type: Compared, Key: ane, Err: fault.Drift, Detail: map[string]any{"output": "y", "largest_error": 0.25}})
	tell(Event{Type: Moved, Key: ane, From: "closed", To: "open", Reason: "drift", Detail: struct{ Samples int }{5}})
	tell(Event{Type: Swapped, Key: ane, From: "cpu", To: "coreml"})
	tell(Event{Type: Recorded, Key: ane, Duration: time.Second, Detail: "drifts/drift-1"})
	tell(Event{Type: Started, Key: ane})
}

func TestSnapshot(t *testing.T) {
	m := NewMetrics(func() int64 { return 7 })
	story(m)
	s := m.Snapshot()
	s.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.Time = s.Start.Add(time.Minute)
	js, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	wantValid(t, snapshotSchema, js)
	golden(t, "snapshot.json", append(js, '\n'))

	var back Snapshot
	if err := json.Unmarshal(js, &back); err != nil {
		t.Fatal(err)
	}
	again, _ := json.MarshalIndent(back, "", "  ")
	if d := cmp.Diff(string(js), string(again)); d != "" {
		t.Errorf("JSON does not survive being read (-want +got):\n%s", d)
	}
	var sum bytes.Buffer
	if err := back.WriteSummary(&sum); err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.txt", sum.Bytes())
}

// golden compares with a file of testdata; COREML_UPDATE writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if os.Getenv("COREML_UPDATE") != "" {
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Kind
	}{
		{nil, None},
		{errors.New("x"), RuntimeError},
		{fault.As(fault.Compile, errors.New("x")), CompileError},
		{context.DeadlineExceeded, Timeout},
		{fmt.Errorf("%w: %w", fault.Runtime, context.Canceled), Cancelled},
		{fmt.Errorf("%w: %w", fault.Runtime, fault.Killed), ProcessKilled},
	} {
		if got := KindOf(c.err); got != c.want {
			t.Errorf("KindOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	seen := map[Kind]bool{}
	for _, k := range append([]error{context.Canceled}, fault.Kinds...) {
		seen[KindOf(k)] = true
		if KindOf(k).byCaller() != fault.ByCaller(k) {
			t.Errorf("%v: byCaller %v, fault.ByCaller %v", k, KindOf(k).byCaller(), fault.ByCaller(k))
		}
	}
	if len(seen) != int(kinds)-1 {
		t.Errorf("%d kinds of failure, want %d", len(seen), kinds-1)
	}
}

func TestNamesAreBounded(t *testing.T) {
	m := NewMetrics(nil)
	for i := range 3 * maxSeries {
		m.Observe(Event{Type: Ran, Key: Key{Model: fmt.Sprint(i)}})
		m.Observe(Event{Type: Answered, Key: ane, Reason: fmt.Sprint(i)})
	}
	s := m.Snapshot()
	if len(s.Series) > maxSeries+1 {
		t.Errorf("%d series, want at most %d", len(s.Series), maxSeries+1)
	}
	total, other := int64(0), int64(0)
	for _, x := range s.Series {
		total += x.Inference.Succeeded
		if x.Key == ane && len(x.Answers.Dispatch) > maxRoutes+1 {
			t.Errorf("%d ways, want at most %d", len(x.Answers.Dispatch), maxRoutes+1)
		}
		if x.Model == "other" {
			other = x.Inference.Succeeded
		}
	}
	if total != 3*maxSeries || other == 0 {
		t.Errorf("%d counted, %d of them as other, want %d", total, other, 3*maxSeries)
	}
}

func TestNothingIsLostAmongGoroutines(t *testing.T) {
	m := NewMetrics(nil)
	const each = 5000
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := range each {
				var err error
				if i%10 == 0 {
					err = fault.Runtime
				}
				ran(m, []Key{ane, cpu}[g%2], time.Duration(i), err)
				if i%1000 == 0 {
					for _, s := range m.Snapshot().Series {
						if s.Inference.InFlight < 0 {
							t.Errorf("%d in flight", s.Inference.InFlight)
						}
					}
				}
			}
		})
	}
	wg.Wait()
	for _, s := range m.Snapshot().Series {
		i := s.Inference
		if i.Started != 32*each || i.Failed != 32*each/10 || i.Succeeded != i.Started-i.Failed || i.InFlight != 0 || i.Latency.Count != uint64(i.Succeeded) {
			t.Errorf("%v: %+v", s.Key, i)
		}
		if r := *i.SuccessRate; r != 0.9 {
			t.Errorf("success rate %g, want 0.9", r)
		}
	}
}

// A warm Observe allocates nothing, and 64 goroutines never wait for each other.
func TestObserveIsCheap(t *testing.T) {
	m := NewMetrics(nil)
	inference(m)
	if n := testing.AllocsPerRun(100, func() { inference(m) }); n != 0 {
		t.Errorf("%g allocations per inference, want none", n)
	}
	l := startLog(discard{}, LogOptions{})
	defer l.Close()
	both := Tee{m, l}
	defer runtime.SetMutexProfileFraction(runtime.SetMutexProfileFraction(1))
	before := contention(t)
	crowd(64, 2000, func() { inference(both) })
	if after := contention(t); after != before {
		t.Errorf("the mutex profile names this package %d times, want %d:\n%s", after, before, mutexProfile(t))
	}
}

// TestCost holds the processor time of what one inference tells to a microsecond,
// among 64 goroutines. On a busy machine the best of many short rounds counts.
func TestCost(t *testing.T) {
	if raced || testing.CoverMode() != "" {
		t.Skip("instrumented code is slower")
	}
	l := startLog(discard{}, LogOptions{})
	defer l.Close()
	for name, o := range map[string]Observer{"metrics": NewMetrics(nil), "metrics and log": Tee{NewMetrics(l.Lost), l}} {
		const each = 200
		best := time.Hour
		for start := time.Now(); time.Since(start) < 10*time.Second && best > time.Microsecond; {
			round := time.Now()
			crowd(64, each, func() { inference(o) })
			best = min(best, time.Since(round)*time.Duration(min(64, runtime.GOMAXPROCS(0)))/(64*each))
		}
		t.Logf("%s: %v per inference", name, best)
		if best > time.Microsecond {
			t.Errorf("%s: %v per inference, want at most 1µs", name, best)
		}
	}
}

// inference is all that one inference tells, with the clock readings it needs.
func inference(o Observer) {
	start := time.Now()
	o.Observe(Event{Type: Started, Key: ane, Time: start})
	end := time.Now()
	o.Observe(Event{Type: Ran, Key: ane, Time: end, Duration: end.Sub(start), Queue: 1})
	o.Observe(Event{Type: Answered, Key: ane, Time: end, Duration: end.Sub(start), Requested: "coreml/ane", Planned: "ane"})
}

func crowd(goroutines, each int, f func()) {
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				f()
			}
		})
	}
	wg.Wait()
}

func mutexProfile(t *testing.T) string {
	var b strings.Builder
	if err := pprof.Lookup("mutex").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// contention counts the stacks of the mutex profile that pass through Observe.
func contention(t *testing.T) int { return strings.Count(mutexProfile(t), ").Observe+") }

func BenchmarkInference(b *testing.B) {
	for _, c := range []struct {
		name string
		make func() (Observer, func() error)
	}{
		{"metrics", func() (Observer, func() error) { return NewMetrics(nil), func() error { return nil } }},
		{"metrics and log", func() (Observer, func() error) {
			l := startLog(discard{}, LogOptions{})
			return Tee{NewMetrics(l.Lost), l}, l.Close
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			o, end := c.make()
			b.ReportAllocs()
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					inference(o)
				}
			})
			end()
		})
	}
}
