// Package chaos is a backend that does wrong on demand: what decorators have to
// cope with is rehearsed with it, by tests and by hand.
package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// Fault is what is wrong with a program for a while. The zero value: nothing.
type Fault struct {
	Kind  Kind
	Share float64 // of the runs that it hits; 0: all
	// Delay of Slow: the mean, or the median of a heavy tail.
	Delay time.Duration
	Tail  Tail
	// Grow of Memory and Hoard: bytes for each run.
	Grow int64
	// NoLoad makes loading fail as long as the fault lasts.
	NoLoad bool
}

// Kind says what happens to a run.
type Kind string

// The kinds of faults. Hang ignores its context. When the fault is over it answers: with
// wrong numbers where it is so late that nobody must see them. Hoard, Exit,
// Kill and Exhaust are for child processes: all but the first end them.
const (
	None    Kind = ""
	Slow    Kind = "slow"
	Error   Kind = "error"
	Hang    Kind = "hang"
	Panic   Kind = "panic"
	Wrong   Kind = "wrong numbers"
	NaN     Kind = "NaN"
	State   Kind = "wrong state" // the answers are right; not for a child
	Shape   Kind = "wrong shape" // of tensors; other outputs are missing
	Memory  Kind = "memory"      // claimed
	Hoard   Kind = "hoard"       // memory that is taken, until the fault is over
	Exit    Kind = "exit"
	Kill    Kind = "kill"    // as the kernel does when memory runs out
	Exhaust Kind = "exhaust" // takes memory until there is no more; for a child with a limit
	Load    Kind = "load"    // loading fails; a loaded program is well
)

// Tail is the distribution of delays.
type Tail string

// The distributions.
const (
	Constant    Tail = ""
	Exponential Tail = "exponential"
	LogNormal   Tail = "log-normal" // sigma 1
	Bimodal     Tail = "bimodal"    // a tenth takes ten times as long
)

func (f *Fault) delay() time.Duration {
	d := float64(f.Delay)
	switch f.Tail {
	case Exponential:
		d *= rand.ExpFloat64()
	case LogNormal:
		d *= math.Exp(rand.NormFloat64())
	case Bimodal:
		if rand.IntN(10) == 0 {
			d *= 10
		}
	}
	return time.Duration(d)
}

// Control sets the fault of a backend while it runs. The zero value has none.
type Control struct {
	mu   sync.Mutex
	now  atomic.Pointer[current]
	file string
}

type current struct {
	Fault
	over chan struct{} // closed when another fault is set
}

// File is a control that processes share: what one sets there the other sees.
func File(name string) *Control { return &Control{file: name} }

// Set replaces the fault. Hanging runs of the one before end.
func (c *Control) Set(f Fault) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.now.Swap(&current{f, make(chan struct{})})
	if last != nil {
		close(last.over)
	}
	if c.file == "" {
		return nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	next := c.file + ".next"
	return errors.Join(os.WriteFile(next, b, 0o600), os.Rename(next, c.file))
}

// fault is the one of now, with a channel that is closed when it is over.
func (c *Control) fault() (Fault, <-chan struct{}) {
	if c.file != "" {
		b, err := os.ReadFile(c.file)
		var f Fault
		if err == nil && json.Unmarshal(b, &f) == nil {
			return f, nil // a hanging child is ended by being killed
		}
		return Fault{}, nil
	}
	if n := c.now.Load(); n != nil {
		return n.Fault, n.over
	}
	return Fault{}, nil
}

// Backend is inner with the faults of a control.
func Backend(inner backend.Backend, c *Control) backend.Backend { return &faulty{inner, c} }

type faulty struct {
	backend.Backend
	control *Control
}

func (b *faulty) Name() string { return "chaos" }

func (b *faulty) Load(ctx context.Context, m *mlmodel.Model, c backend.Config) (backend.Program, error) {
	if f, _ := b.control.fault(); f.Kind == Load || f.NoLoad {
		return nil, fmt.Errorf("chaos: %w: as rehearsed", fault.Load)
	}
	p, err := b.Backend.Load(ctx, m, c)
	if err != nil {
		return nil, err
	}
	return &program{Program: p, control: b.control}, nil
}

type program struct {
	backend.Program
	control *Control
	grown   atomic.Int64
	hoard   hoard
}

// Capabilities claim the memory that the program has grown to.
func (p *program) Capabilities() backend.Capabilities {
	c := p.Program.Capabilities()
	c.Memory.Weights += p.grown.Load()
	return c
}

// Run implements backend.Program.
func (p *program) Run(ctx context.Context, j *backend.Job) error {
	f, over := p.control.fault()
	if f.Kind != Memory {
		p.grown.Store(0)
	}
	if f.Kind != Hoard {
		p.hoard.release()
	}
	if f.Share > 0 && rand.Float64() >= f.Share {
		f = Fault{}
	}
	if err := p.before(ctx, &f, over); err != nil {
		return err
	}
	if f.Kind == Hang {
		ctx = context.WithoutCancel(ctx)
	}
	if err := p.Program.Run(ctx, j); err != nil {
		return err
	}
	j.Dispatch.Backend = "chaos"
	for _, out := range j.Out {
		for name, v := range out {
			if _, ok := v.(*tensor.Tensor); !ok && f.Kind == Shape {
				delete(out, name)
				continue
			}
			out[name] = spoilt(f.Kind, v)
		}
	}
	if f.Kind == State && j.State != nil {
		return spoilState(j.State)
	}
	return nil
}

// tooLate is after how long nobody can be about to take an answer any more.
const tooLate = 50 * time.Millisecond

// before does what a fault does before the answer.
func (p *program) before(ctx context.Context, f *Fault, over <-chan struct{}) error {
	switch f.Kind {
	case Slow:
		select {
		case <-time.After(f.delay()):
		case <-ctx.Done():
			return ctx.Err()
		}
	case Error:
		return fmt.Errorf("chaos: %w: as rehearsed", fault.Runtime)
	case Hang:
		<-over
		if at, ok := ctx.Deadline(); !ok || time.Since(at) < tooLate {
			*f = Fault{}
		}
	case Panic:
		panic("chaos: as rehearsed")
	case Exit:
		os.Exit(7)
	case Kill:
		return kill()
	case Exhaust:
		exhaust()
	case Memory:
		p.grown.Add(f.Grow)
	case Hoard:
		p.hoard.add(f.Grow)
	}
	return nil
}

func kill() error {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		return err
	}
	select {}
}

// exhaust asks for memory until the process is ended for it, which needs a limit. It
// writes to none, so that this does not take long.
func exhaust() {
	for all := [][]byte{}; ; runtime.KeepAlive(all) {
		all = append(all, make([]byte, 32<<20))
	}
}

// mostHoard keeps a rehearsal from exhausting the machine.
const mostHoard = 1 << 30

// hoard is memory that is in use.
type hoard struct {
	mu   sync.Mutex
	all  [][]byte
	size int64
}

func (h *hoard) add(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.size += n; h.size > mostHoard {
		h.size -= n
		return
	}
	b := make([]byte, n)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	h.all = append(h.all, b)
}

// release gives the memory back to the system.
func (h *hoard) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all != nil {
		h.all, h.size = nil, 0
		debug.FreeOSMemory()
	}
}

// spoilState makes a state wrong.
func spoilState(st backend.State) error {
	f := tensor.Features{}
	if err := st.Save(f); err != nil {
		return err
	}
	for _, v := range f {
		spoilt(Wrong, v)
	}
	return st.Load(f)
}

// spoilt is an answer as the fault makes it.
func spoilt(k Kind, v any) any {
	switch v := v.(type) {
	case *tensor.Tensor:
		switch k {
		case Shape:
			return tensor.New(v.DType(), append([]int{2}, v.Shape()...)...)
		case Wrong, NaN, Hang:
			switch v.DType() {
			case tensor.Float32:
				x := tensor.Data[float32](v)
				for i := range x {
					x[i] = wrong(k, x[i])
				}
			case tensor.Float16:
				x := tensor.Data[uint16](v)
				for i := range x {
					x[i] = tensor.F16(wrong(k, tensor.F32(x[i])))
				}
			}
		}
	case map[string]float64:
		for key, x := range v {
			v[key] = float64(wrong(k, float32(x)))
		}
	}
	return v
}

func wrong(k Kind, x float32) float32 {
	switch k {
	case Wrong, Hang:
		return x*1.25 + 0.01
	case NaN:
		return float32(math.NaN())
	}
	return x
}
