package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"coreml"
	"coreml/tensor"
)

// Status is how a case ended.
type Status string

const (
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped" // a filter left it out
)

// Result is what became of a case.
type Result struct {
	ID        string        `json:"id"`
	Group     string        `json:"group,omitempty"`
	ModelType string        `json:"model_type,omitempty"`
	Ops       []string      `json:"ops,omitempty"`
	Status    Status        `json:"status"`
	Reason    string        `json:"reason,omitempty"` // of a failure, in a line
	Worst     *Mismatch     `json:"worst,omitempty"`
	Time      time.Duration `json:"nanoseconds"`
}

// Options say which cases to run, and how.
type Options struct {
	Tight   bool
	Jobs    int           // cases at a time; 0: one for each processor
	Timeout time.Duration // of one case; 0: a minute
	Open    coreml.Options
	Keep    func(*Case) bool // nil: all
	Each    func(Result)     // called for every result, one at a time
	// Got is called with the outputs of every call, by several goroutines; nil: nobody wants them.
	Got func(c *Case, call int, out coreml.Features)
}

// Run checks all cases, several at a time, and returns their results in order.
func Run(ctx context.Context, cases []*Case, o Options) []Result {
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	results := make([]Result, len(cases))
	work := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range min(o.Jobs, max(1, len(cases))) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range work {
				results[i] = one(ctx, cases[i], o)
				if o.Each != nil {
					mu.Lock()
					o.Each(results[i])
					mu.Unlock()
				}
			}
		}()
	}
	for i := range cases {
		work <- i
	}
	close(work)
	wg.Wait()
	return results
}

func one(ctx context.Context, c *Case, o Options) Result {
	r := Result{ID: c.ID, Group: c.Group, ModelType: c.ModelType, Status: Passed}
	for op := range c.Ops {
		r.Ops = append(r.Ops, op)
	}
	for l := range c.Layers {
		r.Ops = append(r.Ops, l)
	}
	slices.Sort(r.Ops)
	if o.Keep != nil && !o.Keep(c) {
		r.Status = Skipped
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	start := time.Now()
	worst, err := c.check(ctx, o)
	r.Time = time.Since(start)
	if err != nil {
		r.Status, r.Reason = Failed, reason(err)
	}
	if worst != nil {
		r.Status, r.Reason, r.Worst = Failed, worst.String(), worst
	}
	return r
}

// reason is an error in one line; what nothing here runs starts with "unsupported:".
func reason(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", " | ")
	if errors.Is(err, coreml.ErrUnsupported) {
		return "unsupported: " + text
	}
	return text
}

// open opens the case's model: from its path where it lies on disk, so that weights are mapped.
func (c *Case) open(o coreml.Options) (*coreml.Model, error) {
	if c.Function != "" {
		o.Function = c.Function
	}
	if d, ok := c.FS.(diskFS); ok {
		return coreml.Open(filepath.Join(string(d), filepath.FromSlash(c.Model())), o)
	}
	return coreml.OpenFS(c.FS, c.Model(), o)
}

// check runs the case. The mismatch is the worst one of all calls.
func (c *Case) check(ctx context.Context, o Options) (*Mismatch, error) {
	if c.Expect != "" {
		return nil, c.checkExpectation(o)
	}
	m, err := c.open(o.Open)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	in, err := c.arrays("inputs.npz")
	if err != nil {
		return nil, err
	}
	want, err := c.arrays("expected.npz")
	if err != nil {
		return nil, err
	}
	t := &trial{c: c, m: m, in: in, want: want, o: o, states: map[int]*coreml.State{}}
	for i := range c.Calls {
		if err := t.call(ctx, i); err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
	}
	return t.worst, nil
}

// trial is a case on its way.
type trial struct {
	c        *Case
	m        *coreml.Model
	in, want map[string]*tensor.Tensor
	o        Options
	states   map[int]*coreml.State
	worst    *Mismatch
}

func (t *trial) state(i *int) (*coreml.State, error) {
	if i == nil {
		return nil, nil
	}
	s := t.states[*i]
	if s == nil {
		var err error
		if s, err = t.m.NewState(); err != nil {
			return nil, err
		}
		t.states[*i] = s
	}
	return s, nil
}

func (t *trial) call(ctx context.Context, i int) error {
	call := &t.c.Calls[i]
	st, err := t.state(call.State)
	if err != nil {
		return err
	}
	in, err := features(call.Inputs, t.in)
	if err != nil {
		return err
	}
	out := tensor.Features{}
	switch call.Type {
	case "write_state":
		return st.Load(in)
	case "read_state":
		out, err = st.Save()
	case "predict", "":
		err = t.m.PredictInto(ctx, in, out, st)
	default:
		err = fmt.Errorf("type %q: want predict, write_state or read_state", call.Type)
	}
	if err != nil {
		return err
	}
	if t.o.Got != nil {
		t.o.Got(t.c, i, out)
	}
	for name, w := range call.Expected {
		got, ok := out[name]
		m := differ("missing")
		if ok {
			m = w.compare(got, t.want, t.o.Tight, t.c.MixedFP16)
		}
		if m != nil && (t.worst == nil || m.Error > t.worst.Error) {
			m.Call, m.Output = i, name
			t.worst = m
		}
	}
	return nil
}

func (c *Case) checkExpectation(o Options) error {
	switch c.Expect {
	case "refused":
		m, err := c.open(o.Open)
		if err == nil {
			m.Close()
			return fmt.Errorf("opened, want it refused: %s", c.Reason)
		}
		want := coreml.ErrUnsupported
		if c.Reason == "weights absent" {
			want = coreml.ErrLoad
		}
		if !errors.Is(err, want) {
			return fmt.Errorf("refused with %w, want %v: %s", err, want, c.Reason)
		}
		return nil
	case "describes":
		if d, ok := c.FS.(diskFS); ok {
			_, err := coreml.Describe(filepath.Join(string(d), filepath.FromSlash(c.Model())))
			return err
		}
		m, err := c.open(o.Open)
		if err == nil {
			m.Close()
		}
		return err
	}
	return fmt.Errorf("expect %q: want refused or describes", c.Expect)
}

// diskFS is a folder on disk that knows where it is.
type diskFS string

func (d diskFS) Open(name string) (fs.File, error) { return os.DirFS(string(d)).Open(name) }
