package engine

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// replan adapts the last segment to other types of what it reads: calls that do
// not see the change stay as they are. It gives nil, and is not to be used again,
// if the change reaches further than sizes: another fold, form or fusion.
func (p *planner) replan(sig []graph.Operand) *segment {
	ch := changes{has: make([]bool, len(p.known))}
	for _, o := range sig {
		if o.Value == nil {
			continue
		}
		if have := &p.known[o.Value.ID]; have.Value == nil || !sameOperand(have, &o) {
			p.known[o.Value.ID] = o
			ch.add(o.Value)
		}
	}
	for _, v := range p.needs {
		if p.known[v.ID].Const != nil { // the rest can be planned now
			return nil
		}
	}
	p.fresh = map[*graph.Node]*graph.Call{}
	if !p.reinfer(&ch) {
		return nil
	}
	touched := make([]bool, len(p.calls))
	for _, v := range ch.values {
		for _, i := range p.holders.of(v) {
			touched[i] = true
		}
	}
	fits := true
	for i, c := range p.calls {
		if !touched[i] || !p.stale(c, &ch) {
			continue
		}
		shared := c.alias
		if !p.rebuild(c) || c.prepare() != nil {
			return nil
		}
		fits = fits && sameSharing(shared, c.alias)
	}
	if fits {
		if seg := p.adapt(touched); seg != nil {
			return seg
		}
	}
	return p.emit()
}

// changes are the values of which the planner knows something else than before.
type changes struct {
	values []*graph.Value
	has    []bool // by Value.ID
}

func (ch *changes) add(v *graph.Value) {
	if !ch.has[v.ID] {
		ch.has[v.ID] = true
		ch.values = append(ch.values, v)
	}
}

// index lists numbers for values.
type index struct {
	first []int32 // by Value.ID, into items
	items []int32
}

func (x *index) of(v *graph.Value) []int32 { return x.items[x.first[v.ID]:x.first[v.ID+1]] }

// newIndex collects what each gives for numbers below n; values is the number of values.
func newIndex(values, n int, each func(i int, add func(*graph.Value))) index {
	x := index{first: make([]int32, values+1)}
	for i := range n {
		each(i, func(v *graph.Value) { x.first[v.ID+1]++ })
	}
	for i := range values {
		x.first[i+1] += x.first[i]
	}
	x.items = make([]int32, x.first[values])
	end := append([]int32(nil), x.first...)
	for i := range n {
		each(i, func(v *graph.Value) {
			x.items[end[v.ID]] = int32(i)
			end[v.ID]++
		})
	}
	return x
}

// findReaders notes who has to look when a value changes.
func (p *planner) findReaders() {
	nodes := p.block.Nodes[p.from:p.next]
	taken := func(n *graph.Node, add func(*graph.Value)) {
		for _, a := range n.Args {
			for _, v := range a {
				add(v)
			}
		}
	}
	p.takers = newIndex(len(p.known), len(nodes), func(i int, add func(*graph.Value)) { taken(nodes[i], add) })
	p.holders = newIndex(len(p.known), len(p.calls), func(i int, add func(*graph.Value)) {
		c := p.calls[i]
		for k := range c.call.In {
			add(c.call.In[k].Value)
		}
		for k := range c.call.Out {
			add(c.call.Out[k].Value)
		}
		for _, q := range c.call.Post {
			taken(q.Call.Node, add)
		}
		for _, v := range c.call.Node.Out {
			add(v)
		}
		for _, v := range c.reads {
			add(v)
		}
	})
}

// reinfer follows changes through the nodes.
func (p *planner) reinfer(ch *changes) bool {
	due := make([]bool, p.next-p.from)
	see := func(v *graph.Value) {
		for _, i := range p.takers.of(v) {
			due[i] = true
		}
	}
	for _, v := range ch.values {
		see(v)
	}
	for i := range due {
		if !due[i] {
			continue
		}
		n := p.block.Nodes[p.from+i]
		c := p.newCall(n)
		r, err := p.prog.infer(c)
		if err != nil || (r.consts != nil) != (p.said[i].consts != nil) || r.bound != p.said[i].bound {
			return false
		}
		for o, v := range n.Out {
			now := graph.Operand{Value: v, Type: r.types[o]}
			if r.consts != nil {
				now.Const = r.consts[o]
			}
			was := &p.known[v.ID]
			if was.Type.Bound != now.Type.Bound {
				return false
			}
			if !sameOperand(was, &now) {
				ch.add(v)
				see(v)
			}
		}
		p.said[i] = r
		p.learn(c, r)
		p.fresh[n] = c
	}
	return true
}

// stale reports whether a call has to be made anew: what it was made of has changed,
// and not only values that its step reads when it runs.
func (p *planner) stale(c *pcall, ch *changes) bool {
	for i := range c.call.In {
		o := &c.call.In[i]
		if ch.has[o.Value.ID] && !(c.call.IsLate(i) && o.Type.Equal(p.look(o.Value).Type)) {
			return true
		}
	}
	for i := range c.call.Out {
		if ch.has[c.call.Out[i].Value.ID] {
			return true
		}
	}
	for _, q := range c.call.Post {
		for _, a := range q.Call.Node.Args {
			for _, v := range a {
				if ch.has[v.ID] {
					return true
				}
			}
		}
	}
	for _, v := range c.call.Node.Out {
		if ch.has[v.ID] {
			return true
		}
	}
	return false
}

// rebuild makes the call anew with the types that are known now, in the forms
// and with the Post that it had; false: these would not be chosen any more.
func (p *planner) rebuild(pc *pcall) bool {
	old := pc.call
	c := p.freshCall(old.Node)
	if old.Node.ID < 0 { // a reorder
		c.Out[0].Type = c.In[0].Type
	} else {
		for o := range c.Out {
			c.Out[o].Type = p.known[c.Out[o].Value.ID].Type
		}
		if c.Op.Fit != nil && c.Op.Fit(c, graph.Blocked) != pc.fit {
			return false
		}
	}
	sameForms(c, old)
	for _, q := range old.Post {
		qc := p.freshCall(q.Call.Node)
		qc.Out[0].Type = p.known[qc.Out[0].Value.ID].Type
		sameForms(qc, q.Call)
		if !tensor.EqualShape(qc.Out[0].Type.Shape, c.Out[0].Type.Shape) {
			return false
		}
		if q.Other >= 0 {
			c.In = append(c.In, qc.In[1-q.Chain])
		}
		c.Post = append(c.Post, graph.Post{Call: qc, Chain: q.Chain, Other: q.Other})
		c.Out = qc.Out
	}
	pc.call = c
	return true
}

// freshCall is the call that reinfer made for a node, or a new one. Each is used once.
func (p *planner) freshCall(n *graph.Node) *graph.Call {
	if c := p.fresh[n]; c != nil {
		delete(p.fresh, n)
		return c
	}
	return p.newCall(n)
}

func sameForms(c, old *graph.Call) {
	for i := range c.In[:c.Own] {
		if c.In[i].Form = old.In[i].Form; old.In[i].Const == nil && c.In[i].Form == graph.Blocked {
			c.In[i].Const = nil
		}
	}
	for i := range c.Out {
		c.Out[i].Form = old.Out[i].Form
	}
}
