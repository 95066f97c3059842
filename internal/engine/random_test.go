package engine

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"coreml/internal/backend"
	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/passes"
	"coreml/internal/testkit"
	"coreml/schema"
	"coreml/tensor"
)

var (
	randomGraphs = flag.Int("graphs", 2000, "random graphs of TestRandomGraphs")
	randomFrom   = flag.Uint64("seed", 1, "the first seed of TestRandomGraphs")
	randomTime   = flag.Duration("graphtime", 20*time.Second, "TestRandomGraphs starts no graph after this time")
)

// TestRandomGraphs runs random graphs by the reference and by the engine, at
// every level of this machine: the same results within what rounding explains,
// the same bits for every number of threads and every repetition, with memory that
// was full of NaN, and inputs left as they were.
func TestRandomGraphs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	start, n, most := time.Now(), 0, *randomGraphs
	if testkit.Race {
		most /= 50
	}
	for ; n < most && time.Since(start) < *randomTime; n++ {
		seed := *randomFrom + uint64(n)
		if err := tryGraph(seed); err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, shrink(seed))
			if t.Failed() && n > 5 {
				break
			}
		}
	}
	t.Logf("%d graphs in %v", n, time.Since(start).Round(time.Millisecond))
	if n < min(100, most) && !testkit.Race {
		t.Errorf("only %d graphs in %v", n, *randomTime)
	}
}

// inputsFor makes the inputs of call number k.
func inputsFor(g *testkit.Graph, fn *graph.Function, k int) tensor.Features {
	return inputsOf(g, fn, k, func(v *graph.Value) []int { return v.Type.Shape })
}

// inputsOf makes them in other shapes.
func inputsOf(g *testkit.Graph, fn *graph.Function, k int, shape func(*graph.Value) []int) tensor.Features {
	r := rand.New(rand.NewPCG(g.Seed, 100+uint64(k)))
	in := tensor.Features{}
	for _, v := range fn.Body.Inputs {
		if v.Type.Kind == graph.KindState {
			continue
		}
		t, err := tensor.Make(graph.StoreDType(v.Type.DType), shape(v))
		if err != nil {
			panic(err)
		}
		if known := g.Known[v]; known != nil {
			copy(t.Bytes(), known.Data)
		} else {
			fillRandom(r, t)
		}
		in[v.Name] = t
	}
	return in
}

func fillRandom(r *rand.Rand, t *tensor.Tensor) {
	switch t.DType() {
	case tensor.Float32:
		f := tensor.Data[float32](t)
		for i := range f {
			f[i] = float32(r.NormFloat64())
		}
	case tensor.Int32:
		f := tensor.Data[int32](t)
		for i := range f {
			f[i] = int32(r.IntN(41) - 20)
		}
	case tensor.Bool:
		b := t.Bytes()
		for i := range b {
			b[i] = byte(r.IntN(2))
		}
	}
}

// results are the outputs of the calls of a sequence, one state for all.
type results [][]graph.Slot

// calls is the number of calls in a sequence.
const calls = 2

// byReference computes a sequence by eval.
func byReference(g *testkit.Graph, fn *graph.Function) (results, []graph.Type, error) {
	p, err := openGraph(fn, cpu.Generic, 1)
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	st := stateFor(p)
	var all results
	var types []graph.Type
	for k := range calls {
		in := map[*graph.Value]graph.Slot{}
		err := p.feats.read(inputsFor(g, fn, k), func(v *graph.Value, _ graph.Type, s graph.Slot) { in[v] = s })
		if err != nil {
			return nil, nil, err
		}
		for i, v := range fn.States {
			in[v] = st.slots[i]
		}
		slots := make([]graph.Slot, len(fn.Body.Inputs))
		for i, v := range fn.Body.Inputs {
			slots[i] = in[v]
		}
		var out []graph.Slot
		if out, types, err = eval.New(context.Background(), fn, cpu.Generic, 0).Run(slots); err != nil {
			return nil, nil, fmt.Errorf("reference: %w", err)
		}
		all = append(all, out)
	}
	return all, types, nil
}

func stateFor(p *program) *state {
	if len(p.fn.States) == 0 {
		return nil
	}
	s, err := p.NewState()
	if err != nil {
		panic(err)
	}
	return s.(*state)
}

// openGraph makes a program of a function that no file describes.
func openGraph(fn *graph.Function, level cpu.Level, threads int) (*program, error) {
	fn = passes.Apply(fn)
	p := newProgram(fn, level, backend.Config{Threads: threads})
	var err error
	if p.feats, err = newFeatures(fn, &schema.Function{}); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// byEngine computes a sequence with the given numbers of threads.
func byEngine(p *program, g *testkit.Graph, threads [calls]int) (results, error) {
	var all results
	var given backend.State
	if st := stateFor(p); st != nil {
		given = st
	}
	for k := range calls {
		p.config.Threads = threads[k]
		poison(p)
		in := inputsFor(g, p.fn, k)
		j := backend.Job{In: []tensor.Features{in}, Out: make([]tensor.Features, 1), State: given}
		if err := p.Run(context.Background(), &j); err != nil {
			return nil, fmt.Errorf("call %d, %d threads: %w", k, threads[k], err)
		}
		for name, want := range inputsFor(g, p.fn, k) {
			if !bytes.Equal(want.(*tensor.Tensor).Bytes(), in[name].(*tensor.Tensor).Bytes()) {
				return nil, fmt.Errorf("call %d, %d threads: input %s was overwritten", k, threads[k], name)
			}
		}
		var out []graph.Slot
		for _, v := range p.fn.Body.Outputs {
			x := j.Out[0][v.Name].(*tensor.Tensor)
			out = append(out, graph.Slot{Data: x.Bytes(), Shape: x.Shape()})
		}
		all = append(all, out)
	}
	return all, nil
}

// poison fills the memory that idle runs keep with NaN.
func poison(p *program) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fill := func(b []byte) {
		for i := range b {
			b[i] = 0xff
		}
	}
	for _, r := range p.idle {
		for _, c := range r.stack.chunks {
			fill(c)
		}
		for i := range r.execs {
			fill(r.execs[i].Buf)
		}
	}
}

// tryGraph compares the ways to run one graph.
func tryGraph(seed uint64) error {
	g := testkit.RandomGraph(seed, false)
	return compareWays(g, g.Fn, slack(seed))
}

// slack measures for each call and output how far rounding may carry: by the
// same graph with disturbed results. Nil where nothing finite can be said.
func slack(seed uint64) [][]float64 {
	g, h := testkit.RandomGraph(seed, false), testkit.RandomGraph(seed, true)
	a, types, err := byReference(g, g.Fn)
	if err != nil {
		return nil
	}
	b, _, err := byReference(h, h.Fn)
	if err != nil {
		return nil
	}
	out := make([][]float64, len(a))
	for k := range a {
		for i := range a[k] {
			s := 0.0
			if types[i].DType.IsFloat() {
				s = 16*distance(a[k][i], b[k][i]) + 4e-6*span(a[k][i])
				if halfStates(g.Fn) {
					s += 2e-3 * span(a[k][i])
				}
			}
			out[k] = append(out[k], s)
		}
	}
	return out
}

func halfStates(fn *graph.Function) bool {
	for _, v := range fn.States {
		if v.Type.DType == tensor.Float16 {
			return true
		}
	}
	return false
}

// distance is the largest difference; infinite values are as far from anything.
func distance(a, b graph.Slot) float64 {
	d := 0.0
	x, y := tensor.View[float32](a.Data), tensor.View[float32](b.Data)
	for i := range x {
		if x[i] != y[i] && !(x[i] != x[i] && y[i] != y[i]) {
			if e := math.Abs(float64(x[i]) - float64(y[i])); e == e {
				d = max(d, e)
			} else {
				d = math.Inf(1)
			}
		}
	}
	return d
}

func span(a graph.Slot) float64 {
	m := 0.0
	for _, x := range tensor.View[float32](a.Data) {
		if v := math.Abs(float64(x)); v == v {
			m = max(m, v)
		}
	}
	return m
}

// compareWays runs fn by the reference and at every level.
func compareWays(g *testkit.Graph, fn *graph.Function, slack [][]float64) error {
	want, types, err := byReference(g, fn)
	if err != nil {
		return err
	}
	for _, level := range cpu.Levels() {
		if err := compareLevel(g, fn, level, want, types, slack); err != nil {
			return fmt.Errorf("%v: %w", level, err)
		}
	}
	return nil
}

func compareLevel(g *testkit.Graph, fn *graph.Function, level cpu.Level, want results, types []graph.Type, slack [][]float64) error {
	p, err := openGraph(fn, level, 1)
	if err != nil {
		return err
	}
	defer p.Close()
	first, err := byEngine(p, g, [calls]int{1, 2})
	if err != nil {
		return err
	}
	for k := range want {
		for i := range want[k] {
			if err := near(first[k][i], want[k][i], types[i], slack[k][i]); err != nil {
				return fmt.Errorf("call %d, output %s: %w", k, fn.Body.Outputs[i].Name, err)
			}
		}
	}
	again, err := byEngine(p, g, [calls]int{4, 1})
	if err != nil {
		return err
	}
	for k := range first {
		for i := range first[k] {
			if !bytes.Equal(first[k][i].Data, again[k][i].Data) {
				return fmt.Errorf("call %d, output %s: other bits with %d threads than with %d", k, fn.Body.Outputs[i].Name, []int{4, 1}[k], []int{1, 2}[k])
			}
		}
	}
	return nil
}

// near compares one output with the reference's.
func near(got, want graph.Slot, t graph.Type, slack float64) error {
	if !tensor.EqualShape(got.Shape, want.Shape) || len(got.Data) != len(want.Data) {
		return fmt.Errorf("shape %v, want %v", got.Shape, want.Shape)
	}
	if !t.DType.IsFloat() {
		if !bytes.Equal(got.Data, want.Data) {
			return fmt.Errorf("%v: values differ", t)
		}
		return nil
	}
	if d := distance(got, want); d > slack {
		return fmt.Errorf("%v: off by %.3g, want at most %.3g; values up to %.3g", t, d, slack, span(want))
	}
	return nil
}
