package ops

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"testing"

	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// TestWindowsAreChecked gives operators with windows parameters that make no sense: all are refused with an error or
// run; none panics, and none runs that would need more than a little memory.
func TestWindowsAreChecked(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	pick := func(choices ...int) int { return choices[r.IntN(len(choices))] }
	rarely := func() bool { return r.IntN(30) == 0 }
	size := func(choices ...int) int {
		if rarely() {
			return pick(0, 1<<31-1)
		}
		return pick(choices...)
	}
	list := func(n int, choices ...int) *graph.Const {
		if rarely() {
			n = max(0, n+pick(1, -1))
		}
		v := make([]int, n)
		for i := range v {
			if v[i] = pick(choices...); rarely() {
				v[i] = pick(0, -1, 1<<30, 1<<31-1)
			}
		}
		return intsOf([]int{n}, v...)
	}
	refused, ran := 0, 0
	for i := range 4000 {
		rank := 1 + r.IntN(3)
		x, w := []int{size(1, 2), size(1, 2, 6)}, []int{size(1, 2, 6), size(1, 2, 6)}
		for range rank {
			x, w = append(x, size(1, 2, 3, 5, 40)), append(w, size(1, 2, 3))
		}
		name := []string{"conv", "conv_transpose", "max_pool", "avg_pool", "l2_pool"}[i%5]
		a := args{
			"x": bare(x), "weight": bare(w), "groups": intsOf(nil, size(1, 1, 1, 2)),
			"kernel_sizes": list(rank, 1, 2, 3), "strides": list(rank, 1, 1, 2, 9),
			"dilations": list(rank, 1, 1, 2), "pad": list(2*rank, 0, 0, 1, 2, 40),
			"pad_type":  stringOf([]string{"valid", "custom", "same", "same_lower", "none"}[r.IntN(5)]),
			"ceil_mode": boolsOf(nil, r.IntN(2) == 0),
		}
		if r.IntN(4) == 0 {
			a["output_shape"] = list(rank+2, 1, 2, 3, 6)
		}
		op := Find(name, graph.IOS18)
		for k := range a {
			known := false
			for _, in := range op.Inputs {
				known = known || in.Name == k
			}
			if !known {
				delete(a, k)
			}
		}
		if tryWindow(t, fmt.Sprint(name, " ", a), op, a) {
			ran++
		} else {
			refused++
		}
	}
	if ran < 200 || refused < 200 {
		t.Errorf("%d ran, %d were refused: want many of both", ran, refused)
	}
}

// bare is a live value of a shape, without memory.
func bare(shape []int) live {
	return live{&graph.Const{Type: graph.TensorOf(tensor.Float32, shape...)}}
}

// tryWindow infers and, where shapes are small, prepares and runs; it reports whether it ran.
func tryWindow(t *testing.T, what string, op *graph.Op, a args) bool {
	defer func() {
		if p := recover(); p != nil {
			t.Fatalf("%s: panic: %v\n%s", what, p, debug.Stack())
		}
	}()
	small := func(s []int) bool {
		n, ok := tensor.Elements(s)
		return ok && n < 1<<16
	}
	for _, name := range []string{"x", "weight"} {
		if l, ok := a[name].(live); ok && small(l.Type.Shape) {
			l.Data = make([]byte, 4*l.Type.Elements())
			if name == "weight" {
				a[name] = l.Const
			}
		}
	}
	fn, in := oneWithout(op, a)
	c := graph.NewCall(fn.Body.Nodes[0], cpu.Generic, func(v *graph.Value) graph.Operand {
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	types, err := op.Infer(c)
	if err != nil || !small(types[0].Shape) || !small(c.Shape(0)) {
		return false
	}
	if w := c.Shape(1); op.Inputs[1].Name == "weight" && !small(w) {
		return false
	}
	c.Out[0].Type, c.Store = types[0], atOnce{}
	p := &preparedCall{call: c, slots: make([]graph.Slot, fn.Values)}
	for i, v := range fn.Body.Inputs {
		p.slots[v.ID] = in[i]
	}
	for _, o := range c.In {
		if o.Const != nil && o.Const.Strings == nil {
			p.slots[o.Value.ID] = eval.ConstSlot(o.Const)
		}
	}
	p.runSmall(t, what)
	if fit := op.Fit(c, graph.Blocked); fit.Out != 0 {
		p.block(fit)
		p.runSmall(t, what+" blocked")
	}
	return true
}

// runSmall prepares the call and runs it.
func (p *preparedCall) runSmall(t *testing.T, what string) {
	c := p.call
	step, err := c.Op.Prepare(c)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if step.Scratch > 1<<26 {
		t.Fatalf("%s: %d bytes of scratch", what, step.Scratch)
	}
	out := c.Out[0].Value.ID
	p.slots[out] = graph.Slot{Data: graph.Aligned(graph.Bytes(c.Out[0].Type, c.Out[0].Form, c.Lanes())), Shape: c.Out[0].Type.Shape}
	p.step, p.exec = step, &graph.Exec{Slots: p.slots, Buf: graph.Aligned(step.Scratch), Out: []int32{int32(out)}}
	for _, o := range c.In {
		p.exec.In = append(p.exec.In, int32(o.Value.ID))
	}
	p.all(t)
}

// oneWithout is oneNode for live values of which some have no memory.
func oneWithout(op *graph.Op, a args) (*graph.Function, []graph.Slot) {
	shapes := map[string][]int{}
	for k, v := range a {
		if l, ok := v.(live); ok && l.Data == nil {
			shapes[k] = l.Type.Shape
			l.Type.Shape = []int{0}
		}
	}
	fn, in := oneNode(op, a, 1)
	for _, v := range fn.Body.Inputs {
		if s, ok := shapes[v.Name]; ok {
			v.Type.Shape = s
		}
	}
	return fn, in
}
