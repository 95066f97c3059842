package backend

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"coreml/guards"
	"coreml/internal/fault"
	"coreml/internal/isolate"
	"coreml/internal/mlmodel"
)

// withDefaults fills in what is zero.
func withDefaults(o guards.Isolation) guards.Isolation {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.LoadTimeout, 10*time.Minute)
	set(&o.StartTimeout, 10*time.Second)
	set(&o.Grace, 100*time.Millisecond)
	set(&o.CancelGrace, 5*time.Second)
	set(&o.ControlTimeout, 10*time.Second)
	if o.SharedLimit == 0 {
		o.SharedLimit = 4 << 30
	}
	return o
}

// Isolate runs b in child processes of this program, one for each program that it
// loads. What kills, hangs or fills a child becomes an error here (fault.Killed,
// fault.Timeout, fault.Memory), and the next run finds a new child. The program's
// start has to call ServeIsolated with a list that holds b.
func Isolate(b Backend, o guards.Isolation) Backend { return &isolating{b, withDefaults(o)} }

type isolating struct {
	inner Backend
	o     guards.Isolation
}

func (b *isolating) Name() string { return b.inner.Name() + "-isolated" }

func (b *isolating) Usable() error {
	if !servable(b.inner.Name()) {
		return fmt.Errorf("backend: isolating %s: %w: this program does not serve it to children", b.inner.Name(), fault.Unsupported)
	}
	return b.inner.Usable()
}

// Load starts a child and loads the model there. The model has to stay open until
// the program is closed, since children that replace the first load it again.
func (b *isolating) Load(ctx context.Context, m *mlmodel.Model, c Config) (Program, error) {
	if err := b.Usable(); err != nil {
		return nil, err
	}
	p := &isolated{b: b, model: m, config: c}
	if m.Path != "" {
		var err error
		if p.path, err = filepath.Abs(m.Path); err != nil {
			return nil, fmt.Errorf("backend: isolating: %w: %w", fault.Load, err)
		}
	}
	p.life, p.end = context.WithCancel(context.Background())
	g := newGeneration()
	p.now = g
	ctx, cancel := withDefaultTimeout(ctx, b.o.LoadTimeout)
	defer cancel()
	p.load(ctx, g)
	if g.err != nil {
		p.end()
		return nil, g.err
	}
	return p, nil
}

// withDefaultTimeout gives ctx a deadline, if it has none and there is a default.
func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok || d <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// explainChild says what was being done when the child failed. An error of the child
// that has no kind gets one.
func explainChild(doing string, kind, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("backend: isolated %s: %w", doing, err)
	}
	return fmt.Errorf("backend: isolated %s: %w", doing, fault.As(kind, err))
}

// childOptions are those of the child process itself.
func childOptions(o guards.Isolation) isolate.Options {
	return isolate.Options{Start: o.StartTimeout, Grace: o.Grace, CancelGrace: o.CancelGrace, Shared: o.SharedLimit, Memory: o.MemoryLimit, Dir: o.SharedDir}
}
