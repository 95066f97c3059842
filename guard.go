package coreml

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"coreml/breaker"
	"coreml/internal/backend"
	"coreml/internal/cachedir"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/telemetry"
	"coreml/tensor"
)

// guard is what stands around a model's backend, as its options say.
type guard struct {
	file *mlmodel.Model
	name string
	o    Options

	metrics *telemetry.Metrics
	log     *telemetry.Log // nil: none
	to      telemetry.Observer
	breaker *breaker.Breaker // nil: there is no fallback
	key     telemetry.Key    // of the backend
	primary atomic.Pointer[backend.Program]
	extra   backend.Program // a reference that nobody else closes; nil: none
	watched []watched
	cases   evidence
	first   error // of the first attempt to load the backend
}

// watched is a program whose memory is measured with every snapshot.
type watched struct {
	key     telemetry.Key
	program backend.Program
}

func newGuard(file *mlmodel.Model, name string, o Options) (*guard, error) {
	g := &guard{file: file, name: name, o: o}
	g.cases.g = g
	tee := telemetry.Tee{}
	lost := func() int64 { return 0 }
	if o.EventLog != "" {
		l, err := telemetry.OpenLog(o.EventLog, telemetry.FileOptions{}, telemetry.LogOptions{})
		if err != nil {
			return nil, fmt.Errorf("coreml: event log: %w", err)
		}
		g.log, lost = l, l.Lost
		tee = append(tee, l)
	}
	g.metrics = telemetry.NewMetrics(lost)
	g.to = g.metrics
	if o.Observer != nil {
		tee = append(tee, o.Observer)
	}
	if len(tee) > 0 {
		g.to = append(telemetry.Tee{g.metrics}, tee...)
	}
	return g, nil
}

func (g *guard) config() backend.Config {
	return backend.Config{Function: g.o.Function, Threads: g.o.Threads, MemoryLimit: g.o.MemoryLimit, Preload: g.o.Preload, Level: g.o.level}
}

// guarded is the backend of the options, in its child if it has one.
func (g *guard) guarded(b backend.Backend) (backend.Backend, error) {
	var child Isolation
	if g.o.Isolate != nil {
		child = *g.o.Isolate
	}
	if g.o.Canary && g.o.Isolate == nil {
		dir, err := cachedir.Path("canary")
		if err != nil {
			return nil, err
		}
		b = backend.Canary(b, backend.CanaryOptions{Dir: dir, Isolate: child})
	}
	if g.o.Isolate != nil {
		if child.RunTimeout == 0 {
			child.RunTimeout = g.o.Timeout
		}
		b = backend.Isolate(b, child)
	}
	if g.o.Wrap != nil {
		b = backend.Wrap(b, func(next backend.Predict) backend.Predict { return g.o.Wrap(Predictor(next)) })
	}
	return b, b.Usable()
}

// load puts the model's program together.
func (g *guard) load(ctx context.Context) (backend.Program, error) {
	b, err := choose(g.o.Backend)
	if err != nil {
		return nil, err
	}
	if g.o.Fallback != nil || g.o.WarmStart {
		return g.chain(ctx, b)
	}
	if b, err = g.guarded(b); err != nil {
		return nil, err
	}
	g.key = g.keyOf(b)
	p, err := g.loadOne(ctx, b, g.key)
	if err != nil {
		return nil, err
	}
	g.watch(g.key, p)
	if g.o.Shadow == nil {
		return p, nil
	}
	ref, err := g.reference(ctx, nil)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return g.shadowed(p, ref), nil
}

// unit is what all backends of this version run on.
const unit = "cpu"

func (g *guard) keyOf(b backend.Backend) telemetry.Key {
	return telemetry.Key{Model: g.name, Backend: b.Name(), Unit: unit}
}

func (g *guard) loadOne(ctx context.Context, b backend.Backend, k telemetry.Key) (backend.Program, error) {
	return backend.Observe(b, k, g.to).Load(ctx, g.file, g.config())
}

// chain is the backend with its fallback.
func (g *guard) chain(ctx context.Context, b backend.Backend) (backend.Program, error) {
	o := Fallback{}
	if g.o.Fallback != nil {
		o = *g.o.Fallback
	}
	standIn, err := choose(o.To)
	if err != nil {
		return nil, err
	}
	once := &loadedOnce{Backend: standIn}
	second := g.keyOf(standIn)
	last, lastErr := g.loadOne(ctx, once, second)
	if b.Name() == standIn.Name() && lastErr == nil && g.o.Isolate == nil && !g.o.Canary {
		b = once // only what Wrap does tells them apart
	}
	if b, err = g.guarded(b); err != nil {
		if last != nil {
			err = errors.Join(err, last.Close())
		}
		return nil, err
	}
	g.key = g.keyOf(b)
	g.breaker = breaker.New(breaker.Key(g.key), g.o.Breaker, breaker.Hooks{OnChange: g.moved})
	first, err := g.warm(b, last, lastErr)
	if err != nil {
		if last != nil {
			err = errors.Join(err, last.Close())
		}
		return nil, err
	}
	g.primary.Store(&first)
	links := []backend.Link{{Key: g.key, Program: first, Breaker: g.breaker, Prompt: g.o.Wrap == nil}}
	f := backend.FallbackOptions{Reserve: o.Reserve, Attempt: o.Attempt, Checkpoint: o.Checkpoint, Observer: g.to, Accept: g.accept()}
	if f.Attempt == 0 {
		f.Attempt = time.Minute
	}
	g.watch(g.key, first)
	if last != nil {
		g.watch(second, last)
		links = append(links, backend.Link{Key: second, Program: last, Prompt: true})
	}
	if g.o.Shadow != nil {
		ref, err := g.reference(ctx, last)
		if err != nil {
			return nil, errors.Join(err, backend.Fallback(f, links...).Close())
		}
		f.Check = backend.Check(g.o.Shadow.Limits)
		links[0].Program = g.shadowed(first, ref)
	}
	return backend.Fallback(f, links...), nil
}

// loadedOnce is a backend that loads its model once, and lends the program to all who load it again.
type loadedOnce struct {
	backend.Backend
	program backend.Program
}

func (b *loadedOnce) Load(ctx context.Context, m *mlmodel.Model, c backend.Config) (backend.Program, error) {
	if b.program != nil {
		return backend.Borrow(b.program), nil
	}
	p, err := b.Backend.Load(ctx, m, c)
	b.program = p
	return p, err
}

// warm is the backend's program, which may be on its way. It is an error if
// neither it nor the stand-in could be loaded.
func (g *guard) warm(b backend.Backend, last backend.Program, lastErr error) (backend.Program, error) {
	attempts := 0
	load := func(ctx context.Context) (backend.Program, error) {
		p, err := g.loadOne(ctx, b, g.key)
		if attempts++; attempts == 1 {
			g.first = err
		}
		return p, err
	}
	o := backend.WarmOptions{Key: g.key, Observer: g.to, Wait: !g.o.WarmStart || last == nil}
	if g.o.WarmStart && last != nil {
		var limits map[string]Limits
		if g.o.Shadow != nil {
			limits = g.o.Shadow.Limits
		}
		o.Reference, o.Check = last, backend.Check(limits)
	}
	w := backend.Warm(load, o)
	if last != nil || g.first == nil {
		return w, nil
	}
	why := errors.Join(g.first, lastErr)
	for _, k := range []error{fault.Invalid, fault.Unsupported} {
		if errors.Is(g.first, k) && errors.Is(lastErr, k) {
			why = lastErr // it is the file, and once is enough
		}
	}
	return nil, errors.Join(why, w.Close())
}

// reference is who recomputes answers for Shadow.
func (g *guard) reference(ctx context.Context, last backend.Program) (backend.Program, error) {
	by := g.o.Shadow.By
	if by == "" && last != nil {
		return last, nil
	}
	if by == "" {
		by = "cpu"
		if g.o.Backend == "" || g.o.Backend == "cpu" {
			by = "reference"
		}
	}
	b, err := choose(by)
	if err != nil {
		return nil, err
	}
	g.extra, err = b.Load(ctx, g.file, g.config())
	return g.extra, err
}

func (g *guard) shadowed(p, ref backend.Program) backend.Program {
	s := g.o.Shadow
	return backend.Shadow(p, ref, backend.ShadowOptions{
		Key: g.key, Share: s.Share, Hold: s.Hold, Queue: s.Queue, Limits: s.Limits, Observer: g.to,
		Drift: func(d Drift) {
			// An answer from before the last transition is old news.
			if g.breaker != nil && !d.At.Before(g.breaker.Status().Since) {
				g.breaker.Drift(d.Err.Error())
			}
			if s.Evidence != "" {
				g.cases.keep(d)
			}
			if s.OnDrift != nil {
				s.OnDrift(d)
			}
		},
	})
}

// accept refuses answers that are not what the description says: an output that
// is absent, or a tensor of another size where every size is fixed.
func (g *guard) accept() func(Features) error {
	f, err := mlmodel.FunctionNamed(g.file.Description, g.o.Function)
	if err != nil {
		return nil // whoever loads it says so
	}
	fixed := true
	for i := range f.Inputs {
		fixed = fixed && !flexible(&f.Inputs[i])
	}
	return func(out Features) error {
		for i := range f.Outputs {
			d := &f.Outputs[i]
			v, ok := out[d.Name]
			if !ok && !d.Optional {
				return fmt.Errorf("output %s is missing", fault.Quote(d.Name))
			}
			t, ok := v.(*tensor.Tensor)
			if !ok || d.Tensor == nil || len(d.Tensor.Shape) == 0 || !fixed || flexible(d) {
				continue
			}
			if n, ok := tensor.Elements(d.Tensor.Shape); ok && n > 0 && n != t.Len() {
				return fmt.Errorf("output %s has shape %v, want %v", fault.Quote(d.Name), t.Shape(), d.Tensor.Shape)
			}
		}
		return nil
	}
}

func flexible(f *Feature) bool {
	if t := f.Tensor; t != nil {
		return len(t.ShapeRange) > 0 || len(t.EnumeratedShapes) > 0 || t.Shape == nil
	}
	i := f.Image
	return i != nil && (i.WidthRange != nil || i.HeightRange != nil || len(i.EnumeratedSizes) > 0)
}

// moved tells of a transition of the breaker. A child that has outgrown the limit is
// replaced, so that the probes meet one that has not.
func (g *guard) moved(c breaker.Change) {
	if p := g.primary.Load(); p != nil && c.To == breaker.Open && c.Reason.Rule == "footprint" {
		backend.Renew(*p, c.Reason.Text)
	}
	g.to.Observe(telemetry.Event{Type: telemetry.Moved, Key: g.key, Time: c.At, Reason: c.Reason.Rule,
		From: c.From.String(), To: c.To.String(), Detail: c})
}

func (g *guard) byHand(do func(*breaker.Breaker, string), reason string) error {
	if g.breaker == nil {
		return fmt.Errorf("coreml: %w: the model has no fallback, and so no breaker", ErrUnsupported)
	}
	do(g.breaker, reason)
	return nil
}

func (g *guard) breakers() []BreakerStatus {
	if g.breaker == nil {
		return nil
	}
	return []BreakerStatus{g.breaker.Status()}
}

// watch makes snapshots measure a program.
func (g *guard) watch(k telemetry.Key, p backend.Program) {
	g.watched = append(g.watched, watched{k, p})
}

func (g *guard) snapshot() Telemetry {
	for _, w := range g.watched {
		g.to.Observe(telemetry.Event{Type: telemetry.Measured, Key: w.key, Time: time.Now(), Memory: backend.Footprint(w.program)})
	}
	return g.metrics.Snapshot()
}

// close ends what is beside the program.
func (g *guard) close() error {
	g.cases.close()
	var all []error
	if g.extra != nil {
		all = append(all, g.extra.Close())
	}
	if g.log != nil {
		all = append(all, g.log.Close())
	}
	return errors.Join(all...)
}
