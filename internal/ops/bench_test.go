package ops

import (
	"testing"

	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// BenchmarkStep runs the steps of elementwise operators, norms and reductions on one thread at the
// best level of this machine, on tensors of the size that networks have.
func BenchmarkStep(b *testing.B) {
	x := func(shape ...int) live { return live{wave(shape, 0.37)} }
	axes := func(v ...int) *graph.Const { return intsOf([]int{len(v)}, v...) }
	gamma := wave([]int{384}, 1)
	for _, tt := range []struct {
		name, op string
		a        args
	}{
		{"add", "add", args{"x": x(1, 197, 384), "y": x(1, 197, 384)}},
		{"add row", "add", args{"x": x(1, 197, 384), "y": wave([]int{384}, 1)}},
		{"add short row", "add", args{"x": x(1, 2000, 24), "y": wave([]int{24}, 1)}},
		{"mul number", "mul", args{"x": x(1, 197, 384), "y": floatsOf(nil, 0.5)}},
		{"mul channel", "mul", args{"x": x(1, 64, 30, 30), "y": wave([]int{64, 1, 1}, 1)}},
		{"mul last 1", "mul", args{"x": x(1, 197, 384), "y": x(1, 197, 1)}},
		{"gelu", "gelu", args{"x": x(1, 197, 384)}},
		{"silu", "silu", args{"x": x(1, 197, 384)}},
		{"relu", "relu", args{"x": x(1, 197, 384)}},
		{"softmax", "softmax", args{"x": x(1, 6, 64, 197)}},
		{"softmax axis 1", "softmax", args{"x": x(1, 197, 384), "axis": intsOf(nil, 1)}},
		{"layer_norm", "layer_norm", args{"x": x(1, 197, 384), "axes": axes(2), "gamma": gamma, "beta": gamma}},
		{"layer_norm channels", "layer_norm", args{"x": x(1, 384, 14, 14), "axes": axes(1), "gamma": gamma, "beta": gamma}},
		{"instance_norm", "instance_norm", args{"x": x(1, 64, 32, 32)}},
		{"batch_norm", "batch_norm", args{"x": x(1, 64, 32, 32), "mean": wave([]int{64}, 1), "variance": positive([]int{64})}},
		{"reduce_mean last", "reduce_mean", args{"x": x(1, 197, 384), "axes": axes(2)}},
		{"reduce_mean tokens", "reduce_mean", args{"x": x(1, 197, 384), "axes": axes(1)}},
		{"reduce_mean spatial", "reduce_mean", args{"x": x(1, 512, 12, 12), "axes": axes(2, 3)}},
		{"reduce_argmax", "reduce_argmax", args{"x": x(1, 32000), "axis": intsOf(nil, 1)}},
		{"topk", "topk", args{"x": x(1, 32000), "k": intsOf(nil, 40)}},
		{"greater", "greater", args{"x": x(1, 197, 384), "y": floatsOf(nil, 0.5)}},
		{"select", "select", args{"cond": live{boolsOf([]int{1, 1, 4}, true, false, true, true)}, "a": x(64, 64, 4), "b": floatsOf(nil, 0)}},
		{"cast to int32", "cast", args{"x": x(1, 197, 384), "dtype": stringOf("int32")}},
	} {
		b.Run(tt.name, func(b *testing.B) { benchStep(b, tt.op, tt.a) })
	}
}

func benchStep(b *testing.B, name string, a args) {
	fn, in := oneNode(Find(name, graph.IOS18), a, 2)
	slots := make([]graph.Slot, fn.Values)
	n := fn.Body.Nodes[0]
	c := graph.NewCall(n, cpu.Best(), func(v *graph.Value) graph.Operand {
		if v.Const != nil {
			slots[v.ID] = eval.ConstSlot(v.Const)
		}
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	c.Store = atOnce{}
	types, err := c.Op.Infer(c)
	if err != nil {
		b.Fatal(err)
	}
	for i, v := range fn.Body.Inputs {
		slots[v.ID] = in[i]
	}
	for i, t := range types {
		c.Out[i].Type = t
		slots[n.Out[i].ID] = graph.Slot{Data: graph.Aligned(graph.Bytes(t, graph.Plain, 1)), Shape: t.Shape}
	}
	step, err := c.Op.Prepare(c)
	if err != nil {
		b.Fatal(err)
	}
	x := &graph.Exec{Node: n, Slots: slots, Buf: graph.Aligned(step.Scratch)}
	for _, o := range c.In {
		x.In = append(x.In, int32(o.Value.ID))
	}
	for _, o := range c.Out {
		x.Out = append(x.Out, int32(o.Value.ID))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range step.Phases {
			for t := range p.Tasks {
				if err := p.Run(x, t); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(c.In[0].Type.Elements())*1000, "ns/1000")
}
