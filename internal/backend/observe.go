package backend

import (
	"context"
	"time"

	"coreml/guards"
	"coreml/internal/mlmodel"
	"coreml/telemetry"
)

// Observe tells o of every load and run of b. The key names what is loaded: its
// Backend and Unit may be empty, and are then what b calls itself and what the
// loaded program says.
func Observe(b Backend, k telemetry.Key, o telemetry.Observer) Backend { return &observing{b, k, o} }

type observing struct {
	Backend
	key telemetry.Key
	to  telemetry.Observer
}

func (b *observing) Load(ctx context.Context, m *mlmodel.Model, c Config) (Program, error) {
	start := time.Now()
	p, err := b.Backend.Load(ctx, m, c)
	e := telemetry.Event{Type: telemetry.Loaded, Key: b.key, Time: time.Now(), Err: err}
	e.Duration = e.Time.Sub(start)
	if e.Backend == "" {
		e.Backend = b.Name()
	}
	if err == nil {
		have := p.Capabilities()
		if e.Unit == "" {
			e.Unit = have.Unit
		}
		e.Memory = Footprint(p)
	}
	b.to.Observe(e)
	if err != nil {
		return nil, err
	}
	return &observed{p, e.Key, b.to}, nil
}

// observed is a loaded program that is watched.
type observed struct {
	Program
	key telemetry.Key
	to  telemetry.Observer
}

func (p *observed) Run(ctx context.Context, j *Job) error {
	e := telemetry.Event{Type: telemetry.Started, Key: p.key, Time: time.Now()}
	start := e.Time
	p.to.Observe(e)
	before := j.Queued // by others, who were asked first
	err := p.Program.Run(ctx, j)
	e.Type, e.Time, e.Err = telemetry.Ran, time.Now(), err
	e.Queue = j.Queued - before
	e.Duration = e.Time.Sub(start) - e.Queue
	p.to.Observe(e)
	return err
}

// Borrow is p for a second user, whose Close leaves it open. It counts no memory.
func Borrow(p Program) Program { return borrowing{p} }

type borrowing struct{ Program }

func (borrowing) Close() error { return nil }

func (p borrowing) Capabilities() Capabilities {
	c := p.Program.Capabilities()
	c.Memory = guards.Memory{}
	return c
}
