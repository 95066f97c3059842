package engine

import (
	"errors"
	"fmt"

	"coreml/internal/fault"
	"coreml/internal/graph"
)

// slotOf numbers the memory of a value in a form.
func slotOf(v *graph.Value, f graph.Form) int32 { return int32(v.ID*graph.Forms + int(f)) }

// pcall is a call on its way through the planner.
type pcall struct {
	call                         *graph.Call
	in, out                      []int32        // slots, in the order of call.In and call.Out
	reads                        []*graph.Value // what nested blocks read of this block and those around it
	fit                          graph.Fit
	blocked                      bool
	step                         graph.Step
	alias                        []graph.Alias
	inLocal, outLocal, readLocal []int32 // the same slots as the planner numbers them
	at                           int     // among the planner's steps; -1: it has nothing to do
}

// planner makes the segments for one place in the graph. It keeps what it made
// last, so that when a shape changes only the calls that see it are made anew.
type planner struct {
	prog  *program
	ask   *asker
	block *graph.Block
	from  int
	known []graph.Operand // by Value.ID
	said  []inferred      // of the nodes from … next
	next  int
	needs []*graph.Value

	calls []*pcall
	later map[*graph.Value]bool // values that are read after the segment
	mem   memory

	// What the last segment was made of, and who sees a change.
	steps    []*step
	scratch  scratch // covers steps, and those that they replaced
	layout   *layout
	linked   []place
	linkOf   map[int32]int // slots in linked
	varied   []bool        // calls that some adaptation of the layout has changed
	age      int           // how many
	exported []*graph.Value
	takers   index                       // of values: the nodes that read them, counted from from
	holders  index                       // of values: the calls that they are operands or results of
	fresh    map[*graph.Node]*graph.Call // made by reinfer, for rebuild
}

// plan makes everything anew.
func (p *planner) plan() (*segment, error) {
	if err := p.infer(); err != nil {
		return nil, err
	}
	p.later = p.prog.readAfter(p.block, p.next)
	for _, v := range p.needs {
		p.later[v] = true
	}
	p.dropDead()
	p.chooseForms()
	p.insertReorders()
	p.fusePost()
	for _, c := range p.calls {
		if err := c.prepare(); err != nil {
			return nil, err
		}
	}
	p.mem.number(p)
	p.findExported()
	p.findReaders()
	return p.emit(), nil
}

func (p *planner) look(v *graph.Value) graph.Operand {
	if v.Const != nil {
		return graph.Operand{Value: v, Type: v.Const.Type, Const: v.Const}
	}
	o := p.known[v.ID]
	if o.Value == nil {
		panic(fmt.Sprintf("BUG: engine: value %q is read before it is known", v.Name))
	}
	return o
}

// infer gives every value its type, folds what is known, and ends the segment
// where a type depends on a value that is not.
func (p *planner) infer() error {
	p.next = len(p.block.Nodes)
	for i := p.from; i < len(p.block.Nodes); i++ {
		n := p.block.Nodes[i]
		c := p.newCall(n)
		r, err := p.prog.infer(c)
		var need graph.NeedValue
		if errors.As(err, &need) {
			p.next = i
			p.needs = append(p.needs, c.In[need.Operand].Value)
			return nil
		}
		if err != nil {
			return located(n, fault.As(fault.Invalid, err))
		}
		if err := p.affords(c, r); err != nil {
			return located(n, err)
		}
		p.said = append(p.said, r)
		p.learn(c, r)
		if r.consts != nil {
			continue
		}
		p.calls = append(p.calls, newPcall(c))
		if r.bound {
			p.next = i + 1
			return nil
		}
	}
	return nil
}

// affords refuses results that alone take more than the memory limit, before steps are made
// for them. A result no larger than the operands may be a view.
func (p *planner) affords(c *graph.Call, r inferred) error {
	limit := p.prog.config.MemoryLimit
	if limit <= 0 || r.consts != nil {
		return nil
	}
	var in, out int64
	for _, o := range c.In {
		in += int64(graph.Bytes(o.Type, graph.Plain, 1))
	}
	for _, t := range r.types {
		out += int64(graph.Bytes(t, graph.Plain, 1))
	}
	if out > limit && out > in {
		return fmt.Errorf("needs %d bytes for its results: %w: %d are allowed", out, fault.Limit, limit)
	}
	return nil
}

func (p *planner) newCall(n *graph.Node) *graph.Call {
	c := graph.NewCall(n, p.prog.level, p.look)
	c.Store = p.ask
	return c
}

// learn notes what is said of a call's results, there and in known.
func (p *planner) learn(c *graph.Call, r inferred) {
	for o, v := range c.Node.Out {
		c.Out[o].Type = r.types[o]
		k := graph.Operand{Value: v, Type: r.types[o]}
		if r.consts != nil {
			k.Const = r.consts[o]
		}
		p.known[v.ID] = k
	}
}

func newPcall(c *graph.Call) *pcall {
	pc := &pcall{call: c, in: make([]int32, len(c.In)), out: make([]int32, len(c.Out))}
	if len(c.Node.Blocks) > 0 {
		pc.reads = capturedBy(c.Node)
	}
	return pc
}

// prepare makes the step of a call whose forms and Post are final.
func (pc *pcall) prepare() error {
	s, err := pc.call.Op.Prepare(pc.call)
	if err != nil {
		return located(pc.call.Node, fault.As(fault.Invalid, err))
	}
	if pc.step = s; len(pc.call.Node.Blocks) > 0 {
		pc.step = settle(s, pc.call)
	}
	if pc.call.Op.Alias != nil {
		pc.alias = pc.call.Op.Alias(pc.call)
	}
	return nil
}

func located(n *graph.Node, err error) error {
	return fmt.Errorf("operation %s (%s): %w", fault.Quote(n.Name), n.Op.Name, err)
}

// dropDead leaves out calls whose results nobody reads.
func (p *planner) dropDead() {
	read := map[*graph.Value]bool{}
	keep := make([]bool, len(p.calls))
	for i := len(p.calls) - 1; i >= 0; i-- {
		c := p.calls[i]
		keep[i] = c.call.Op.Effect
		for _, o := range c.call.Out {
			keep[i] = keep[i] || read[o.Value] || p.later[o.Value]
		}
		if !keep[i] {
			continue
		}
		for _, o := range c.call.In {
			read[o.Value] = true
		}
		for _, v := range c.reads {
			read[v] = true
		}
	}
	n := 0
	for i, c := range p.calls {
		if keep[i] {
			p.calls[n] = c
			n++
		}
	}
	p.calls = p.calls[:n]
}

// capturedBy lists the values that a node's blocks read and do not define.
func capturedBy(n *graph.Node) []*graph.Value {
	seen := map[*graph.Value]bool{}
	var out []*graph.Value
	var visit func(b *graph.Block, inner map[*graph.Value]bool)
	visit = func(b *graph.Block, inner map[*graph.Value]bool) {
		add := func(v *graph.Value) {
			if !inner[v] && !seen[v] {
				seen[v] = true
				out = append(out, v)
			}
		}
		for _, v := range b.Inputs {
			inner[v] = true
		}
		for _, m := range b.Nodes {
			for _, a := range m.Args {
				for _, v := range a {
					add(v)
				}
			}
			for _, in := range m.Blocks {
				visit(in, inner)
			}
			for _, v := range m.Out {
				inner[v] = true
			}
		}
		for _, v := range b.Outputs {
			add(v)
		}
	}
	for _, b := range n.Blocks {
		visit(b, map[*graph.Value]bool{})
	}
	return out
}
