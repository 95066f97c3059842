package ops

import (
	"testing"

	"coreml/internal/eval"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// atOnce packs when asked.
type atOnce struct{}

func (atOnce) Get(c *graph.Call, in int, p graph.Packing) *graph.Packed {
	k := &graph.Packed{Packing: p, Src: c.In[in].Const, Data: graph.Aligned(p.Size)}
	// In two pieces, as several workers would.
	p.Do(k.Data, k.Src, p.Items/2, p.Items)
	p.Do(k.Data, k.Src, 0, p.Items/2)
	return k
}

// hosted is an elementwise operator that runs in another one's step.
type hosted struct {
	op    string
	args  args // of the operator, without its first operand; a live one becomes the host's operand
	other string
}

// runForm runs an operator at a level with its operands in the given form as far as its Fit says, and brings the
// result back to Plain. Memory that an operator may not read is NaN.
func runForm(t *testing.T, name string, a args, level cpu.Level, form graph.Form, post ...hosted) result {
	t.Helper()
	fn, in := oneNode(Find(name, graph.IOS18), a, 1)
	slots := make([]graph.Slot, fn.Values)
	for i, v := range fn.Body.Inputs {
		slots[v.ID] = in[i]
	}
	look := func(v *graph.Value) graph.Operand {
		if v.Const != nil {
			slots[v.ID] = eval.ConstSlot(v.Const)
		}
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	}
	n := fn.Body.Nodes[0]
	c := graph.NewCall(n, level, look)
	c.Store = atOnce{}
	types, err := c.Op.Infer(c)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c.Out[0].Type = types[0]
	for _, h := range post {
		slots = addPost(t, c, h, slots)
	}
	if form == graph.Blocked && c.Op.Fit != nil {
		fit := c.Op.Fit(c, form)
		if fit.Out&1 != 0 {
			c.Out[0].Form = form
		}
		for i := range c.In {
			if fit.In>>i&1 != 0 || i >= c.Own && c.Out[0].Form == form && c.In[i].Const == nil {
				c.In[i].Form = form
				s := &slots[c.In[i].Value.ID]
				s.Data = blocked(s.Data, s.Shape, c.Lanes())
			}
		}
	}
	out := &slots[n.Out[0].ID]
	out.Shape = types[0].Shape
	out.Data = graph.Aligned(graph.Bytes(types[0], c.Out[0].Form, c.Lanes()))
	for i := range out.Data {
		out.Data[i] = 0xff
	}
	if err := eval.Run(c, slots, nil); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	r := result{*out, types[0]}
	if c.Out[0].Form == graph.Blocked {
		r.Data = unblocked(t, out.Data, out.Shape, c.Lanes())
	}
	return r
}

// addPost appends an elementwise call to c.Post.
func addPost(t *testing.T, c *graph.Call, h hosted, slots []graph.Slot) []graph.Slot {
	t.Helper()
	op := Find(h.op, graph.IOS18)
	p := graph.Post{Call: &graph.Call{Op: op, Level: c.Level}, Other: -1}
	fn, in := oneNode(op, mergeArgs(h.args, args{op.Inputs[0].Name: live{floatsOf(nil, 0)}}), 1)
	p.Call = graph.NewCall(fn.Body.Nodes[0], c.Level, func(v *graph.Value) graph.Operand {
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	p.Call.In[0].Type = c.Out[0].Type
	if h.other != "" {
		k := p.Call.In[1]
		v := &graph.Value{ID: len(slots), Type: k.Type, Const: k.Const}
		s := graph.Slot{Shape: k.Type.Shape}
		if k.Const != nil {
			s = eval.ConstSlot(k.Const)
		} else {
			s = in[1]
		}
		slots = append(slots, s)
		p.Other = len(c.In)
		c.In = append(c.In, graph.Operand{Value: v, Type: k.Type, Const: k.Const})
	}
	c.Post = append(c.Post, p)
	return slots
}

func mergeArgs(a, b args) args {
	m := args{}
	for k, v := range a {
		m[k] = v
	}
	for k, v := range b {
		m[k] = v
	}
	return m
}

func split(shape []int) (n, c, sp int) {
	return shape[0], shape[1], graph.TensorOf(tensor.Float32, shape[2:]...).Elements()
}

func blocked(data []byte, shape []int, lanes int) []byte {
	n, c, sp := split(shape)
	out := graph.Aligned(graph.Bytes(graph.TensorOf(tensor.Float32, shape...), graph.Blocked, lanes))
	toBlocked(f32(out), f32(data), n, c, sp, lanes)
	return out
}

// unblocked brings memory back to Plain and checks that the pad lanes are zero.
func unblocked(t *testing.T, data []byte, shape []int, lanes int) []byte {
	t.Helper()
	n, c, sp := split(shape)
	blocks := (c + lanes - 1) / lanes
	src, dst := f32(data), make([]float32, n*c*sp)
	for i, v := range src {
		l, p, b := i%lanes, i/lanes%sp, i/lanes/sp
		if ch := b%blocks*lanes + l; ch < c {
			dst[(b/blocks*c+ch)*sp+p] = v
		} else if v != 0 {
			t.Fatalf("pad lane %d of pixel %d, block %d is %v", l, p, b, v)
		}
	}
	return tensor.BytesOf(dst)
}
