package engine

import (
	"coreml/internal/graph"
	"coreml/internal/ops"
)

// chooseForms decides which calls run on channel-blocked memory: regions of
// calls that can, around those that gain from it, less what costs more reorders
// than it saves.
func (p *planner) chooseForms() {
	wants := false
	for _, c := range p.calls {
		if c.call.Op.Fit != nil {
			c.fit = c.call.Op.Fit(c.call, graph.Blocked)
		}
		c.blocked = c.fit.In|c.fit.Out != 0
		wants = wants || c.blocked && c.fit.Wants
	}
	if !wants {
		for _, c := range p.calls {
			c.blocked = false
		}
		return
	}
	g := p.edges()
	g.dropUnwanted()
	for range 4 {
		if !g.improve() {
			break
		}
	}
}

// edges relates the calls of a segment through their values.
type edges struct {
	calls []*pcall
	maker map[*graph.Value]int // index of the call that makes a value
	users map[*graph.Value][]use
	later map[*graph.Value]bool
}

type use struct{ call, operand int }

func (p *planner) edges() *edges {
	g := &edges{calls: p.calls, maker: map[*graph.Value]int{}, users: map[*graph.Value][]use{}, later: p.later}
	for i, c := range p.calls {
		for k, o := range c.call.In {
			if o.Const == nil {
				g.users[o.Value] = append(g.users[o.Value], use{i, k})
			}
		}
		for _, o := range c.call.Out {
			g.maker[o.Value] = i
		}
	}
	return g
}

// dropUnwanted leaves regions without a call that wants them row-major.
func (g *edges) dropUnwanted() {
	root := make([]int, len(g.calls))
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for v, m := range g.maker {
		if !g.makes(m, v) {
			continue
		}
		for _, u := range g.users[v] {
			if g.takes(u) {
				root[find(u.call)] = find(m)
			}
		}
	}
	wanted := map[int]bool{}
	for i, c := range g.calls {
		if c.blocked && c.fit.Wants {
			wanted[find(i)] = true
		}
	}
	for i, c := range g.calls {
		c.blocked = c.blocked && wanted[find(i)]
	}
}

// makes reports whether call m gives v blocked, if it runs blocked.
func (g *edges) makes(m int, v *graph.Value) bool {
	c := g.calls[m]
	for i, o := range c.call.Out {
		if o.Value == v {
			return c.fit.Out>>i&1 != 0
		}
	}
	return false
}

func (g *edges) takes(u use) bool { return g.calls[u.call].fit.In>>u.operand&1 != 0 }

// improve turns calls row-major where that saves reorders.
func (g *edges) improve() bool {
	changed := false
	for i, c := range g.calls {
		if !c.blocked || c.fit.Wants {
			continue
		}
		if g.cost(i, false) <= g.cost(i, true) {
			c.blocked, changed = false, true
		}
	}
	return changed
}

// cost is the number of elements reordered around call i.
func (g *edges) cost(i int, blocked bool) int {
	c := g.calls[i]
	n := 0
	for k, o := range c.call.In {
		if o.Const != nil {
			continue
		}
		m, made := g.maker[o.Value]
		is := made && g.calls[m].blocked && g.makes(m, o.Value)
		if is != (blocked && c.fit.In>>k&1 != 0) {
			n += o.Type.Elements()
		}
	}
	for k, o := range c.call.Out {
		is := blocked && c.fit.Out>>k&1 != 0
		differ := g.later[o.Value] && is
		for _, u := range g.users[o.Value] {
			differ = differ || (g.calls[u.call].blocked && g.takes(u)) != is
		}
		if differ {
			n += o.Type.Elements()
		}
	}
	return n
}

// insertReorders gives every operand its form and adds a call where a value is
// needed in a form that it does not have yet.
func (p *planner) insertReorders() {
	r := &reorders{p: p, have: map[int32]bool{}}
	for _, c := range p.calls {
		var half uint64
		if c.call.Op.Fit != nil {
			half = c.call.Op.Fit(c.call, graph.Half).In
		}
		for i := range c.call.In {
			o := &c.call.In[i]
			if o.Form = r.formFor(c, i, half); o.Form == graph.Blocked {
				o.Const = nil // it is data now, behind a reorder
			}
			if o.Const == nil && o.Type.Kind != graph.KindState {
				r.need(o.Value, o.Form)
			}
			c.in[i] = slotOf(o.Value, o.Form)
		}
		for _, v := range c.reads {
			if v.Const == nil && p.known[v.ID].Const == nil {
				r.need(v, graph.Plain)
			}
		}
		for i := range c.call.Out {
			o := &c.call.Out[i]
			o.Form = r.formOf(c, i)
			c.out[i] = slotOf(o.Value, o.Form)
			r.have[c.out[i]] = true
		}
		r.calls = append(r.calls, c)
	}
	made := p.edges().maker
	for v := range p.later {
		if _, ok := made[v]; ok {
			r.need(v, graph.Plain)
		}
	}
	p.calls = r.calls
}

type reorders struct {
	p     *planner
	have  map[int32]bool
	calls []*pcall
}

func (r *reorders) formFor(c *pcall, i int, half uint64) graph.Form {
	o := c.call.In[i]
	switch {
	case o.Type.Kind == graph.KindState:
		return stateForm(o.Type)
	case c.blocked && c.fit.In>>i&1 != 0:
		return graph.Blocked
	case o.Const != nil:
		return graph.Plain
	case half>>i&1 != 0 && r.have[slotOf(o.Value, graph.Half)]:
		return graph.Half
	}
	return graph.Plain
}

// stateForm is how a state's memory is kept: as declared.
func stateForm(t graph.Type) graph.Form {
	if t.DType.IsFloat() && t.DType.Bits() == 16 {
		return graph.Half
	}
	return graph.Plain
}

// formOf is the form in which a call gives output i.
func (r *reorders) formOf(c *pcall, i int) graph.Form {
	if c.blocked && c.fit.Out>>i&1 != 0 {
		return graph.Blocked
	}
	if c.call.Op.Fit == nil || c.call.Op.Fit(c.call, graph.Half).Out>>i&1 == 0 {
		return graph.Plain
	}
	// An output follows its first operand into Half.
	if len(c.call.In) > 0 && c.call.In[0].Form == graph.Half {
		return graph.Half
	}
	return graph.Plain
}

// need makes a value available in a form.
func (r *reorders) need(v *graph.Value, f graph.Form) {
	to := slotOf(v, f)
	if r.have[to] {
		return
	}
	from, made := graph.Plain, false
	for _, g := range []graph.Form{graph.Blocked, graph.Half, graph.Plain} {
		if r.have[slotOf(v, g)] {
			from, made = g, true
		}
	}
	if !made { // before the segment, or a constant
		r.have[slotOf(v, graph.Plain)] = true
	}
	if from == f {
		return
	}
	if f != graph.Plain && from != graph.Plain {
		r.need(v, graph.Plain)
		from = graph.Plain
	}
	n := &graph.Node{ID: -1, Name: v.Name, Op: ops.Reorder, Args: [][]*graph.Value{{v}}, Out: []*graph.Value{v}}
	c := graph.NewCall(n, r.p.prog.level, r.p.look)
	c.Store = r.p.ask
	c.In[0].Form = from
	c.Out[0].Form, c.Out[0].Type = f, c.In[0].Type
	pc := newPcall(c)
	pc.in[0], pc.out[0] = slotOf(v, from), to
	r.calls = append(r.calls, pc)
	r.have[to] = true
}
