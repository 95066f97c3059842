package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// cellCase is a recurrent call under test, with its operands in float64.
type cellCase struct {
	steps, batch, inputs, hidden int
	x, h, c                      []float64
	a                            args
}

func widen(v []float32) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = float64(v[i])
	}
	return out
}

func newCellCase(r *rand.Rand, steps, batch, inputs, hidden, dirs int) *cellCase {
	x, h := randomFloats(r, []int{steps, batch, inputs}), randomFloats(r, []int{batch, dirs * hidden})
	return &cellCase{steps, batch, inputs, hidden, widen(x.Floats()), widen(h.Floats()), nil, args{"x": live{x}, "initial_h": live{h}}}
}

// weight adds a weight to the arguments and returns its elements.
func (k *cellCase) weight(r *rand.Rand, name string, shape ...int) []float64 {
	w := randomFloats(r, shape)
	k.a[name] = w
	return widen(w.Floats())
}

// sum is row i of w times v.
func sum(w []float64, i int, v []float64) float64 {
	s := 0.0
	for j, x := range v {
		s += w[i*len(v)+j] * x
	}
	return s
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// times lists the steps in the order of processing.
func (k *cellCase) times(backward bool) []int {
	var out []int
	for t := range k.steps {
		if backward {
			t = k.steps - 1 - t
		}
		out = append(out, t)
	}
	return out
}

func (k *cellCase) row(t, b int) []float64 { return k.x[(t*k.batch+b)*k.inputs:][:k.inputs] }

// check compares the results with the sequence of hidden states in the stored order, and with the last states.
func (k *cellCase) check(t *testing.T, level cpu.Level, op string, dirs int, sequence []float64, last ...[]float64) {
	t.Helper()
	for _, all := range []bool{true, false} {
		k.a["output_sequence"] = boolsOf(nil, all)
		got, err := tryOpAt(level, op, graph.IOS18, k.a, 1+len(last))
		if err != nil {
			t.Fatal(err)
		}
		if all {
			near(t, got[0], []int{k.steps, k.batch, dirs * k.hidden}, narrow(sequence), 2e-5)
		} else {
			near(t, got[0], []int{1, k.batch, dirs * k.hidden}, narrow(last[0]), 2e-5)
		}
		for i, s := range last {
			near(t, got[1+i], []int{k.batch, dirs * k.hidden}, narrow(s), 2e-5)
		}
	}
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i := range v {
		out[i] = float32(v[i])
	}
	return out
}

// eachCell runs a test at every level for sizes with and without tails, and more steps than one chunk has.
func eachCell(t *testing.T, f func(t *testing.T, level cpu.Level, r *rand.Rand, steps, batch, inputs, hidden int)) {
	for _, level := range cpu.Levels() {
		for _, d := range [][4]int{{1, 1, 1, 1}, {3, 2, 5, 4}, {4, 1, 16, 16}, {5, 9, 7, 19}, {600, 1, 3, 33}, {0, 2, 3, 4}} {
			t.Run(fmt.Sprint(level, d), func(t *testing.T) {
				f(t, level, rand.New(rand.NewPCG(uint64(d[0]), uint64(d[3]))), d[0], d[1], d[2], d[3])
			})
		}
	}
}

func TestRNN(t *testing.T) {
	eachCell(t, func(t *testing.T, level cpu.Level, r *rand.Rand, steps, batch, inputs, hidden int) {
		for _, dir := range []string{"forward", "reverse"} {
			k := newCellCase(r, steps, batch, inputs, hidden, 1)
			wi, wh, b := k.weight(r, "weight_ih", hidden, inputs), k.weight(r, "weight_hh", hidden, hidden), k.weight(r, "bias", hidden)
			for i := range wh {
				wh[i] /= float64(hidden)
			}
			k.a["weight_hh"] = floatsOf([]int{hidden, hidden}, narrow(wh)...)
			k.a["direction"], k.a["activation"] = stringOf(dir), stringOf("sigmoid_hard")
			var seq []float64
			for _, time := range k.times(dir == "reverse") {
				next := make([]float64, len(k.h))
				for j := range next {
					n, i := j/hidden, j%hidden
					next[j] = math.Min(math.Max(0.2*(sum(wi, i, k.row(time, n))+sum(wh, i, k.h[n*hidden:][:hidden])+b[i])+0.5, 0), 1)
				}
				k.h = next
				seq = append(seq, k.h...)
			}
			k.check(t, level, "rnn", 1, seq, k.h)
		}
	})
}

func TestGRU(t *testing.T) {
	eachCell(t, func(t *testing.T, level cpu.Level, r *rand.Rand, steps, batch, inputs, hidden int) {
		for _, after := range []bool{false, true} {
			k := newCellCase(r, steps, batch, inputs, hidden, 1)
			wi, wh := k.weight(r, "weight_ih", 3*hidden, inputs), k.weight(r, "weight_hh", 3*hidden, hidden)
			b, bi := k.weight(r, "bias", 3*hidden), k.weight(r, "input_bias", 3*hidden)
			k.a["reset_after"], k.a["direction"] = boolsOf(nil, after), stringOf("reverse")
			var seq []float64
			for _, time := range k.times(true) {
				next := make([]float64, len(k.h))
				for n := range batch {
					h, x := k.h[n*hidden:][:hidden], k.row(time, n)
					gate := func(i int) float64 { return sigmoid64(sum(wi, i, x) + bi[i] + sum(wh, i, h) + b[i]) }
					reset := make([]float64, hidden)
					for i := range reset {
						reset[i] = gate(i) * h[i]
					}
					for i := range hidden {
						o := hidden + i
						s := sum(wi, o, x) + bi[o] + sum(wh, o, reset) + b[o]
						if after {
							s = sum(wi, o, x) + bi[o] + gate(i)*(sum(wh, o, h)+b[o])
						}
						z := gate(2*hidden + i)
						next[n*hidden+i] = (1-z)*math.Tanh(s) + z*h[i]
					}
				}
				k.h = next
				seq = append(seq, k.h...)
			}
			k.check(t, level, "gru", 1, seq, k.h)
		}
	})
}

// lstmWay runs one direction in float64; at is its place among the states, suffix that of its weights' names.
func lstmWay(k *cellCase, r *rand.Rand, suffix string, at, dirs int, backward bool, clip float64, seq []float64) {
	n := k.hidden
	wi, wh := k.weight(r, "weight_ih"+suffix, 4*n, k.inputs), k.weight(r, "weight_hh"+suffix, 4*n, n)
	b := k.weight(r, "bias"+suffix, 4*n)
	p := make([]float64, 3*n)
	if clip > 0 {
		p = k.weight(r, "peephole"+suffix, 3*n)
	}
	for order, time := range k.times(backward) {
		for s := range k.batch {
			h, c := k.h[(s*dirs+at)*n:][:n], k.c[(s*dirs+at)*n:][:n]
			x, old := k.row(time, s), append([]float64(nil), h...)
			for i := range n {
				gate := func(g int) float64 { return sum(wi, g*n+i, x) + sum(wh, g*n+i, old) + b[g*n+i] }
				in, forget := sigmoid64(gate(0)+p[i]*c[i]), sigmoid64(gate(1)+p[n+i]*c[i])
				c[i] = forget*c[i] + in*math.Tanh(gate(3))
				if clip > 0 {
					c[i] = math.Max(math.Min(c[i], clip), -clip)
				}
				h[i] = sigmoid64(gate(2)+p[2*n+i]*c[i]) * math.Tanh(c[i])
			}
			if dirs > 1 {
				order = time
			}
			copy(seq[((order*k.batch+s)*dirs+at)*n:][:n], h)
		}
	}
}

func TestLSTM(t *testing.T) {
	eachCell(t, func(t *testing.T, level cpu.Level, r *rand.Rand, steps, batch, inputs, hidden int) {
		for _, dir := range []string{"forward", "reverse", "bidirectional"} {
			for _, clip := range []float64{0, 0.3} {
				dirs := 1
				if dir == "bidirectional" {
					dirs = 2
				}
				k := newCellCase(r, steps, batch, inputs, hidden, dirs)
				c := randomFloats(r, []int{batch, dirs * hidden})
				k.a["initial_c"], k.c = live{c}, widen(c.Floats())
				k.a["direction"] = stringOf(dir)
				if clip > 0 {
					k.a["clip"] = floatsOf(nil, float32(clip))
				}
				seq := make([]float64, steps*batch*dirs*hidden)
				lstmWay(k, r, "", 0, dirs, dir == "reverse", clip, seq)
				if dirs == 2 {
					lstmWay(k, r, "_back", 1, dirs, true, clip, seq)
				}
				k.check(t, level, "lstm", dirs, seq, k.h, k.c)
			}
		}
	})
}

func TestRecurrentRefuses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	good := func() args {
		k := newCellCase(r, 2, 3, 4, 5, 1)
		k.weight(r, "weight_ih", 20, 4)
		k.weight(r, "weight_hh", 20, 5)
		k.a["initial_c"] = k.a["initial_h"]
		return k.a
	}
	if _, err := tryOp("lstm", graph.IOS15, good(), 3); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]any{
		"x":                    live{randomFloats(r, []int{2, 3})},
		"initial_h":            live{randomFloats(r, []int{3, 10})},
		"initial_c":            live{randomFloats(r, []int{2, 5})},
		"weight_ih":            randomFloats(r, []int{20, 5}),
		"weight_hh":            randomFloats(r, []int{15, 5}),
		"bias":                 randomFloats(r, []int{5}),
		"peephole":             randomFloats(r, []int{5}),
		"direction":            stringOf("bidirectional"),
		"activation":           stringOf("gelu"),
		"recurrent_activation": stringOf(""),
		"clip":                 randomFloats(r, []int{2}),
	} {
		a := good()
		a[name] = bad
		if _, err := tryOp("lstm", graph.IOS15, a, 3); err == nil {
			t.Errorf("lstm: %s %v is accepted", name, bad)
		}
	}
}
