package engine

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

// fusePost moves elementwise calls into the call whose result they work on, so
// that they run while it is in cache or in registers.
func (p *planner) fusePost() {
	users := map[int32]int{}
	next := map[int32]int{} // the only user's index, where users is 1
	made := map[int32]int{}
	for i, c := range p.calls {
		for _, s := range c.in {
			users[s]++
			next[s] = i
		}
		for _, v := range c.reads {
			users[slotOf(v, graph.Plain)] += 2
		}
		for _, s := range c.out {
			made[s] = i
		}
	}
	gone := make([]bool, len(p.calls))
	for i, host := range p.calls {
		if gone[i] || !host.call.Op.Post || len(host.out) != 1 {
			continue
		}
		for {
			s := host.out[0]
			j, ok := next[s]
			if !ok || users[s] != 1 || p.later[host.call.Out[0].Value] || !p.attach(host, p.calls[j], i, made) {
				break
			}
			gone[j] = true
			made[host.out[0]] = i
		}
	}
	n := 0
	for i, c := range p.calls {
		if !gone[i] {
			p.calls[n] = c
			n++
		}
	}
	p.calls = p.calls[:n]
}

// attach makes q a Post of host, which is call number at, if that can be done.
func (p *planner) attach(host, q *pcall, at int, made map[int32]int) bool {
	hc, qc := host.call, q.call
	out := qc.Out
	if qc.Op.Elem == nil || len(out) != 1 || len(qc.Post) > 0 || out[0].Form != hc.Out[0].Form || !out[0].Type.DType.IsFloat() ||
		!hc.Out[0].Type.DType.IsFloat() || !tensor.EqualShape(out[0].Type.Shape, hc.Out[0].Type.Shape) {
		return false
	}
	e, err := qc.Op.Elem(qc)
	if err != nil {
		return false
	}
	post := graph.Post{Call: qc, Other: -1}
	var other graph.Operand
	var slot int32
	for i := range qc.In[:qc.Own] {
		if q.in[i] == host.out[0] {
			post.Chain = i
		}
	}
	if e.F1 == nil {
		other, slot = qc.In[1-post.Chain], q.in[1-post.Chain]
		if m, ok := made[slot]; other.Const == nil && ok && m >= at || !other.Type.DType.IsFloat() {
			return false
		}
		post.Other = len(hc.In)
		hc.In = append(hc.In, other)
		host.in = append(host.in, slot)
	}
	hc.Post = append(hc.Post, post)
	hc.Out = out
	host.out = q.out
	return true
}
