package engine

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// replan adapts the last segment to other types of what it reads: calls that do
// not see the change stay as they are. It gives nil, and is not to be used again,
// if the change reaches further than sizes: another fold, form or fusion.
func (p *planner) replan(sig []graph.Operand) *segment {
	changed := marks{set: make([]bool, len(p.known))}
	for _, o := range sig {
		if o.Value == nil {
			continue
		}
		if have := &p.known[o.Value.ID]; have.Value == nil || !sameOperand(have, &o) {
			p.known[o.Value.ID] = o
			changed.add(o.Value)
		}
	}
	for _, v := range p.needs {
		if p.known[v.ID].Const != nil { // the rest can be planned now
			return nil
		}
	}
	p.fresh = map[*graph.Node]*graph.Call{}
	if !p.reinfer(changed) {
		return nil
	}
	for _, c := range p.calls {
		if !c.sees(changed) {
			continue
		}
		if !p.rebuild(c) || c.prepare() != nil {
			return nil
		}
	}
	return p.emit()
}

// marks is a set of values.
type marks struct{ set []bool }

func (m marks) add(v *graph.Value)      { m.set[v.ID] = true }
func (m marks) has(v *graph.Value) bool { return m.set[v.ID] }

// reinfer follows a change through the nodes.
func (p *planner) reinfer(changed marks) bool {
	for i, n := range p.block.Nodes[p.from:p.next] {
		if !nodeSees(n, changed) {
			continue
		}
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
			if !sameOperand(&p.known[v.ID], &now) {
				changed.add(v)
			}
		}
		p.said[i] = r
		p.learn(c, r)
		p.fresh[n] = c
	}
	return true
}

func nodeSees(n *graph.Node, changed marks) bool {
	for _, a := range n.Args {
		for _, v := range a {
			if changed.has(v) {
				return true
			}
		}
	}
	return false
}

// sees reports whether an operand or a result of the call, or of its Post, has changed.
func (pc *pcall) sees(changed marks) bool {
	for i := range pc.call.In {
		if v := pc.call.In[i].Value; changed.has(v) {
			return true
		}
	}
	for i := range pc.call.Out {
		if changed.has(pc.call.Out[i].Value) {
			return true
		}
	}
	for _, q := range pc.call.Post {
		if nodeSees(q.Call.Node, changed) {
			return true
		}
	}
	for _, v := range pc.call.Node.Out {
		if changed.has(v) {
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
