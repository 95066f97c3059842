package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"coreml/guards"
	"coreml/internal/fault"
	"coreml/internal/isolate"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// isolated is a program in a child process, and in the one that replaces it.
type isolated struct {
	b      *isolating
	model  *mlmodel.Model
	path   string // "": the model crosses as bytes
	config Config

	life context.Context // of loading in the background
	end  context.CancelFunc

	mu     sync.Mutex
	now    *generation
	caps   Capabilities // as last heard
	closed bool
	runs   sync.WaitGroup // runs in flight, and generations that are being loaded

	room atomic.Int64 // the largest results that had no place yet
}

// generation is one child. Its fields are set when ready is closed.
type generation struct {
	ready chan struct{}
	child *isolate.Child
	err   error
	used  atomic.Bool // it has been asked for something after loading
}

func newGeneration() *generation { return &generation{ready: make(chan struct{})} }

// gone reports whether it cannot answer any more, or never could.
func (g *generation) gone() bool {
	select {
	case <-g.ready:
	default:
		return false
	}
	if g.err != nil {
		return true
	}
	select {
	case <-g.child.Dead():
		return true
	default:
		return false
	}
}

// load starts the child of g and loads the program in it.
func (p *isolated) load(ctx context.Context, g *generation) {
	defer close(g.ready)
	c, err := isolate.Start(ctx, childOptions(p.b.o))
	if err == nil {
		if err = p.loadIn(ctx, c); err != nil {
			c.End("its program was not loaded")
		}
	}
	if err != nil {
		g.err = explainChild("load", fault.Load, err)
		return
	}
	g.child = c
}

// loading is what a child is told to load.
type loading struct {
	Backend string
	Path    string
	Name    string // in the archive that the call's shared memory holds, when there is no path
	Size    int    // of the archive
	Config  Config
}

func (p *isolated) loadIn(ctx context.Context, c *isolate.Child) error {
	l := loading{Backend: p.b.inner.Name(), Path: p.path, Config: p.config}
	if p.path == "" {
		var n byteCounter
		if _, err := p.model.Pack(&n); err != nil {
			return err
		}
		l.Size = int(n)
	}
	k, err := c.NewCall(opLoad, l.Size)
	if err != nil {
		return err
	}
	if p.path == "" {
		w := bytes.NewBuffer(k.Mem()[:0])
		if l.Name, err = p.model.Pack(w); err == nil && w.Len() != l.Size {
			err = fmt.Errorf("backend: the model changed while it was packed: %w", fault.Load)
		}
	}
	text, bad := json.Marshal(l)
	if err = errors.Join(err, bad); err != nil {
		k.Drop()
		return err
	}
	k.String(string(text))
	r, err := k.Send(ctx)
	if err != nil {
		return err
	}
	defer r.Discard()
	return p.heard(c, r)
}

// heard keeps the capabilities in a reply.
func (p *isolated) heard(c *isolate.Child, r *isolate.Reply) error {
	d := r.Decoder()
	var caps Capabilities
	err := json.Unmarshal([]byte(d.String()), &caps)
	if err = errors.Join(d.Err(), err); err != nil {
		return c.Distrust(err)
	}
	p.mu.Lock()
	p.caps = caps
	p.mu.Unlock()
	return nil
}

// byteCounter counts what is written.
type byteCounter int64

func (c *byteCounter) Write(b []byte) (int, error) { *c += byteCounter(len(b)); return len(b), nil }

var _ io.Writer = (*byteCounter)(nil)

// current is the generation to use, when it is ready. A dead one is replaced first;
// that goes on when ctx ends, so that a short deadline does not keep a child from coming up.
// Waited is the time until it was ready; 0: it was.
func (p *isolated) current(ctx context.Context) (g *generation, waited time.Duration, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, 0, fmt.Errorf("backend: isolated program: %w", fault.Closed)
	}
	if p.now.gone() {
		p.renew()
	}
	g = p.now
	p.mu.Unlock()
	select {
	case <-g.ready:
	default:
		start := time.Now()
		select {
		case <-g.ready:
			waited = time.Since(start)
		case <-ctx.Done():
			return nil, time.Since(start), timeoutOf(ctx, "waiting for a new child")
		}
	}
	if g.err != nil {
		return nil, waited, g.err
	}
	g.used.Store(true)
	return g, waited, nil
}

func timeoutOf(ctx context.Context, doing string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("backend: isolated: %s: %w: %w", doing, fault.Timeout, ctx.Err())
	}
	return fmt.Errorf("backend: isolated: %s: %w", doing, ctx.Err())
}

// renew begins to load the next generation. p.mu is held.
func (p *isolated) renew() {
	g := newGeneration()
	p.now = g
	p.runs.Add(1)
	go func() {
		defer p.runs.Done()
		ctx, cancel := context.WithTimeout(p.life, p.b.o.LoadTimeout)
		defer cancel()
		p.load(ctx, g)
	}()
}

// replace begins at once to replace a child that died at work. One that dies
// before that, or while loading, is replaced when somebody asks for it again.
func (p *isolated) replace(g *generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && p.now == g && g.gone() && g.err == nil && g.used.Load() {
		p.renew()
	}
}

// Run implements Program.
func (p *isolated) Run(ctx context.Context, j *Job) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.runs.Done()
	var st *isolatedState
	if j.State != nil {
		var ok bool
		if st, ok = j.State.(*isolatedState); !ok || st.p != p {
			return fmt.Errorf("backend: isolated run: %w: the state belongs to another model", fault.State)
		}
		if err := st.claim(); err != nil {
			return err
		}
		defer st.release()
	}
	ctx, cancel := withDefaultTimeout(ctx, p.b.o.RunTimeout)
	defer cancel()
	const tries = 4
	for try := 1; ; try++ {
		g, waited, err := p.current(ctx)
		j.Queued += waited
		if err != nil {
			return err
		}
		if err = p.runIn(ctx, g, j, st); err == nil {
			return nil
		}
		var d *isolate.Death
		if errors.As(err, &d) {
			p.replace(g)
			if d.Innocent && try < tries && ctx.Err() == nil {
				continue
			}
		}
		return explainChild("run", fault.Runtime, err)
	}
}

func (p *isolated) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("backend: isolated program: %w", fault.Closed)
	}
	p.runs.Add(1)
	return nil
}

// runIn runs the job in one child.
func (p *isolated) runIn(ctx context.Context, g *generation, j *Job, st *isolatedState) (err error) {
	var id uint64
	if st != nil {
		if id, err = st.in(ctx, g); err != nil {
			return err
		}
		defer func() { st.ran(err) }()
	}
	k, err := p.request(g.child, j, id)
	if err != nil {
		return err
	}
	r, err := k.Send(ctx)
	if err != nil {
		return err
	}
	defer r.Release()
	p.room.Store(max(p.room.Load(), int64(r.Enlarged)))
	return p.results(g.child, r, j, st)
}

// request writes inputs, and makes place for the results.
func (p *isolated) request(c *isolate.Child, j *Job, state uint64) (*isolate.Call, error) {
	size := int(p.room.Load())
	for i := range j.In {
		if err := checkImages(j.In[i]); err != nil {
			return nil, err
		}
		size += isolate.Size(j.In[i]) + isolate.Size(j.Out[i])
	}
	k, err := c.NewCall(opRun, size)
	if err != nil {
		return nil, err
	}
	k.Uint(state)
	k.Byte(flagByte(state != 0 && p.b.o.Checkpoint))
	k.Uint(uint64(len(j.In)))
	for i := range j.In {
		if err = k.Features(j.In[i], nil); err == nil {
			err = k.Room(j.Out[i])
		}
		if err != nil {
			k.Drop()
			return nil, err
		}
	}
	return k, nil
}

func flagByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// results reads a reply into the job and, when asked for, the state's checkpoint.
func (p *isolated) results(c *isolate.Child, r *isolate.Reply, j *Job, st *isolatedState) error {
	d := r.Decoder()
	dispatch := guards.Dispatch{Backend: p.b.Name(), Unit: d.String()}
	for i := range j.In {
		if j.Out[i] == nil {
			j.Out[i] = tensor.Features{}
		}
		d.Features(j.Out[i])
	}
	if st != nil && p.b.o.Checkpoint {
		saved := tensor.Features{}
		d.Features(saved)
		if d.Err() == nil {
			st.checkpoint = saved
		}
	}
	if err := d.Err(); err != nil {
		return c.Distrust(err)
	}
	j.Dispatch = dispatch
	return nil
}

// Capabilities are those of the child, as last heard if it does not answer.
func (p *isolated) Capabilities() Capabilities {
	p.mu.Lock()
	g, closed := p.now, p.closed
	last := p.caps
	p.mu.Unlock()
	select {
	case <-g.ready:
	default:
		return last
	}
	if closed || g.gone() {
		return last
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.b.o.ControlTimeout)
	defer cancel()
	k, err := g.child.NewCall(opCapabilities, 0)
	if err != nil {
		return last
	}
	r, err := k.Send(ctx)
	if err != nil {
		return last
	}
	defer r.Release()
	_ = p.heard(g.child, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.caps
}

// Close waits for runs in flight, but no longer than ControlTimeout: then their
// child is killed, and they return with fault.Killed.
func (p *isolated) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	g := p.now
	p.mu.Unlock()
	p.end()

	wait := p.b.o.ControlTimeout
	done := make(chan struct{})
	go func() { p.runs.Wait(); close(done) }()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		<-g.ready // life has ended
		if g.err == nil {
			g.child.End("its program was closed, and a run did not end")
		}
		<-done
	}
	<-g.ready
	if g.err != nil || g.gone() {
		return nil // there is nothing left to close, and whoever it died under was told
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	k, err := g.child.NewCall(opClose, 0)
	if err == nil {
		var r *isolate.Reply
		if r, err = k.Send(ctx); err == nil {
			r.Release()
		}
	}
	if err == nil {
		err = g.child.Close(wait)
	} else {
		g.child.End("its program could not be closed")
	}
	var d *isolate.Death
	if err == nil || errors.As(err, &d) && d.Innocent {
		return nil // if not by itself, it ended for a call that was given up before
	}
	return explainChild("close", fault.Runtime, err)
}
