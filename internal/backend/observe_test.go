package backend_test

import (
	"context"
	"errors"
	"testing"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/telemetry"
	"coreml/tensor"
)

// loadable is a backend of one program.
type loadable struct {
	p   *summing
	err error
}

func (loadable) Name() string  { return "loadable" }
func (loadable) Usable() error { return nil }
func (b loadable) Load(context.Context, *mlmodel.Model, backend.Config) (backend.Program, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.p, nil
}

func TestObserveTellsLoadsAndRuns(t *testing.T) {
	var got []telemetry.Event
	o := telemetry.Func(func(e telemetry.Event) { got = append(got, e) })
	if _, err := backend.Observe(loadable{err: fault.Load}, telemetry.Key{Model: "m"}, o).Load(context.Background(), nil, backend.Config{}); !errors.Is(err, fault.Load) {
		t.Fatal(err)
	}
	p, err := backend.Observe(loadable{p: &summing{name: "s"}}, telemetry.Key{Model: "m"}, o).Load(context.Background(), nil, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, p, context.Background(), 1)
	if err := p.Run(context.Background(), &backend.Job{In: []tensor.Features{{}}, Out: []tensor.Features{{}}}); err == nil {
		t.Fatal("bad input is answered")
	}
	key := telemetry.Key{Model: "m", Backend: "loadable", Unit: "s unit"}
	want := []telemetry.Event{
		{Type: telemetry.Loaded, Key: telemetry.Key{Model: "m", Backend: "loadable"}, Err: fault.Load},
		{Type: telemetry.Loaded, Key: key, Memory: 1},
		{Type: telemetry.Started, Key: key},
		{Type: telemetry.Ran, Key: key},
		{Type: telemetry.Started, Key: key},
		{Type: telemetry.Ran, Key: key, Err: fault.Schema},
	}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Type != w.Type || g.Key != w.Key || g.Memory != w.Memory || !errors.Is(g.Err, w.Err) || g.Time.IsZero() {
			t.Errorf("event %d: %+v, want %+v", i, g, w)
		}
	}
}

func TestWrapPutsAFunctionAroundEachElement(t *testing.T) {
	p, err := backend.Wrap(loadable{p: &summing{name: "s"}}, func(next backend.Predict) backend.Predict {
		return func(ctx context.Context, in tensor.Features) (tensor.Features, error) {
			v := tensor.Data[float32](in["x"].(*tensor.Tensor))[0]
			if v == 3 {
				return nil, errors.New("three")
			}
			return next(ctx, tensor.Features{"x": tensor.Of([]float32{v * 10})})
		}
	}).Load(context.Background(), nil, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	given := tensor.New(tensor.Float32, 1)
	j := &backend.Job{In: []tensor.Features{x(1)[0], x(2)[0]}, Out: []tensor.Features{{"y": given}, nil}}
	if err := p.Run(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	if y(j) != 10 || j.Out[0]["y"] != given || tensor.Data[float32](j.Out[1]["y"].(*tensor.Tensor))[0] != 20 || j.Dispatch != (guards.Dispatch{Backend: "loadable-wrapped", Unit: "s unit"}) {
		t.Errorf("%v, %+v", j.Out, j.Dispatch)
	}
	if err := p.Run(context.Background(), &backend.Job{In: x(3), Out: make([]tensor.Features, 1)}); err == nil || err.Error() != "three" {
		t.Error(err)
	}
}

func TestBorrowLeavesItOpen(t *testing.T) {
	p := &summing{name: "s"}
	b := backend.Borrow(p)
	if err := b.Close(); err != nil || p.closed.Load() {
		t.Errorf("closed: %v, %v", p.closed.Load(), err)
	}
	if c := b.Capabilities(); c.Unit != "s unit" || c.Memory.Weights != 0 {
		t.Errorf("%+v", c)
	}
}
