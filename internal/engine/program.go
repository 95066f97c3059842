package engine

import (
	"context"
	"runtime"
	"sync"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// program is a loaded function: the graph, packed weights and plans, shared by all runs.
type program struct {
	fn     *graph.Function
	coded  int64 // codedBytes of it
	level  cpu.Level
	config backend.Config
	feats  *features
	// executor readies what runs a job.
	executor func(context.Context) executor
	prefix   string // of errors
	dispatch guards.Dispatch
	// discard gives pages of the mapped file back once a weight is packed.
	discard func([]byte)

	mu     sync.Mutex // guards what follows
	plans  map[planKey]*planList
	after  map[planKey]map[*graph.Value]bool
	packs  map[packKey]*weight
	held   int64                    // bytes that all predictions share: packs and folded constants
	most   int64                    // bytes that one took beside, of those that succeeded
	flying []*run                   // beside a memory limit
	folded map[*graph.Node]inferred // of calls that every plan says the same of
	idle   []*run
	closed bool
	active sync.WaitGroup
	leave  sync.Once
}

// planKey is a place in the graph at which a segment starts.
type planKey struct {
	block *graph.Block
	from  int
}

// planList has the segments made for one place, the last used first.
type planList struct {
	reads []*graph.Value // what the nodes from there on read of earlier values
	plans []planned
	idle  *planner // that made the newest; nil while it is at work
}

type planned struct {
	sig []graph.Operand // of reads
	seg *segment
}

// Plans kept for one place in the graph: as many as planBytes hold, the last used
// first, so that a decoder finds the lengths that it has seen.
const planBytes = 16 << 20

func newProgram(fn *graph.Function, level cpu.Level, c backend.Config) *program {
	p := &program{fn: fn, coded: codedBytes(fn), level: level, config: c, plans: map[planKey]*planList{}, after: map[planKey]map[*graph.Value]bool{},
		packs: map[packKey]*weight{}, folded: map[*graph.Node]inferred{}, discard: func([]byte) {}}
	p.executor = p.startRun
	p.prefix, p.dispatch = "engine", guards.Dispatch{Backend: "cpu", Unit: "cpu " + level.String()}
	crew.join()
	return p
}

// segment finds or makes the plan for the nodes of a block from one on, given
// what is known of the values that they read.
func (p *program) segment(b *graph.Block, from int, known []graph.Operand) (*segment, error) {
	l, seg, pl := p.find(planKey{b, from}, known)
	if seg != nil {
		return seg, nil
	}
	sig := make([]graph.Operand, len(l.reads))
	for i, v := range l.reads {
		sig[i] = known[v.ID]
	}
	seg, pl, err := p.makeSegment(pl, b, from, sig)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.shareWeights(pl.ask.fresh, p.need(seg)); err != nil {
		return nil, err // without the planner, whose next segment may need less
	}
	pl.ask.fresh = nil
	l.idle = pl
	l.plans = append(l.plans, planned{})
	copy(l.plans[1:], l.plans)
	l.plans[0] = planned{sig, seg}
	l.trim()
	return seg, nil
}

// find looks among the segments made for a place. If there is none for what is known, it hands out the planner.
func (p *program) find(k planKey, known []graph.Operand) (*planList, *segment, *planner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.plans[k]
	if l == nil {
		l = &planList{reads: readFrom(k.block, k.from)}
		p.plans[k] = l
	}
	for i := range l.plans {
		if l.plans[i].matches(l.reads, known) {
			hit := l.plans[i]
			copy(l.plans[1:i+1], l.plans[:i])
			l.plans[0] = hit
			return l, hit.seg, nil
		}
	}
	pl := l.idle
	l.idle = nil
	return l, nil, pl
}

// makeSegment asks the planner of this place to adapt what it made last, or a new one to begin.
func (p *program) makeSegment(pl *planner, b *graph.Block, from int, sig []graph.Operand) (*segment, *planner, error) {
	if pl != nil {
		if seg := pl.replan(sig); seg != nil {
			return seg, pl, nil
		}
	}
	pl = &planner{prog: p, ask: &asker{program: p}, block: b, from: from, known: make([]graph.Operand, p.fn.Values)}
	for _, o := range sig {
		if o.Value != nil {
			pl.known[o.Value.ID] = o
		}
	}
	seg, err := pl.plan()
	return seg, pl, err
}

// trim forgets the plans that have not been used for longest.
func (l *planList) trim() {
	total := 0
	for i := range l.plans {
		if total += l.plans[i].seg.size; total > planBytes && i > 0 {
			clear(l.plans[i:])
			l.plans = l.plans[:i]
			return
		}
	}
}

// matches compares what a plan was made for with what is known now.
func (k *planned) matches(reads []*graph.Value, known []graph.Operand) bool {
	for i, v := range reads {
		if !sameOperand(&k.sig[i], &known[v.ID]) {
			return false
		}
	}
	return true
}

func sameOperand(a, b *graph.Operand) bool {
	if !a.Type.Equal(b.Type) || (a.Const == nil) != (b.Const == nil) {
		return false
	}
	return a.Const == nil || a.Const == b.Const || a.Const.Code == nil && b.Const.Code == nil && string(a.Const.Data) == string(b.Const.Data)
}

// readFrom lists the values that a block's nodes from one on, and its results,
// read and do not define; constants are left out.
func readFrom(b *graph.Block, from int) []*graph.Value {
	rest := &graph.Node{Blocks: []*graph.Block{{Nodes: b.Nodes[from:], Outputs: b.Outputs}}}
	var out []*graph.Value
	for _, v := range capturedBy(rest) {
		if v.Const == nil {
			out = append(out, v)
		}
	}
	return out
}

// readAfter is the set of values that are read from node next on. The caller may add to its copy.
func (p *program) readAfter(b *graph.Block, next int) map[*graph.Value]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := planKey{b, next}
	m := p.after[k]
	if m == nil {
		m = map[*graph.Value]bool{}
		for _, v := range readFrom(b, next) {
			m[v] = true
		}
		p.after[k] = m
	}
	out := make(map[*graph.Value]bool, len(m))
	for v := range m {
		out[v] = true
	}
	return out
}

// startRun readies a run for a job.
func (p *program) startRun(ctx context.Context) executor {
	r := p.acquire()
	r.start(ctx)
	return r
}

// acquire takes an idle run or makes one.
func (p *program) acquire() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	var r *run
	if n := len(p.idle); n > 0 {
		r, p.idle = p.idle[n-1], p.idle[:n-1]
	} else {
		r = newRun(p)
	}
	p.begin(r)
	return r
}

// maxIdle is the number of runs, with their memory, kept for the next callers.
func maxIdle() int { return runtime.GOMAXPROCS(0) }

func (p *program) release(r *run) {
	r.forget()
	p.mu.Lock()
	if p.finish(r) && len(p.idle) < maxIdle() && !p.closed {
		p.idle = append(p.idle, r)
	}
	p.mu.Unlock()
}

// Close implements backend.Program.
func (p *program) Close() error {
	p.mu.Lock()
	p.closed = true
	p.idle = nil
	p.mu.Unlock()
	p.active.Wait()
	p.leave.Do(crew.leave)
	p.mu.Lock()
	defer p.mu.Unlock()
	// Whoever still has the model, or a state of it, keeps no weights.
	p.plans, p.after, p.packs, p.folded, p.held, p.most = nil, nil, nil, nil, 0, 0
	return nil
}
