package ops

import (
	"strings"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/tensor"
)

var einsumOps = []*graph.Op{{
	Name: "einsum",
	Doc:  "The product of two tensors along the index that the equation leaves out of the result; other shared indices are batch.",
	Inputs: []graph.Input{
		graph.Var("values", graph.Float), graph.In("equation", graph.String),
	},
	Infer: func(c *graph.Call) ([]graph.Type, error) {
		e, err := newEinsum(c)
		if err != nil {
			return nil, err
		}
		return []graph.Type{graph.TensorOf(c.Type(0).DType, e.out.size...)}, nil
	},
	Prepare: func(c *graph.Call) (graph.Step, error) {
		e, err := newEinsum(c)
		if err != nil {
			return graph.Step{}, err
		}
		return e.step(c), nil
	},
}}

// indexed is a tensor of an equation: its indices, sizes and strides. A
// dimension of size 1 is repeated: its stride is 0.
type indexed struct {
	index        string
	size, stride []int
}

func newIndexed(index string, shape []int) indexed {
	t := indexed{index, shape, make([]int, len(shape))}
	n := 1
	for d := len(shape) - 1; d >= 0; d-- {
		if shape[d] != 1 {
			t.stride[d] = n
		}
		n *= shape[d]
	}
	return t
}

// along is the stride of an index; 0 where the tensor does not have it.
func (t indexed) along(index byte) int {
	if d := strings.IndexByte(t.index, index); d >= 0 {
		return t.stride[d]
	}
	return 0
}

// has reports that the tensor has an index of a size.
func (t indexed) has(index byte, size int) bool {
	d := strings.IndexByte(t.index, index)
	return d >= 0 && t.size[d] == size
}

// loop is one index of an equation with its size and its strides in the
// operands and the result.
type loop struct{ size, a, b, out int }

// einsum is an equation over two tensors, as matrix products: m runs over an
// index of a alone, n over one of b alone, k over the one that is summed, and
// batch over all others.
type einsum struct {
	a, b, out indexed
	batch     []loop
	m, n, k   loop
}

// newEinsum reads the equation and compares it with the shapes.
func newEinsum(c *graph.Call) (*einsum, error) {
	if c.N(0) != 2 {
		return nil, c.Errorf(0, "%d tensors, want 2", c.N(0))
	}
	equation, err := c.Str(1)
	if err != nil {
		return nil, err
	}
	ins, out, arrow := strings.Cut(strings.ReplaceAll(equation, " ", ""), "->")
	a, b, comma := strings.Cut(ins, ",")
	if !arrow || !comma {
		return nil, c.Errorf(1, "%q, want the form \"nchw,nwhu->nchu\"", equation)
	}
	e := &einsum{m: loop{size: 1}, n: loop{size: 1}, k: loop{size: 1}}
	first := c.At(0)
	for i, s := range []string{a, b} {
		t := c.In[first+i].Type
		if err := checkIndices(c, equation, s, t.Rank()); err != nil {
			return nil, err
		}
		if i == 0 {
			e.a = newIndexed(s, t.Shape)
		} else {
			e.b = newIndexed(s, t.Shape)
		}
	}
	if err := checkIndices(c, equation, out, len(out)); err != nil {
		return nil, err
	}
	return e, e.arrange(c, equation, out)
}

// checkIndices accepts one letter, each once, for every dimension.
func checkIndices(c *graph.Call, equation, s string, rank int) error {
	if len(s) != rank {
		return c.Errorf(1, "%q: %q for a tensor of rank %d", equation, s, rank)
	}
	for i := range len(s) {
		letter := s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z'
		if !letter || strings.IndexByte(s[:i], s[i]) >= 0 {
			return c.Errorf(1, "%q: %q, want letters, each once", equation, s)
		}
	}
	return nil
}

// arrange gives each index its place: batch, m, n or k.
func (e *einsum) arrange(c *graph.Call, equation, out string) error {
	sizes := map[byte]int{}
	for _, t := range []indexed{e.a, e.b} {
		for d, n := range t.size {
			i := t.index[d]
			if have, ok := sizes[i]; ok && have != n && have != 1 && n != 1 {
				return c.Errorf(0, "%q: index %c has sizes %d and %d", equation, i, have, n)
			} else if !ok || have == 1 {
				sizes[i] = n
			}
		}
	}
	shape := make([]int, len(out))
	for d := range len(out) {
		n, ok := sizes[out[d]]
		if !ok {
			return c.Errorf(1, "%q: index %c is in no operand", equation, out[d])
		}
		shape[d] = n
	}
	if _, ok := tensor.Elements(shape); !ok {
		return c.Errorf(0, "%q: a result of shape %v is too large", equation, shape)
	}
	e.out = newIndexed(out, shape)
	summed := 0
	for i, n := range sizes {
		l := loop{n, e.a.along(i), e.b.along(i), e.out.along(i)}
		if strings.IndexByte(out, i) < 0 {
			if summed++; summed > 1 {
				return c.Errorf(1, "%q: more than one index is summed", equation)
			}
			if !e.a.has(i, n) || !e.b.has(i, n) {
				return c.Errorf(0, "%q: index %c is summed, want one size in both tensors", equation, i)
			}
			e.k = l
		}
	}
	for d := range len(out) {
		e.place(out[d], loop{shape[d], e.a.along(out[d]), e.b.along(out[d]), e.out.stride[d]})
	}
	return nil
}

// place adds an index of the result, in their order: the last one of a alone is m, of b alone is n.
func (e *einsum) place(index byte, l loop) {
	inA, inB := strings.IndexByte(e.a.index, index) >= 0, strings.IndexByte(e.b.index, index) >= 0
	switch {
	case inA && inB:
		e.batch = append(e.batch, l)
	case inA:
		if e.m.size != 1 {
			e.batch = append(e.batch, e.m)
		}
		e.m = l
	default:
		if e.n.size != 1 {
			e.batch = append(e.batch, e.n)
		}
		e.n = l
	}
}

// at are the elements of the operands and of the result where product number i begins.
func (e *einsum) at(i int) (a, b, out int) {
	for d := len(e.batch) - 1; d >= 0; d-- {
		l := e.batch[d]
		p := i % l.size
		i /= l.size
		a, b, out = a+p*l.a, b+p*l.b, out+p*l.out
	}
	return a, b, out
}

func (e *einsum) step(c *graph.Call) graph.Step {
	batch := 1
	for _, l := range e.batch {
		batch *= l.size
	}
	k := gemm.For(c.Level)
	a, b := c.At(0), c.At(0)+1
	// Every step of the sum is a tap of its own, so that a may have any stride along it.
	taps := make([]gemm.Tap, e.k.size)
	for s := range taps {
		taps[s] = gemm.Tap{A: int64(4 * s * e.k.a), W: int64(4 * s * k.Lanes)}
	}
	rows := max(1, min(e.m.size, int(productWork)/(2*max(1, e.k.size*e.n.size))))
	blocks := (e.m.size + rows - 1) / rows
	packed := gemm.Panels(e.n.size, e.k.size, k.Lanes)
	if e.k.size == 0 {
		return graph.Serial("einsum", func(x *graph.Exec) error {
			clear(x.OutF32(0))
			return nil
		})
	}
	step := graph.Parallel("einsum "+c.Level.String(), batch*blocks, func(x *graph.Exec, task int) error {
		i, row := task/blocks, task%blocks*rows
		atA, atB, atOut := e.at(i)
		w := x.Scratch()[:packed]
		e.pack(w, x.F32(b)[atB:], k.Lanes)
		m := min(rows, e.m.size-row)
		result := x.Scratch()[packed:]
		args := gemm.Args{
			A: address(x.F32(a), atA+row*e.m.a), RowStride: 4 * e.m.a,
			Taps1: address(taps, 0), N1: len(taps),
			W: address(w, 0), WStride: 4 * e.k.size * k.Lanes,
			C: address(result, 0), CRow: 4 * e.n.size, CVec: 4 * k.Lanes,
		}
		k.Run(m, e.n.size, &args)
		out := x.OutF32(0)[atOut:]
		for r := range m {
			for j, v := range result[r*e.n.size:][:e.n.size] {
				out[(row+r)*e.m.out+j*e.n.out] = v
			}
		}
		return nil
	})
	step.Scratch = 4 * (packed + rows*e.n.size)
	step.Flops = 2 * float64(batch) * float64(e.m.size) * float64(e.n.size) * float64(e.k.size)
	return step
}

// pack brings the matrix of b into panel form.
func (e *einsum) pack(dst, b []float32, lanes int) {
	if e.n.b == 1 || e.n.size == 1 {
		gemm.PackCols(dst, e.n.size, e.k.size, lanes, b, e.k.b, 0, (e.n.size+lanes-1)/lanes)
		return
	}
	clear(dst)
	for j := range e.n.size {
		panel := dst[j/lanes*e.k.size*lanes+j%lanes:]
		for s := range e.k.size {
			panel[s*lanes] = b[j*e.n.b+s*e.k.b]
		}
	}
}
