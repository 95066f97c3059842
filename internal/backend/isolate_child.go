package backend

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"coreml/internal/fault"
	"coreml/internal/isolate"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// What a child can be asked for.
const (
	opLoad = 1 + iota
	opRun
	opCapabilities
	opNewState
	opSaveState
	opLoadState
	opCloseState
	opClose
)

// served are the names of the backends that children of this process can run.
var served atomic.Pointer[map[string]bool]

func servable(name string) bool {
	m := served.Load()
	return m != nil && (*m)[name]
}

// ServeIsolated has to be called when the program starts, before it does anything
// else. In a child of Isolate it runs one of the backends until the parent is gone,
// and does not return. Everywhere else it costs next to nothing.
func ServeIsolated(all ...Backend) {
	if isolate.IsChild() {
		c := &guest{backends: all, states: map[uint64]State{}}
		isolate.Serve(c.handle)
	}
	names := make(map[string]bool, len(all))
	for _, b := range all {
		names[b.Name()] = true
	}
	served.Store(&names)
}

// guest is the child's side of an isolated program.
type guest struct {
	backends []Backend
	model    *mlmodel.Model
	program  Program // set by the first call, which is over before the others come

	mu     sync.Mutex
	states map[uint64]State
	last   uint64
}

func (c *guest) handle(ctx context.Context, r *isolate.Request) (*isolate.Encoder, error) {
	if r.Op == opLoad {
		return c.load(ctx, r)
	}
	if c.program == nil {
		return nil, fmt.Errorf("backend: %w: no model is loaded", fault.Invalid)
	}
	switch r.Op {
	case opRun:
		return c.run(ctx, r)
	case opCapabilities:
		return c.capabilities()
	case opNewState:
		return c.newState(r)
	case opSaveState, opLoadState:
		return c.exchange(r)
	case opCloseState:
		return nil, c.closeState(r)
	case opClose:
		return nil, c.program.Close()
	}
	return nil, fmt.Errorf("backend: operation %d: %w", r.Op, fault.Invalid)
}

func (c *guest) load(ctx context.Context, r *isolate.Request) (*isolate.Encoder, error) {
	var l loading
	if err := json.Unmarshal([]byte(r.String()), &l); err != nil {
		return nil, err
	}
	if c.program != nil {
		return nil, fmt.Errorf("backend: %w: a model is loaded already", fault.Invalid)
	}
	var m *mlmodel.Model
	var err error
	if l.Path != "" {
		m, err = mlmodel.Open(l.Path)
	} else {
		archive := bytes.NewReader(r.Archive(l.Size))
		var z *zip.Reader
		if z, err = zip.NewReader(archive, archive.Size()); err == nil {
			m, err = mlmodel.OpenFS(z, l.Name)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, b := range c.backends {
		if b.Name() != l.Backend {
			continue
		}
		p, err := b.Load(ctx, m, l.Config)
		if err != nil {
			m.Close()
			return nil, err
		}
		c.model, c.program = m, p
		return c.capabilities()
	}
	m.Close()
	return nil, fmt.Errorf("backend: %q: %w: this program does not serve it", l.Backend, fault.Unsupported)
}

func (c *guest) capabilities() (*isolate.Encoder, error) {
	text, err := json.Marshal(c.program.Capabilities())
	if err != nil {
		return nil, err
	}
	e := isolate.NewEncoder(nil)
	e.String(string(text))
	return e, nil
}

func (c *guest) run(ctx context.Context, r *isolate.Request) (*isolate.Encoder, error) {
	st, err := c.state(r.Uint())
	if err != nil {
		return nil, err
	}
	save := r.Byte() == 1
	n := r.Count()
	j := Job{In: make([]tensor.Features, n), Out: make([]tensor.Features, n), State: st}
	placed := map[*tensor.Tensor]int{}
	for i := range j.In {
		j.In[i], j.Out[i] = tensor.Features{}, tensor.Features{}
		r.Views(j.In[i])
		r.Room(j.Out[i], placed)
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", fault.Schema, err)
	}
	if err := c.program.Run(ctx, &j); err != nil {
		return nil, err
	}
	answer := j.Out
	if save {
		saved := tensor.Features{}
		if err := st.Save(saved); err != nil {
			return nil, err
		}
		answer = append(answer, saved)
	}
	return answerWith(r, j.Dispatch.Unit, answer, placed)
}

// answerWith writes sets of features after a text. Tensors that the backend has
// written to shared memory already are not copied.
func answerWith(r *isolate.Request, text string, all []tensor.Features, placed map[*tensor.Tensor]int) (*isolate.Encoder, error) {
	fresh, there := 0, 0
	for _, f := range all {
		n := 0
		for _, v := range f {
			if t, ok := v.(*tensor.Tensor); ok {
				if _, ok := placed[t]; ok {
					n += isolate.Size(tensor.Features{"": t})
				}
			}
		}
		there += n
		fresh += isolate.Size(f) - n
	}
	e, moved, err := r.Answer(fresh, there)
	if err != nil {
		return nil, err
	}
	if moved {
		placed = nil
	}
	e.String(text)
	for _, f := range all {
		if err := e.Features(f, placed); err != nil {
			return nil, fmt.Errorf("result %w", err)
		}
	}
	return e, nil
}

// state is the one of that number; nil for 0.
func (c *guest) state(id uint64) (State, error) {
	if id == 0 {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.states[id]
	if s == nil {
		return nil, fmt.Errorf("backend: %w: there is no such state", fault.State)
	}
	return s, nil
}

func (c *guest) newState(r *isolate.Request) (*isolate.Encoder, error) {
	from := tensor.Features{}
	load := r.Byte() == 1
	r.Views(from)
	if err := r.Err(); err != nil {
		return nil, err
	}
	s, err := c.program.NewState()
	if err != nil {
		return nil, err
	}
	if load {
		if err := s.Load(from); err != nil {
			s.Close()
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.states[c.last] = s
	e := isolate.NewEncoder(nil)
	e.Uint(c.last)
	return e, nil
}

// exchange loads what the request brings, and answers with what the state holds, if asked to.
func (c *guest) exchange(r *isolate.Request) (*isolate.Encoder, error) {
	s, err := c.state(r.Uint())
	if err != nil {
		return nil, err
	}
	back := r.Byte() == 1
	from := tensor.Features{}
	r.Views(from)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("backend: %w: there is no state 0", fault.State)
	}
	if r.Op == opLoadState {
		if err := s.Load(from); err != nil {
			return nil, err
		}
	}
	if !back {
		return nil, nil
	}
	saved := tensor.Features{}
	if err := s.Save(saved); err != nil {
		return nil, err
	}
	return answerWith(r, "", []tensor.Features{saved}, nil)
}

func (c *guest) closeState(r *isolate.Request) error {
	id := r.Uint()
	s, err := c.state(id)
	if err != nil || s == nil {
		return err
	}
	c.mu.Lock()
	delete(c.states, id)
	c.mu.Unlock()
	return s.Close()
}
