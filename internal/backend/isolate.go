package backend

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"coreml/internal/fault"
	"coreml/internal/isolate"
	"coreml/internal/mlmodel"
)

// IsolateOptions say what Isolate allows its child processes. The zero value has the defaults.
type IsolateOptions struct {
	// RunTimeout and LoadTimeout bound what has no deadline of its own. 0: no limit for
	// runs, 10 minutes for loading, which some accelerators take for their first load.
	RunTimeout  time.Duration
	LoadTimeout time.Duration
	// StartTimeout is for how long a child may take to come up; 0: 10 s.
	StartTimeout time.Duration
	// Grace is for how long a child may go on with a run after its deadline before it is
	// killed and replaced; 0: 100 ms. The run itself has returned by then.
	Grace time.Duration
	// CancelGrace is the same for a run that is cancelled before its deadline; 0: 5 s.
	CancelGrace time.Duration
	// ControlTimeout bounds calls without a context: states, capabilities, closing; 0: 10 s.
	ControlTimeout time.Duration
	// SharedLimit bounds the bytes of tensors in flight of one child; 0: 4 GiB.
	SharedLimit int64
	// MemoryLimit bounds the bytes that a child allocates itself; 0: no limit. It is hard
	// on Linux, and a hint to the garbage collector elsewhere.
	MemoryLimit int64
	// SharedDir is a folder for files to share; "": memory, or the temporary folder where
	// the system has no memory without a name.
	SharedDir string
	// Checkpoint keeps a copy of each state after every good run, so that it outlives the child.
	Checkpoint bool
}

func (o IsolateOptions) orDefaults() IsolateOptions {
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
func Isolate(b Backend, o IsolateOptions) Backend { return &isolating{b, o.orDefaults()} }

type isolating struct {
	inner Backend
	o     IsolateOptions
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

func (o IsolateOptions) child() isolate.Options {
	return isolate.Options{Start: o.StartTimeout, Grace: o.Grace, CancelGrace: o.CancelGrace, Shared: o.SharedLimit, Memory: o.MemoryLimit, Dir: o.SharedDir}
}
