package verify

import (
	"context"
	"errors"
	"fmt"

	"coreml"
	"coreml/tensor"
)

// open opens the case's model: from its path where it lies on disk, so that weights are mapped.
func (c *Case) open(o coreml.Options) (*coreml.Model, error) {
	if c.Function != "" {
		o.Function = c.Function
	}
	if d, ok := c.FS.(diskFS); ok {
		return coreml.Open(d.path(c.Model()), o)
	}
	return coreml.OpenFS(c.FS, c.Model(), o)
}

// check runs the case. The mismatch is the worst one of all calls.
func (c *Case) check(ctx context.Context, o Options) (*Mismatch, error) {
	switch {
	case c.Broken != nil:
		return nil, c.Broken
	case !c.checks():
		return nil, errors.New("nothing is expected: no call has an output to compare")
	case c.Expect != "":
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
	case "write_state", "read_state":
		if st == nil {
			return fmt.Errorf("%s: state null: want the number of a state", call.Type)
		}
		if call.Type == "write_state" {
			return st.Load(in)
		}
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
		m, err := c.inspect()
		if err == nil {
			m.Close()
		}
		return err
	}
	return fmt.Errorf("expect %q: want refused or describes", c.Expect)
}
