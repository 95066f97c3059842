package engine

import (
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// segment is a plan: some nodes of a block, for concrete types of everything
// that they read. It ends with the block, or where the types of the rest depend
// on values that only the run knows. It owns neither weights nor memory, and
// shares with the segments that it was adapted from what they have in common.
type segment struct {
	*layout
	age     int        // a later adaptation of a layout covers all slots that an earlier one does
	steps   []*step    // those of unchanged calls are shared
	scratch scratch    // of any of them
	linked  []place    // slots inside other slots: views of inputs, states, outer values
	moved   []place    // in the stead of those that the layout has for the same slots
	renewed []constant // likewise
	next    int        // the first node that is not planned
	needs   []*graph.Value
	// exports are what later segments, nested blocks and the block's results know of the values made here.
	exports []graph.Operand
	dynamic []*graph.Value // exports whose shapes the steps set
	size    int            // bytes that it takes, about
}

// layout is the memory of a segment, and of those that differ from it in little.
type layout struct {
	frame  int        // bytes of activations
	fixed  []place    // slots inside the frame
	consts []constant // constants that steps read in Plain form
	// objects are slots of results that are no memory: lists, dictionaries, strings.
	objects []int32
}

// step is a call ready to run.
type step struct {
	graph.Step
	call    *graph.Call
	in, out []int32
	writes  bool // to a state
}

// place is the memory of one slot.
type place struct {
	slot, base int32 // base: the slot that it lies in; -1: the frame
	off, size  int
	shape      []int
}

func (p *place) equal(q *place) bool {
	return p.slot == q.slot && p.base == q.base && p.off == q.off && p.size == q.size && slices.Equal(p.shape, q.shape)
}

type constant struct {
	slot  int32
	value *graph.Const
	plain *graph.Packed // nil: the value is in Plain form, or strings
}

// emit lays memory out and writes the segment down.
func (p *planner) emit() *segment {
	p.layout = &layout{frame: p.mem.assign(p), fixed: make([]place, 0, len(p.mem.slots)), consts: make([]constant, 0, len(p.mem.slots)/2)}
	p.varied, p.age, p.scratch = make([]bool, len(p.calls)), 0, scratch{}
	p.steps = make([]*step, 0, len(p.calls))
	steps := make([]step, 0, len(p.calls)) // one piece of memory
	p.linked, p.linkOf = nil, map[int32]int{}
	clear(p.mem.noted)
	for _, c := range p.calls {
		for o, s := range c.out {
			if pl := p.mem.place(c, o); pl.base < 0 {
				p.layout.fixed = append(p.layout.fixed, pl)
			} else {
				p.linkOf[s] = len(p.linked)
				p.linked = append(p.linked, pl)
			}
			if t := c.call.Out[o].Type; t.Kind != graph.KindTensor || t.DType == tensor.String {
				p.layout.objects = append(p.layout.objects, s)
			}
		}
		p.layout.consts = p.constants(p.layout.consts, c)
		if c.at = -1; !p.mem.idle(c) {
			c.at = len(p.steps)
			steps = append(steps, p.mem.step(c))
			p.steps = append(p.steps, &steps[len(steps)-1])
			p.scratch.cover(&c.step)
		}
	}
	for v := range p.later {
		p.layout.consts = p.note(p.layout.consts, p.mem.ofLater[v], p.plainConst(v))
	}
	return p.segment(512*len(p.steps) + 64*(len(p.layout.fixed)+len(p.linked)) + 24*len(p.layout.consts))
}

// adapt writes down a segment that differs from the last one in the calls touched,
// which lie where the layout has room for them; nil: it has none, and emit has to follow.
func (p *planner) adapt(touched []bool) *segment {
	if !p.mem.tryKeep(p, touched) {
		return nil
	}
	p.steps = slices.Clone(p.steps)
	own, fresh := false, 0
	for i, c := range p.calls {
		if !touched[i] {
			continue
		}
		if p.mem.idle(c) != (c.at < 0) {
			return nil
		}
		if c.at >= 0 {
			s := p.mem.step(c)
			p.steps[c.at] = &s
			p.scratch.cover(&c.step)
			fresh++
		}
		if !p.varied[i] {
			p.varied[i] = true
			p.age++
		}
		for o, s := range c.out {
			if pl := p.mem.place(c, o); pl.base >= 0 && !pl.equal(&p.linked[p.linkOf[s]]) {
				if !own {
					p.linked, own = slices.Clone(p.linked), true
				}
				p.linked[p.linkOf[s]] = pl
			}
		}
	}
	seg := p.segment(8*len(p.steps) + 2048*fresh)
	clear(p.mem.noted)
	for i, c := range p.calls {
		if !p.varied[i] {
			continue
		}
		for o := range c.out {
			if pl := p.mem.place(c, o); pl.base < 0 {
				seg.moved = append(seg.moved, pl)
			}
		}
		seg.renewed = p.constants(seg.renewed, c)
	}
	for v := range p.later {
		seg.renewed = p.note(seg.renewed, p.mem.ofLater[v], p.plainConst(v))
	}
	return seg
}

// segment is what the planner has now, without what differs from the layout.
func (p *planner) segment(size int) *segment {
	seg := &segment{layout: p.layout, age: p.age, steps: p.steps, scratch: p.scratch, linked: p.linked, next: p.next, needs: p.needs}
	for _, v := range p.exported {
		o := p.known[v.ID]
		seg.exports = append(seg.exports, o)
		if o.Type.Bound {
			seg.dynamic = append(seg.dynamic, v)
		}
	}
	seg.size = size + 128*len(seg.exports) + 256
	return seg
}

// constants appends those that a call, or a block in it, reads in Plain form.
func (p *planner) constants(to []constant, c *pcall) []constant {
	for i := range c.call.In {
		if o := &c.call.In[i]; o.Const != nil && !c.call.IsRaw(i) {
			to = p.note(to, c.inLocal[i], p.look(o.Value).Const)
		}
	}
	for i, v := range c.reads {
		to = p.note(to, c.readLocal[i], p.plainConst(v))
	}
	return to
}

// note has the run bring a constant into memory, once.
func (p *planner) note(to []constant, local int32, k *graph.Const) []constant {
	if k == nil || p.mem.noted[local] {
		return to
	}
	p.mem.noted[local] = true
	c := constant{slot: p.mem.slots[local], value: k}
	if k.Strings == nil && !k.IsPlain() {
		c.plain = p.ask.packed(k, k.PlainForm())
	}
	return append(to, c)
}

// plainConst is a value that is known and has memory of its own; nil otherwise.
func (p *planner) plainConst(v *graph.Value) *graph.Const {
	k := v.Const
	if k == nil {
		k = p.known[v.ID].Const
	}
	if k != nil && k.Code != nil {
		return nil
	}
	return k
}

// findExported lists the values that later segments, nested blocks and the block's results have to know.
func (p *planner) findExported() {
	wanted := map[*graph.Value]bool{}
	for _, c := range p.calls {
		for _, v := range c.reads {
			wanted[v] = true
		}
	}
	for _, n := range p.block.Nodes[p.from:p.next] {
		for _, v := range n.Out {
			if wanted[v] || p.later[v] || p.known[v.ID].Type.Bound {
				p.exported = append(p.exported, v)
			}
		}
	}
}
