package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/testkit"
	"coreml/schema"
	"coreml/tensor"
)

// nothing is what a file says of a function that it does not describe.
var nothing = &schema.Function{}

// eachBackend runs a test with the function as a program of the engine and of the reference.
func eachBackend(t *testing.T, c backend.Config, function func(b builder) *graph.Function, test func(t *testing.T, p *program)) {
	for name, mk := range map[string]func(*graph.Function) *program{
		"engine":    func(fn *graph.Function) *program { return newProgram(fn, cpu.Best(), c) },
		"reference": func(fn *graph.Function) *program { return newReference(fn, c) },
	} {
		t.Run(name, func(t *testing.T) {
			p, err := open(function(build(t)), nothing, maker{
				program: func(fn *graph.Function) (*program, error) { return mk(fn), nil },
				ready:   func(*program) error { return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			test(t, p)
		})
	}
}

// floatsIn makes a float32 vector.
func floatsIn(v ...float32) *tensor.Tensor {
	t, err := tensor.FromBytes(tensor.Float32, []int{len(v)}, tensor.BytesOf(v))
	if err != nil {
		panic(err)
	}
	return t
}

// predict makes one prediction.
func predict(p *program, s backend.State, in tensor.Features) (tensor.Features, error) {
	j := backend.Job{In: []tensor.Features{in}, Out: make([]tensor.Features, 1), State: s}
	err := p.Run(context.Background(), &j)
	return j.Out[0], err
}

// loopWhilePositive is a loop that goes on for ever if its input is positive, and else ends at once.
func loopWhilePositive(b builder) *graph.Function {
	x := b.Input("x", graph.TensorOf(tensor.Float32, 1))
	number := b.TypeOf(x)
	zero := b.Floats([]float32{0}, 1)
	block := func(f func(v *graph.Value) *graph.Value) *graph.Block {
		in, err := b.Nested([]graph.Type{number}, func(in []*graph.Value) ([]*graph.Value, error) { return []*graph.Value{f(in[0])}, nil })
		if err != nil {
			b.t.Fatal(err)
		}
		return in
	}
	test := block(func(v *graph.Value) *graph.Value {
		return b.op("squeeze", testkit.Args{"x": b.op("greater", testkit.Args{"x": v, "y": zero}), "axes": []int{0}})
	})
	body := block(func(v *graph.Value) *graph.Value { return b.op("abs", testkit.Args{"x": v}) })
	return b.Function(b.Control("while_loop", testkit.Args{"loop_vars": []*graph.Value{x}}, []graph.Type{number}, test, body)...)
}

func TestCloseWaitsForRunsAndRefusesLaterOnes(t *testing.T) {
	eachBackend(t, backend.Config{}, loopWhilePositive, func(t *testing.T, p *program) {
		ctx, cancel := context.WithCancel(context.Background())
		running, closed := make(chan error, 1), make(chan struct{})
		go func() {
			running <- p.Run(ctx, &backend.Job{In: []tensor.Features{{"x": floatsIn(1)}}, Out: make([]tensor.Features, 1)})
		}()
		time.Sleep(20 * time.Millisecond)
		go func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			close(closed)
		}()
		select {
		case <-closed:
			t.Error("Close returned before the run had ended")
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := predict(p, nil, tensor.Features{"x": floatsIn(0)}); !errors.Is(err, fault.Closed) {
			t.Errorf("a run after Close: %v, want %v", err, fault.Closed)
		}
		cancel()
		if err := <-running; !errors.Is(err, context.Canceled) {
			t.Errorf("the run in flight: %v, want %v", err, context.Canceled)
		}
		<-closed
	})
}

// counter adds x to its state, gives the sum, and reads an element of it before and after.
func counter(b builder) *graph.Function {
	s := b.State("s", tensor.Float32, 2)
	x := b.Input("x", graph.TensorOf(tensor.Float32, 2))
	before, after := b.Input("before", graph.TensorOf(tensor.Int32)), b.Input("after", graph.TensorOf(tensor.Int32))
	old := b.op("read_state", testkit.Args{"input": s})
	first := b.op("gather", testkit.Args{"x": x, "indices": before, "axis": 0})
	sum := b.op("add", testkit.Args{"x": old, "y": x})
	b.op("write_state", testkit.Args{"input": s, "data": sum})
	return b.Function(sum, first, b.op("gather", testkit.Args{"x": x, "indices": after, "axis": 0}))
}

func TestStateBreaksByARunThatFailsAfterItsWrite(t *testing.T) {
	eachBackend(t, backend.Config{}, counter, func(t *testing.T, p *program) {
		s, err := p.NewState()
		if err != nil {
			t.Fatal(err)
		}
		in := func(before, after int64) tensor.Features {
			return tensor.Features{"x": floatsIn(1, 2), "before": before, "after": after}
		}
		if _, err := predict(p, s, in(9, 0)); !errors.Is(err, fault.Runtime) {
			t.Fatalf("an index out of range: %v, want %v", err, fault.Runtime)
		}
		if _, err := predict(p, s, in(0, 0)); err != nil {
			t.Fatalf("after a run that failed before its write: %v", err)
		}
		if _, err := predict(p, s, in(0, 9)); !errors.Is(err, fault.Runtime) {
			t.Fatalf("an index out of range: %v, want %v", err, fault.Runtime)
		}
		if _, err := predict(p, s, in(0, 0)); !errors.Is(err, fault.State) {
			t.Errorf("after a run that failed after its write: %v, want %v", err, fault.State)
		}
	})
}

// TestStateBreaksByAPanicAfterItsWrite, wherever it comes from: a step, or the planning of what follows.
func TestStateBreaksByAPanicAfterItsWrite(t *testing.T) {
	for what, boom := range map[string]*graph.Op{
		"step": {Name: "boom", NoFold: true, Inputs: []graph.Input{graph.In("x", graph.Float)},
			Infer: func(c *graph.Call) ([]graph.Type, error) { return []graph.Type{c.Type(0)}, nil },
			Prepare: func(*graph.Call) (graph.Step, error) {
				return graph.Serial("boom", func(*graph.Exec) error { panic("planted") }), nil
			}},
		"planning": {Name: "boom", NoFold: true, Inputs: []graph.Input{graph.In("x", graph.Float)},
			Infer: func(*graph.Call) ([]graph.Type, error) { panic("planted") }},
	} {
		eachBackend(t, backend.Config{}, func(b builder) *graph.Function {
			s, x := b.State("s", tensor.Float32, 4), b.Input("x", graph.TensorOf(tensor.Float32, 4))
			b.op("write_state", testkit.Args{"input": s, "data": x})
			cut := b.op("reshape", testkit.Args{"x": x, "shape": b.Known("shape", 2, 2)}) // planned when the shape is known
			fn := b.Function(cut)
			n := &graph.Node{ID: fn.Nodes, Name: "boom", Op: boom, Args: [][]*graph.Value{{cut}}}
			out := &graph.Value{ID: fn.Values, Name: "y", Type: b.TypeOf(cut), Def: n}
			n.Out = []*graph.Value{out}
			fn.Nodes, fn.Values = fn.Nodes+1, fn.Values+1
			fn.Body.Nodes = append(fn.Body.Nodes, n)
			return b.Function(out)
		}, func(t *testing.T, p *program) {
			s, err := p.NewState()
			if err != nil {
				t.Fatal(err)
			}
			shape, err := tensor.FromBytes(tensor.Int32, []int{2}, tensor.BytesOf([]int32{2, 2}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := predict(p, s, tensor.Features{"x": floatsIn(1, 2, 3, 4), "shape": shape}); !errors.Is(err, fault.Runtime) || !strings.Contains(err.Error(), "planted") {
				t.Fatalf("%s: %v, want %v that says planted", what, err, fault.Runtime)
			}
			if err := s.Save(tensor.Features{}); !errors.Is(err, fault.State) {
				t.Errorf("%s: after a panic behind its write: %v, want %v", what, err, fault.State)
			}
		})
	}
}

func TestBatchWithoutStateGetsOneForEachElement(t *testing.T) {
	eachBackend(t, backend.Config{}, counter, func(t *testing.T, p *program) {
		in := tensor.Features{"x": floatsIn(1, 2), "before": int64(0), "after": int64(0)}
		run := func(s backend.State) []float32 {
			j := backend.Job{In: []tensor.Features{in, in, in}, Out: make([]tensor.Features, 3), State: s}
			if err := p.Run(context.Background(), &j); err != nil {
				t.Fatal(err)
			}
			var sums []float32
			for _, o := range j.Out {
				sums = append(sums, o[p.feats.out[0].name].(*tensor.Tensor).Float32s()[0])
			}
			return sums
		}
		if got := run(nil); got[0] != 1 || got[1] != 1 || got[2] != 1 {
			t.Errorf("sums %v, want 1 for each", got)
		}
		s, err := p.NewState()
		if err != nil {
			t.Fatal(err)
		}
		if got := run(s); got[0] != 1 || got[1] != 2 || got[2] != 3 {
			t.Errorf("with one state the sums are %v, want 1, 2, 3", got)
		}
	})
}

// TestPanicWhileLoadingLeavesNoProgram: a helper would run for ever for a program that nobody can close.
func TestPanicWhileLoadingLeavesNoProgram(t *testing.T) {
	users := func() int {
		crew.mu.Lock()
		defer crew.mu.Unlock()
		return crew.users
	}
	before := users()
	var p *program
	err := func() (err error) {
		defer guard(&err, "")()
		b := build(t)
		_, err = open(b.Function(b.op("relu", testkit.Args{"x": b.Input("x", graph.TensorOf(tensor.Float32, 2))})), nothing, maker{
			program: func(fn *graph.Function) (*program, error) {
				p = newProgram(fn, cpu.Best(), backend.Config{})
				return p, nil
			},
			ready: func(*program) error { panic("planted") },
		})
		return err
	}()
	if !errors.Is(err, fault.Runtime) || !strings.Contains(err.Error(), "planted") {
		t.Errorf("%v, want %v that says planted", err, fault.Runtime)
	}
	if n := users(); n != before {
		t.Errorf("%d programs are open, want %d", n, before)
	}
}

// TestErrorsSayThePackageOnce, however deep in blocks the operation is.
func TestErrorsSayThePackageOnce(t *testing.T) {
	eachBackend(t, backend.Config{}, func(b builder) *graph.Function {
		x, i, p := b.Input("x", graph.TensorOf(tensor.Float32, 2)), b.Input("i", graph.TensorOf(tensor.Int32)), b.Input("p", graph.TensorOf(tensor.Bool))
		one := graph.TensorOf(tensor.Float32)
		var within func(depth int) *graph.Value
		within = func(depth int) *graph.Value {
			if depth == 0 {
				return b.op("gather", testkit.Args{"x": x, "indices": i, "axis": 0})
			}
			var blocks []*graph.Block
			for range 2 {
				in, err := b.Nested(nil, func([]*graph.Value) ([]*graph.Value, error) { return []*graph.Value{within(depth - 1)}, nil })
				if err != nil {
					t.Fatal(err)
				}
				blocks = append(blocks, in)
			}
			return b.Control("cond", testkit.Args{"pred": p}, []graph.Type{one}, blocks...)[0]
		}
		return b.Function(within(2))
	}, func(t *testing.T, p *program) {
		_, err := predict(p, nil, tensor.Features{"x": floatsIn(1, 2), "i": int64(5), "p": int64(1)})
		if err == nil || strings.Count(err.Error(), p.prefix+": ") != 1 || !strings.HasPrefix(err.Error(), p.prefix) || strings.Count(err.Error(), "operation") != 3 {
			t.Errorf("%v, want %q once, and three operations", err, p.prefix)
		}
		for what, f := range map[string]func() error{
			"NewState": func() error { _, err := p.NewState(); return err },
			"input":    func() error { _, err := predict(p, nil, nil); return err },
		} {
			if err := f(); err == nil || strings.Count(err.Error(), p.prefix+": ") != 1 {
				t.Errorf("%s: %v, want %q once", what, err, p.prefix)
			}
		}
	})
}

func TestStringsAreTheCallers(t *testing.T) {
	eachBackend(t, backend.Config{}, func(b builder) *graph.Function {
		b.Input("x", graph.TensorOf(tensor.Float32, 1))
		return b.Function(b.Const(&graph.Const{Type: graph.TensorOf(tensor.String, 2), Strings: []string{"a", "b"}}))
	}, func(t *testing.T, p *program) {
		for range 2 {
			out, err := predict(p, nil, tensor.Features{"x": floatsIn(1)})
			if err != nil {
				t.Fatal(err)
			}
			l, ok := out[p.feats.out[0].name].([]string)
			if !ok || len(l) != 2 || l[0] != "a" {
				t.Fatalf("%v, want a and b", out)
			}
			l[0] = "changed"
		}
	})
}

// TestListsAreNoOutputs, nor are states, whatever the file declares.
func TestListsAreNoOutputs(t *testing.T) {
	list := func(b builder) *graph.Value {
		v := b.op("make_list", testkit.Args{"init_length": 1, "dynamic_length": true, "elem_shape": []*graph.Value{b.argument(4)}, "dtype": "fp32"})
		v.Name = "many"
		return v
	}
	b := build(t)
	for _, v := range []*graph.Value{list(b), b.State("many", tensor.Float32, 2)} {
		if err := openOnly(b.Function(v)); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), `"many"`) {
			t.Errorf("loading a function that gives %v: %v, want %v that names it", v.Type, err, fault.Unsupported)
		}
	}
	eachBackend(t, backend.Config{}, func(b builder) *graph.Function {
		v := list(b)
		v.Type = graph.TensorOf(tensor.Float32, 2)
		return b.Function(v)
	}, func(t *testing.T, p *program) {
		if _, err := predict(p, nil, nil); !errors.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), `"many"`) {
			t.Errorf("a list that is declared to be a tensor: %v, want %v that names it", err, fault.Unsupported)
		}
	})
}

func openOnly(fn *graph.Function) error {
	p, err := open(fn, nothing, maker{
		program: func(fn *graph.Function) (*program, error) { return newProgram(fn, cpu.Best(), backend.Config{}), nil },
		ready:   func(*program) error { return nil },
	})
	if err == nil {
		p.Close()
	}
	return err
}
