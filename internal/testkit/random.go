package testkit

import (
	"fmt"
	"math/rand/v2"

	"coreml/internal/graph"
	"coreml/tensor"
)

// Graph is a random function and what it is to be run with.
type Graph struct {
	Seed uint64
	Fn   *graph.Function
	// Known are the inputs that have to have these values.
	Known map[*graph.Value]*graph.Const
}

// RandomGraph makes the graph of 1 to 30 operations that belongs to a seed. With
// noise it is the same graph with every inexact float result off by about a
// millionth, to show how far rounding may carry.
func RandomGraph(seed uint64, noise bool) *Graph {
	g := &random{Builder: NewBuilder(graph.IOS18), r: rand.New(rand.NewPCG(seed, 1)), dither: rand.New(rand.NewPCG(seed, 2)), noise: noise}
	if g.r.IntN(4) == 0 {
		g.states()
	}
	g.input(g.floatType(), g.shape(g.favourite()))
	want := 1 + g.r.IntN(30)
	for tries := 0; g.ops < want && tries < 8*want; tries++ {
		kind := &kinds[g.r.IntN(len(kinds))]
		before := *g.block
		if err := kind.add(g); err != nil {
			panic(fmt.Sprintf("BUG: testkit: seed %d: %s: %v", seed, kind.name, err))
		}
		g.ops += min(1, len(g.block.Nodes)-len(before.Nodes))
	}
	return &Graph{Seed: seed, Fn: g.Function(g.outputs()...), Known: g.KnownInputs()}
}

// random is a graph that grows.
type random struct {
	*Builder
	r, dither *rand.Rand
	noise     bool
	ops       int
	depth     int
	pool      []*pooled
}

// pooled is a value that later operations may take.
type pooled struct {
	v *graph.Value
	t graph.Type
	// exact: the same bits whatever the order of additions, so that it may be rounded, sorted and compared.
	exact bool
}

func (p *pooled) float() bool { return p.t.DType.IsFloat() }
func (p *pooled) rank() int   { return len(p.t.Shape) }

// The largest tensors of a graph.
const (
	mostElements  = 6 << 10
	mostElements2 = 48 << 10 // of one graph in eight inputs: enough for several tasks
)

var sizes = []int{1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 32, 33}

// favourite is the rank of a new input: most networks have rank 3 and 4.
func (g *random) favourite() int { return []int{0, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 5}[g.r.IntN(12)] }

func (g *random) floatType() tensor.DType {
	if g.r.IntN(3) == 0 {
		return tensor.Float16
	}
	return tensor.Float32
}

func (g *random) shape(rank int) []int {
	most := mostElements
	if g.r.IntN(8) == 0 {
		most = mostElements2
	}
	s := make([]int, rank)
	n := 1
	for i := range s {
		s[i] = sizes[g.r.IntN(len(sizes))]
		for n*s[i] > most {
			s[i] = (s[i] + 1) / 2
		}
		n *= s[i]
	}
	if rank == 4 && g.r.IntN(2) == 0 {
		s[0] = 1
	}
	return s
}

// input adds an input of the function; inside a block, a constant.
func (g *random) input(d tensor.DType, shape []int) *pooled {
	if g.depth > 0 {
		v := g.weights(1, shape...)
		return g.keep(v, graph.TensorOf(tensor.Float32, shape...), true)
	}
	t := graph.TensorOf(d, shape...)
	return g.keep(g.Input(fmt.Sprintf("in%d", len(g.fn.Body.Inputs)), t), t, true)
}

func (g *random) keep(v *graph.Value, t graph.Type, exact bool) *pooled {
	p := &pooled{v, t, exact}
	g.pool = append(g.pool, p)
	return p
}

// pick takes a value that suits, a recent one more often; nil if there is none.
func (g *random) pick(suits func(*pooled) bool) *pooled {
	var fit []*pooled
	for _, p := range g.pool {
		if suits(p) && p.t.Elements() <= mostElements2 {
			fit = append(fit, p)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	if g.r.IntN(2) == 0 {
		fit = fit[max(0, len(fit)-3):]
	}
	return fit[g.r.IntN(len(fit))]
}

// float takes a float value of a rank from lo to hi, or makes an input.
func (g *random) float(lo, hi int) *pooled {
	p := g.pick(func(p *pooled) bool { return p.float() && p.rank() >= lo && p.rank() <= hi })
	if p == nil {
		p = g.input(g.floatType(), g.shape(lo+g.r.IntN(min(hi, 5)-lo+1)))
	}
	return p
}

// op adds an operation whose results are as exact as said. One that infers more
// elements than a graph should have is left out: nil.
func (g *random) op(exact bool, name string, args Args) ([]*pooled, error) {
	out, err := g.Op(name, args)
	if err != nil {
		return nil, err
	}
	var made []*pooled
	for _, v := range out {
		t := g.TypeOf(v)
		if g.noise && !exact && t.DType.IsFloat() {
			if v, err = g.disturb(v, t, 0x1p-19); err != nil {
				return nil, err
			}
		}
		made = append(made, g.keep(v, t, exact))
	}
	return made, nil
}

// disturb multiplies every element by a number near 1: within by of it.
func (g *random) disturb(v *graph.Value, t graph.Type, by float32) (*graph.Value, error) {
	f := make([]float32, t.Elements())
	for i := range f {
		f[i] = 1 + (g.dither.Float32()*2-1)*by
	}
	k := g.Floats(f, t.Shape...)
	k.Const.Type.DType, k.Const.Held = t.DType, true
	k.Type = k.Const.Type
	g.types[k] = k.Type
	out, err := g.Op("mul", Args{"x": v, "y": k})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// weights is a constant of random numbers whose sums over k products stay near 1.
func (g *random) weights(k int, shape ...int) *graph.Value {
	n := 1
	for _, d := range shape {
		n *= d
	}
	f := make([]float32, n)
	scale := 1 / root(float64(max(k, 1)))
	for i := range f {
		f[i] = float32(g.r.NormFloat64() * scale)
	}
	return g.Floats(f, shape...)
}

func root(x float64) float64 {
	r := x
	for range 40 {
		r = (r + x/r) / 2
	}
	return r
}

// positive is a constant of numbers from 0.5 to 1.5.
func (g *random) positive(shape ...int) *graph.Value {
	n := 1
	for _, d := range shape {
		n *= d
	}
	f := make([]float32, n)
	for i := range f {
		f[i] = 0.5 + g.r.Float32()
	}
	return g.Floats(f, shape...)
}

// ints are n random numbers from lo to hi.
func (g *random) ints(n, lo, hi int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = lo + g.r.IntN(hi-lo+1)
	}
	return v
}

func (g *random) flip() bool { return g.r.IntN(2) == 0 }

// axis is a dimension of p, sometimes counted from the end.
func (g *random) axis(p *pooled) int {
	a := g.r.IntN(p.rank())
	if g.r.IntN(4) == 0 {
		return a - p.rank()
	}
	return a
}

// axes are one or more different dimensions.
func (g *random) axes(rank int) []int {
	a := g.r.Perm(rank)
	return a[:1+g.r.IntN(rank)]
}

// outputs are the last value, a few others, and those that nobody reads, up to six.
func (g *random) outputs() []*graph.Value {
	read := map[*graph.Value]bool{}
	mark := func(n *graph.Node) {
		for _, a := range n.Args {
			for _, v := range a {
				read[v] = true
			}
		}
		for _, b := range n.Blocks {
			for _, v := range b.Outputs {
				read[v] = true
			}
		}
	}
	g.fn.Body.Walk(mark)
	var out []*graph.Value
	for i := len(g.pool) - 1; i >= 0; i-- {
		p := g.pool[i]
		if p.v.Const == nil && (len(out) == 0 || !read[p.v] && len(out) < 6 || g.r.IntN(16) == 0) {
			out = append(out, p.v)
		}
	}
	return out
}

// states adds one or two states, which operations may read and write.
func (g *random) states() {
	for i := range 1 + g.r.IntN(2) {
		d := tensor.Float16
		if g.r.IntN(3) == 0 {
			d = tensor.Float32
		}
		g.State(fmt.Sprintf("state%d", i), d, g.shape(2+g.r.IntN(3))...)
	}
}
