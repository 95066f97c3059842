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

func (atOnce) Cold() bool { return true }

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

// preparedCall is a call with its memory, ready to run.
type preparedCall struct {
	call  *graph.Call
	step  graph.Step
	slots []graph.Slot
	exec  *graph.Exec
}

// prepared makes the call of an operator at a level, with its operands in the given form as far as its Fit
// says. Memory for the result is NaN.
func prepared(t testing.TB, name string, a args, level cpu.Level, form graph.Form, post ...hosted) *preparedCall {
	t.Helper()
	fn, in := oneNode(Find(name, graph.IOS18), a, 1)
	p := &preparedCall{slots: make([]graph.Slot, fn.Values)}
	for i, v := range fn.Body.Inputs {
		p.slots[v.ID] = in[i]
	}
	n := fn.Body.Nodes[0]
	c := graph.NewCall(n, level, func(v *graph.Value) graph.Operand {
		if v.Const != nil {
			p.slots[v.ID] = eval.ConstSlot(v.Const)
		}
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	c.Store, p.call = atOnce{}, c
	types, err := c.Op.Infer(c)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c.Out[0].Type = types[0]
	for _, h := range post {
		p.addPost(h)
	}
	if form == graph.Blocked && c.Op.Fit != nil {
		p.block(c.Op.Fit(c, form))
	}
	out := &p.slots[n.Out[0].ID]
	out.Shape = types[0].Shape
	out.Data = graph.Aligned(graph.Bytes(types[0], c.Out[0].Form, c.Lanes()))
	for i := range out.Data {
		out.Data[i] = 0xff
	}
	if p.step, err = c.Op.Prepare(c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	p.exec = &graph.Exec{Node: n, Slots: p.slots, Buf: graph.Aligned(p.step.Scratch)}
	for _, o := range c.In {
		p.exec.In = append(p.exec.In, int32(o.Value.ID))
	}
	p.exec.Out = []int32{int32(n.Out[0].ID)}
	return p
}

// block brings operands into the blocked form as fit says.
func (p *preparedCall) block(fit graph.Fit) {
	c := p.call
	if fit.Out&1 == 0 {
		return
	}
	c.Out[0].Form = graph.Blocked
	for i := range c.In {
		if fit.In>>i&1 != 0 || i >= c.Own && c.In[i].Const == nil {
			c.In[i].Form = graph.Blocked
			s := &p.slots[c.In[i].Value.ID]
			s.Data = blocked(s.Data, s.Shape, c.Lanes())
		}
	}
}

// all runs every task; the last ones of a phase first.
func (p *preparedCall) all(t testing.TB) {
	for _, ph := range p.step.Phases {
		for i := ph.Tasks - 1; i >= 0; i-- {
			if err := ph.Run(p.exec, i); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// runForm runs an operator as prepared says.
func runForm(t *testing.T, name string, a args, level cpu.Level, form graph.Form, post ...hosted) result {
	t.Helper()
	return prepared(t, name, a, level, form, post...).result(t)
}

// result runs the call and brings the result back to Plain.
func (p *preparedCall) result(t *testing.T) result {
	t.Helper()
	p.all(t)
	out := p.call.Out[0]
	s := p.slots[out.Value.ID]
	if out.Form == graph.Blocked {
		s.Data = unblocked(t, s.Data, s.Shape, p.call.Lanes())
	}
	return result{s, out.Type}
}

// addPost appends an elementwise call to Post.
func (p *preparedCall) addPost(h hosted) {
	c := p.call
	op := Find(h.op, graph.IOS18)
	post := graph.Post{Other: -1}
	fn, in := oneNode(op, mergeArgs(h.args, args{op.Inputs[0].Name: live{floatsOf(nil, 0)}}), 1)
	post.Call = graph.NewCall(fn.Body.Nodes[0], c.Level, func(v *graph.Value) graph.Operand {
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	post.Call.In[0].Type = c.Out[0].Type
	if h.other != "" {
		k := post.Call.In[1]
		v := &graph.Value{ID: len(p.slots), Type: k.Type, Const: k.Const}
		var s graph.Slot
		if k.Const != nil {
			s = eval.ConstSlot(k.Const)
		} else {
			s = in[1]
		}
		p.slots = append(p.slots, s)
		post.Other = len(c.In)
		c.In = append(c.In, graph.Operand{Value: v, Type: k.Type, Const: k.Const})
	}
	c.Post = append(c.Post, post)
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
