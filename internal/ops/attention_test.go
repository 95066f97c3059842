package ops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// attend computes attention in float64. mask has the elements of [batch, l, s]; nil: none.
func attend(q, k, v, mask []float32, batch, l, s, e, ev int) []float32 {
	out := make([]float32, batch*l*ev)
	for i := range batch * l {
		b := i / l
		p, top := make([]float64, s), math.Inf(-1)
		for j := range p {
			for d := range e {
				p[j] += float64(q[i*e+d]) * float64(k[(b*s+j)*e+d])
			}
			p[j] /= math.Sqrt(float64(e))
			if mask != nil {
				p[j] += float64(mask[i*s+j])
			}
			top = math.Max(top, p[j])
		}
		sum := 0.0
		for j := range p {
			p[j] = math.Exp(p[j] - top)
			sum += p[j]
		}
		for d := range ev {
			y := 0.0
			for j := range p {
				y += p[j] / sum * float64(v[(b*s+j)*ev+d])
			}
			out[i*ev+d] = float32(y)
		}
	}
	return out
}

func TestAttention(t *testing.T) {
	for _, level := range cpu.Levels() {
		for _, d := range [][5]int{{2, 1, 1, 1, 1}, {1, 1, 600, 64, 64}, {2, 3, 17, 5, 7}, {1, 50, 50, 32, 16}, {3, 70, 300, 33, 20}, {1, 200, 513, 16, 1}, {2, 5, 4, 8, 0}, {2, 0, 4, 8, 2}} {
			for _, mask := range []string{"", "float", "bool", "row"} {
				t.Run(fmt.Sprint(level, d, mask), func(t *testing.T) { testAttention(t, level, d, mask) })
			}
		}
	}
}

func testAttention(t *testing.T, level cpu.Level, d [5]int, kind string) {
	batch, l, s, e, ev := d[0], d[1], d[2], d[3], d[4]
	r := rand.New(rand.NewPCG(uint64(l), uint64(s)))
	q, k, v := randomFloats(r, []int{batch, 1, l, e}), randomFloats(r, []int{batch, 1, s, e}), randomFloats(r, []int{batch, 1, s, ev})
	for i, x := range q.Floats() {
		tensor.View[float32](q.Data)[i] = 4 * x
	}
	a := args{"query": live{q}, "key": live{k}, "value": live{v}}
	var full []float32
	switch kind {
	case "float":
		m := randomFloats(r, []int{batch, 1, l, s})
		a["attn_mask"], full = live{m}, m.Floats()
	case "bool": // causal; the first key is never excluded
		take := make([]bool, l*s)
		full = make([]float32, batch*l*s)
		for i := range full {
			row, j := i/s%l, i%s
			take[row*s+j] = j*l <= row*s
			if !take[row*s+j] {
				full[i] = float32(math.Inf(-1))
			}
		}
		a["attn_mask"] = live{boolsOf([]int{l, s}, take...)}
	case "row":
		m := randomFloats(r, []int{s})
		a["attn_mask"] = live{m}
		for range batch * l {
			full = append(full, m.Floats()...)
		}
	}
	got, err := tryOpAt(level, "scaled_dot_product_attention", graph.IOS18, a, 1)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got[0], []int{batch, 1, l, ev}, attend(q.Floats(), k.Floats(), v.Floats(), full, batch, l, s, e, ev), 1e-5)
}

// TestAttentionSharedKeys has two groups of queries for one head of keys.
func TestAttentionSharedKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	q, k, v := randomFloats(r, []int{2, 3, 6, 4}), randomFloats(r, []int{2, 1, 5, 4}), randomFloats(r, []int{2, 1, 5, 3})
	got := runOp(t, "scaled_dot_product_attention", args{"query": live{q}, "key": live{k}, "value": live{v}}, 1)[0]
	// Queries that share keys are one longer list of queries.
	near(t, got, []int{2, 3, 6, 3}, attend(q.Floats(), k.Floats(), v.Floats(), nil, 2, 18, 5, 4, 3), 1e-6)
}

// TestAttentionNoKeys checks that a query without any key gives NaN, and spoils no other.
func TestAttentionNoKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, l := range []int{2, 60} {
		q, k, v := randomFloats(r, []int{1, l, 4}), randomFloats(r, []int{1, 300, 4}), randomFloats(r, []int{1, 300, 3})
		take := make([]bool, l*300)
		fill(take[300:], true)
		got := runOp(t, "scaled_dot_product_attention", args{"query": live{q}, "key": live{k}, "value": live{v}, "attn_mask": live{boolsOf([]int{l, 300}, take...)}}, 1)[0]
		for i, x := range got.f32() {
			if (i < 3) != (x != x) {
				t.Fatalf("%d queries: element %d is %v", l, i, x)
			}
		}
	}
}

// TestAttentionHalf reads keys and values that are float16 in memory.
func TestAttentionHalf(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, l := range []int{1, 40} {
		q, k, v := randomFloats(r, []int{2, l, 24}), randomFloats(r, []int{2, 300, 24}), randomFloats(r, []int{2, 300, 20})
		fn, in := oneNode(Find("scaled_dot_product_attention", graph.IOS18), args{"query": live{q}, "key": live{k}, "value": live{v}}, 1)
		c := graph.NewCall(fn.Body.Nodes[0], cpu.Best(), func(v *graph.Value) graph.Operand { return graph.Operand{Value: v, Type: v.Type} })
		types, err := c.Op.Infer(c)
		if err != nil {
			t.Fatal(err)
		}
		c.Out[0].Type = types[0]
		if f := c.Op.Fit(c, graph.Half); f.In != 0b110 {
			t.Fatalf("operands %b may be float16, want 110", f.In)
		}
		for i := 1; i < 3; i++ {
			c.In[i].Form = graph.Half
			h := make([]uint16, len(in[i].Data)/4)
			tensor.F16Slice(h, tensor.View[float32](in[i].Data))
			in[i].Data = tensor.BytesOf(h)
		}
		step, err := c.Op.Prepare(c)
		if err != nil {
			t.Fatal(err)
		}
		x := &graph.Exec{Slots: append(in, graph.Slot{Data: graph.Aligned(4 * 2 * l * 20)}), In: []int32{0, 1, 2}, Out: []int32{3}, Buf: graph.Aligned(step.Scratch)}
		for i := range step.Phases[0].Tasks {
			if err := step.Phases[0].Run(x, i); err != nil {
				t.Fatal(err)
			}
		}
		near(t, result{x.Slots[3], types[0]}, types[0].Shape, attend(q.Floats(), k.Floats(), v.Floats(), nil, 2, l, 300, 24, 20), 1e-3)
	}
}

func TestAttentionRefuses(t *testing.T) {
	f := func(shape ...int) live {
		return live{floatsOf(shape, make([]float32, graph.TensorOf(0, shape...).Elements())...)}
	}
	for _, bad := range []args{
		{"query": f(2, 3), "key": f(2, 3), "value": f(2, 3)},
		{"query": f(1, 2, 3), "key": f(1, 2, 4), "value": f(1, 2, 3)},
		{"query": f(1, 2, 3), "key": f(1, 2, 3), "value": f(1, 3, 3)},
		{"query": f(1, 2, 3), "key": f(2, 2, 3), "value": f(1, 2, 3)},
		{"query": f(1, 2, 3), "key": f(1, 0, 3), "value": f(1, 0, 3)},
		{"query": f(1, 2, 3), "key": f(1, 2, 3), "value": f(1, 2, 3), "attn_mask": f(3, 2)},
		{"query": f(1, 2, 3), "key": f(1, 2, 3), "value": f(1, 2, 3), "attn_mask": f(2, 1)},
		{"query": f(1, 2, 3), "key": f(1, 2, 3), "value": f(1, 2, 3), "attn_mask": f(1, 1, 2, 2)},
	} {
		if _, err := tryOp("scaled_dot_product_attention", graph.IOS18, bad, 1); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
