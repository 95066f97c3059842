package chaos_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"coreml/breaker"
	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/backend/chaos"
	"coreml/internal/engine"
	"coreml/internal/mlmodel"
	"coreml/telemetry"
	"coreml/tensor"
)

// openModels opens the models of rows with and without states.
func openModels(t *testing.T) map[bool]*mlmodel.Model {
	all := map[bool]*mlmodel.Model{}
	for stateful, name := range map[bool]string{false: "tiny_classifier", true: "sta_accumulators"} {
		m, err := mlmodel.Open("../../../testdata/cases/" + name + "/model.mlpackage")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		all[stateful] = m
	}
	return all
}

// scene is a chain, its callers, and what they saw.
type scene struct {
	*testing.T
	r       *row
	control *chaos.Control
	program backend.Program
	breaker *breaker.Breaker
	metrics *telemetry.Metrics
	in      tensor.Features
	want    []tensor.Features // one after the other, where there is a state

	sent, primary, fallback, refused, wrong, late atomic.Int64

	mu                   sync.Mutex
	took                 []time.Duration
	changes              []breaker.Change
	broke, mended        time.Time
	sentBefore, sentOpen int64 // requests when the fault could be seen, and when the breaker opened
	before               usage
	wrongAt              time.Time // the last wrong answer
}

func newScene(t *testing.T, m *mlmodel.Model, r *row) *scene {
	s := &scene{T: t, r: r, control: &chaos.Control{}, metrics: telemetry.NewMetrics(nil), before: usageNow()}
	if r.isolated {
		name := filepath.Join(t.TempDir(), "fault")
		t.Setenv(controlFile, name)
		s.control = chaos.File(name)
	}
	s.set(chaos.Fault{})
	b := chaos.Backend(engine.CPU{}, s.control)
	if r.isolated {
		b = backend.Isolate(b, guards.Isolation{MemoryLimit: r.limit})
	}
	load := func(b backend.Backend) backend.Program {
		p, err := b.Load(context.Background(), m, backend.Config{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first, last := load(b), load(engine.CPU{})
	s.prepare(m, last)
	s.run(first) // so that its first run is over before anything is measured
	s.program = s.chain(first, last)
	return s
}

// chain puts the programs together as the options of the public package do.
func (s *scene) chain(first, last backend.Program) backend.Program {
	o := options
	o.MaxFootprint = s.r.most
	if s.r.fault.Kind == chaos.Slow {
		o.SLA = sla
	}
	s.breaker = breaker.New(breaker.Key{Backend: "primary"}, o, breaker.Hooks{OnChange: s.changed})
	f := backend.FallbackOptions{Attempt: time.Second, Measure: 10 * time.Millisecond, Observer: s.metrics,
		Accept: func(out tensor.Features) error { return sameShapes(out, s.want[0]) }}
	if s.r.shadow > 0 {
		f.Check = backend.Check(nil)
		first = backend.Shadow(first, last, backend.ShadowOptions{Share: s.r.shadow, Hold: !s.r.sampled(),
			Drift: func(d guards.Drift) {
				if !d.At.Before(s.breaker.Status().Since) {
					s.breaker.Drift(d.Err.Error())
				}
			}})
	}
	return backend.Fallback(f, backend.Link{Key: telemetry.Key{Backend: "primary"}, Program: first, Breaker: s.breaker, Prompt: s.r.isolated},
		backend.Link{Key: telemetry.Key{Backend: "fallback"}, Program: last, Prompt: true})
}

// steps is after how many requests a caller begins with a new state.
const steps = 24

// prepare makes the request, and what the reference answers to it.
func (s *scene) prepare(m *mlmodel.Model, p backend.Program) {
	if !s.r.stateful {
		s.in = tensor.Features{m.Description.Inputs[0].Name: picture()}
		s.want = []tensor.Features{s.run(p).Out[0]}
		return
	}
	x := tensor.New(tensor.Float32, 3, 4)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(i)/4 + 1
	}
	s.in = tensor.Features{"x": x, "slot": tensor.Of([]int32{1})}
	st, err := p.NewState()
	if err != nil {
		s.Fatal(err)
	}
	defer st.Close()
	for range steps {
		j := &backend.Job{In: []tensor.Features{s.in}, Out: []tensor.Features{{}}, State: st}
		if err := p.Run(context.Background(), j); err != nil {
			s.Fatal(err)
		}
		s.want = append(s.want, j.Out[0])
	}
}

func (s *scene) run(p backend.Program) *backend.Job {
	j := &backend.Job{In: []tensor.Features{s.in}, Out: []tensor.Features{{}}}
	if err := p.Run(context.Background(), j); err != nil {
		s.Fatal(err)
	}
	return j
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
		all.Go(func() {
			c := &caller{scene: s}
			defer c.close()
			for ctx.Err() == nil {
				c.ask()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	time.Sleep(d / 3)
	s.mu.Lock()
	s.broke, s.sentBefore = time.Now(), s.sent.Load()
	s.mu.Unlock()
	s.set(s.r.fault)
	if k := s.r.fault.Kind; k == chaos.Slow || k == chaos.Hang { // nobody can tell before an attempt is over
		time.AfterFunc(deadline/2, s.fromNow)
	}
	s.until(d, func() bool { return !s.r.trips || !s.opened().IsZero() && s.explained() })
	s.mu.Lock()
	s.mended = time.Now()
	s.mu.Unlock()
	s.set(chaos.Fault{})
	s.until(d, func() bool { return s.breaker.Status().State == breaker.Closed })
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

func (s *scene) close() {
	if err := s.program.Close(); err != nil {
		s.Errorf("closing: %v", err)
	}
}
