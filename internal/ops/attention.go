package ops

import (
	"math"
	"slices"
	"sync"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

var attentionOps = []*graph.Op{attentionOp("scaled_dot_product_attention",
	"softmax(query·keyᵀ/√E + attn_mask)·value over the last two dimensions; a mask of bools says which keys take part.")}

// GroupedAttention is attention [B, H, L, E] whose keys and values have fewer
// heads, each for a group of the query's in a row. It stands for attention over
// repeated heads; it has no opset and can never come from, or go to, a file.
var GroupedAttention = attentionOp(groupedAttention, "Attention in which groups of heads share keys and values.")

const groupedAttention = "grouped_attention"

func attentionOp(name, doc string) *graph.Op {
	return &graph.Op{
		Name: name, Since: graph.IOS18, Doc: doc,
		Inputs: []graph.Input{
			graph.In("query", graph.Float), graph.In("key", graph.Float), graph.In("value", graph.Float),
			graph.Opt("attn_mask", graph.Float|graph.Bool),
		},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			a, err := newAttention(c)
			if err != nil {
				return nil, err
			}
			return []graph.Type{graph.TensorOf(c.Type(0).DType, a.shape...)}, nil
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			a, err := newAttention(c)
			if err != nil {
				return graph.Step{}, err
			}
			return a.step(c), nil
		},
		Fit: func(c *graph.Call, f graph.Form) graph.Fit {
			if f != graph.Half {
				return graph.Fit{}
			}
			return graph.Fit{In: 1<<c.At(1) | 1<<c.At(2)}
		},
	}
}

// attention is a batch of products softmax(Q·Kᵀ/√e)·V with l queries and s keys.
// Keys are treated in blocks: a running maximum and sum per query replace the
// softmax over all of them, so that the scores of a block stay in cache.
type attention struct {
	shape           []int // of the result
	batch           int
	l, s, e, ev     int
	keyAt, valueAt  walk // the matrix that product number i takes
	maskAt          walk // from elements of [batch, l, s]
	masked, boolean bool // there is a mask; it is of bools
	halfKey, half   bool // keys and values are float16 in memory

	scale float32
	rows  int // queries of a task
	tile  int // queries whose scores are held at a time
	keys  int // keys of a block
	vec   *vec.Funcs
	gemm  gemm.Kernel
	score denseTaps
	full  denseTaps // over the keys of a block
	rest  denseTaps // over those of the last block
	lying denseTaps // over blockKeys keys, for values that are read as they lie
	parts attentionScratch
}

const (
	// fewQueries is the number up to which products with single rows are faster than with packed panels.
	fewQueries = 4
	// blockKeys is the number of keys in a block.
	blockKeys = 256
	// tileQueries bounds the queries whose scores are held at a time; a task has up to taskTiles times as
	// many, which share the packed keys.
	tileQueries = 48
	taskTiles   = 4
)

func newAttention(c *graph.Call) (*attention, error) {
	q, k, v := c.Shape(0), c.Shape(1), c.Shape(2)
	rank := len(q)
	if rank < 3 || len(k) != rank || len(v) != rank {
		return nil, c.Errorf(0, "shapes %v, %v and %v, want one rank of at least 3", q, k, v)
	}
	a := &attention{l: q[rank-2], s: k[rank-2], e: q[rank-1], ev: v[rank-1]}
	if k[rank-1] != a.e {
		return nil, c.Errorf(1, "shape %v, want %d elements in a row, as in query", k, a.e)
	}
	if v[rank-2] != a.s {
		return nil, c.Errorf(2, "shape %v, want %d rows, as in key", v, a.s)
	}
	if a.s == 0 || a.e == 0 {
		return nil, c.Errorf(1, "shape %v, want at least one key of one element", k)
	}
	batch, kb, vb := q[:rank-2], k[:rank-2], v[:rank-2]
	if c.Op.Name == groupedAttention {
		if rank != 4 || k[1] == 0 || k[1] != v[1] || q[1]%k[1] != 0 {
			return nil, c.Errorf(1, "shape %v, want heads that share out the %d of query", k, q[1])
		}
		batch, kb, vb = []int{q[0], k[1], q[1] / k[1]}, []int{k[0], k[1], 1}, []int{v[0], v[1], 1}
	}
	for arg, s := range [][]int{batch, kb, vb} {
		if b, err := broadcast(batch, s); err != nil || !slices.Equal(b, batch) {
			return nil, c.Errorf(arg, "shape %v, want to repeat over %v, as in query", c.Shape(arg), q[:rank-2])
		}
	}
	a.shape = append(slices.Clone(q[:rank-1]), a.ev)
	if _, ok := tensor.Elements(append(slices.Clone(a.shape), a.s)); !ok {
		return nil, c.Errorf(0, "%v for %d keys: too many elements", a.shape, a.s)
	}
	a.batch = graph.TensorOf(0, batch...).Elements()
	a.keyAt, a.valueAt = newWalk(batch, kb), newWalk(batch, vb)
	return a, a.setMask(c)
}

func (a *attention) setMask(c *graph.Call) error {
	if !c.Given(3) {
		return nil
	}
	a.masked, a.boolean = true, c.Type(3).DType == tensor.Bool
	mask := c.Shape(3)
	full := append(slices.Clone(a.shape[:len(a.shape)-1]), a.s)
	b, err := broadcast(full, mask)
	if err != nil || !slices.Equal(b, full) || len(mask) < 1 || mask[len(mask)-1] != a.s {
		return c.Errorf(3, "shape %v, want one that repeats over %v, with %d keys in a row", mask, full, a.s)
	}
	a.maskAt = newWalk(full, mask)
	return nil
}

// attentionScratch has the offsets of a task's buffers, in floats.
type attentionScratch struct{ query, top, sum, score, key, value, wide, size int }

func (a *attention) step(c *graph.Call) graph.Step {
	a.scale = float32(1 / math.Sqrt(float64(a.e)))
	a.vec, a.gemm = vec.For(c.Level), gemm.For(c.Level)
	a.halfKey, a.half = c.In[c.At(1)].Form == graph.Half, c.In[c.At(2)].Form == graph.Half
	a.keys = min(blockKeys, a.s)
	few := a.l <= fewQueries
	if few {
		a.rows, a.tile = max(a.l, 1), max(a.l, 1)
		if a.ev%a.gemm.Lanes == 0 {
			a.lying = lyingTaps(a.ev)
		}
	} else {
		a.score = newDenseTaps(a.e, a.gemm.Lanes)
		a.full, a.rest = newDenseTaps(a.keys, a.gemm.Lanes), newDenseTaps(a.s%a.keys, a.gemm.Lanes)
		r := a.gemm.MaxRows(2)
		a.tile = min(tileQueries/r*r, a.l)
		tiles := min(max(a.batch*a.l/(16*a.tile), 1), taskTiles)
		a.rows = min(tiles*a.tile, a.l)
	}
	a.layout(few)
	blocks := (a.l + a.rows - 1) / a.rows
	at := [4]int{c.At(0), c.At(1), c.At(2), c.At(3)}
	kernel := "attention " + c.Level.String()
	step := graph.Parallel(kernel, a.batch*blocks, func(x *graph.Exec, task int) error {
		t := attentionTask{attention: a, x: x, at: at, batch: task / blocks, row: task % blocks * a.rows}
		t.n = min(a.rows, a.l-t.row)
		t.run(few)
		return nil
	})
	step.Scratch = 4 * a.parts.size
	step.Flops = 2 * float64(a.batch) * float64(a.l) * float64(a.s) * float64(a.e+a.ev)
	return step
}

// lyingTaps are those of blockKeys values of a width, which all plans share: a decoder makes one for each length.
func lyingTaps(ev int) denseTaps {
	if t, ok := tapsByWidth.Load(ev); ok {
		return t.(denseTaps)
	}
	t, _ := tapsByWidth.LoadOrStore(ev, singleTaps(blockKeys, 1, ev))
	return t.(denseTaps)
}

var tapsByWidth sync.Map // int: denseTaps

// layout places the buffers of a task one behind the other.
func (a *attention) layout(few bool) {
	p := &a.parts
	next := func(n int) int {
		at := p.size
		p.size += (n + 15) &^ 15
		return at
	}
	p.query = next(a.rows * a.e)
	p.top, p.sum = next(a.rows), next(a.rows)
	p.score = next(a.tile * a.keys)
	if !few {
		p.key = next(gemm.Panels(a.keys, a.e, a.gemm.Lanes))
		p.value = next(gemm.Panels(a.ev, a.keys, a.gemm.Lanes))
	}
	if a.halfKey || a.half {
		p.wide = next(a.keys * (a.e + a.ev))
	}
}

// attentionTask is one task of a run: n queries from row on of one product.
type attentionTask struct {
	*attention
	x             *graph.Exec
	at            [4]int // operands
	batch, row, n int
	buf           []float32
	out           []float32 // of the queries
	block         int       // first key of the block
	count         int       // keys in it
	k, v          []float32 // of the block, row-major
}

func (t *attentionTask) run(few bool) {
	t.buf = t.x.Scratch()
	t.out = t.x.OutF32(0)[(t.batch*t.l+t.row)*t.ev:][:t.n*t.ev]
	q := t.x.F32(t.at[0])[(t.batch*t.l+t.row)*t.e:][:t.n*t.e]
	t.vec.MulS(t.buf[t.parts.query:][:len(q)], q, t.scale)
	fill(t.buf[t.parts.top:][:t.n], float32(math.Inf(-1)))
	clear(t.buf[t.parts.sum:][:t.n])
	for t.block = 0; t.block < t.s; t.block += t.keys {
		t.count = min(t.keys, t.s-t.block)
		t.load()
		if few {
			t.single()
		} else {
			t.tiles()
		}
	}
	for i := range t.n {
		o := t.out[i*t.ev:][:t.ev]
		t.vec.DivS(o, o, t.buf[t.parts.sum+i])
	}
}

// load finds the keys and values of the block, and widens them where they are float16.
func (t *attentionTask) load() {
	key := (t.keyAt.at(t.batch)*t.s + t.block) * t.e
	value := (t.valueAt.at(t.batch)*t.s + t.block) * t.ev
	wide := t.buf[t.parts.wide:]
	if t.halfKey {
		t.k, wide = wide[:t.count*t.e], wide[t.count*t.e:]
		t.vec.FromF16(t.k, t.x.U16(t.at[1])[key:][:len(t.k)])
	} else {
		t.k = t.x.F32(t.at[1])[key:][:t.count*t.e]
	}
	if t.half {
		t.v = wide[:t.count*t.ev]
		t.vec.FromF16(t.v, t.x.U16(t.at[2])[value:][:len(t.v)])
	} else {
		t.v = t.x.F32(t.at[2])[value:][:t.count*t.ev]
	}
}

// single treats the block query by query, with products of rows.
func (t *attentionTask) single() {
	for i := range t.n {
		q := t.buf[t.parts.query+i*t.e:][:t.e]
		p := t.buf[t.parts.score+i*t.keys:][:t.count]
		for j := range p {
			p[j] = t.vec.Dot(q, t.k[j*t.e:][:t.e])
		}
		t.weigh(i, p)
	}
	if t.lying.single == nil {
		for i := range t.n {
			o := t.out[i*t.ev:][:t.ev]
			if t.block == 0 {
				clear(o)
			}
			for j, w := range t.buf[t.parts.score+i*t.keys:][:t.count] {
				t.vec.Axpy(o, t.v[j*t.ev:][:t.ev], w)
			}
		}
		return
	}
	sum := gemm.Args{W: address(t.v, 0), WStride: 4 * t.gemm.Lanes, RowStride: 4 * t.keys,
		A: address(t.buf, t.parts.score), C: address(t.out, 0), CRow: 4 * t.ev, CVec: 4 * t.gemm.Lanes, Flags: t.onto(),
		Taps1: address(t.lying.single, 0), N1: t.count}
	t.gemm.Run(t.n, t.ev, &sum)
}

// tiles treats the block with matrix products, a tile of queries after the other.
func (t *attentionTask) tiles() {
	lanes := t.gemm.Lanes
	keys, values := t.buf[t.parts.key:], t.buf[t.parts.value:]
	packed := false
	score := gemm.Args{W: address(keys, 0), WStride: 4 * t.e * lanes, RowStride: 4 * t.e,
		C: address(t.buf, t.parts.score), CRow: 4 * t.keys, CVec: 4 * lanes}
	t.score.set(&score)
	sum := gemm.Args{W: address(values, 0), WStride: 4 * t.count * lanes, RowStride: 4 * t.keys,
		A: score.C, CRow: 4 * t.ev, CVec: 4 * lanes, Flags: t.onto()}
	if t.count == t.keys {
		t.full.set(&sum)
	} else {
		t.rest.set(&sum)
	}
	for i := 0; i < t.n; i += t.tile {
		n := min(t.tile, t.n-i)
		if t.excluded(i, n) {
			if t.block == 0 {
				clear(t.out[i*t.ev:][:n*t.ev])
			}
			continue
		}
		if !packed {
			t.gemm.PackMatrix(keys, t.count, t.e, t.k, t.e, true, 0, (t.count+lanes-1)/lanes)
			t.gemm.PackMatrix(values, t.ev, t.count, t.v, t.ev, false, 0, (t.ev+lanes-1)/lanes)
			packed = true
		}
		score.A = address(t.buf, t.parts.query+i*t.e)
		t.gemm.Run(n, t.count, &score)
		for r := range n {
			t.weigh(i+r, t.buf[t.parts.score+r*t.keys:][:t.count])
		}
		if t.ev > 0 {
			sum.C = address(t.out, i*t.ev)
			t.gemm.Run(n, t.ev, &sum)
		}
	}
}

// onto are the flags of products with values: all but the first block add to what is there.
func (t *attentionTask) onto() int {
	if t.block == 0 {
		return 0
	}
	return gemm.Accumulate
}

// mask is the element of the mask for query i and the first key of the block.
func (t *attentionTask) mask(i int) int {
	return t.maskAt.at((t.batch*t.l+t.row+i)*t.s) + t.block
}

// excluded reports that the mask leaves no key of the block to any of n queries from i on.
func (t *attentionTask) excluded(i, n int) bool {
	if !t.masked {
		return false
	}
	for ; n > 0; i, n = i+1, n-1 {
		at := t.mask(i)
		if t.boolean {
			for _, take := range t.x.Bytes(t.at[3])[at : at+t.count] {
				if take != 0 {
					return false
				}
			}
			continue
		}
		for _, v := range t.x.F32(t.at[3])[at : at+t.count] {
			if v != float32(math.Inf(-1)) {
				return false
			}
		}
	}
	return true
}

// weigh turns the scores p of query i into weights relative to the highest
// score so far, and brings what was added up before onto the same footing.
func (t *attentionTask) weigh(i int, p []float32) {
	if t.masked {
		at := t.mask(i)
		if t.boolean {
			for j, take := range t.x.Bytes(t.at[3])[at : at+len(p)] {
				if take == 0 {
					p[j] = float32(math.Inf(-1))
				}
			}
		} else {
			t.vec.Add(p, p, t.x.F32(t.at[3])[at:at+len(p)])
		}
	}
	top, sum := &t.buf[t.parts.top+i], &t.buf[t.parts.sum+i]
	highest := max(*top, t.vec.ReduceMax(p))
	if highest == float32(math.Inf(-1)) {
		clear(p)
		return
	}
	added := t.vec.ExpSum(p, p, highest)
	if highest != *top && *sum != 0 {
		f := float32(math.Exp(float64(*top - highest)))
		*sum *= f
		o := t.out[i*t.ev:][:t.ev]
		t.vec.MulS(o, o, f)
	}
	*top, *sum = highest, *sum+added
}
