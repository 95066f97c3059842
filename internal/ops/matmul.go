package ops

import (
	"math"

	"coreml/internal/graph"
	"coreml/tensor"
)

var matmulOps = []*graph.Op{
	{
		Name: "linear",
		Doc:  "x · weightᵀ + bias over the last dimension of x.",
		Inputs: []graph.Input{
			graph.In("x", graph.Numeric), graph.In("weight", graph.Numeric), graph.Opt("bias", graph.Numeric),
		},
		Infer: inferLinear, Post: true,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			p, err := newLinear(c)
			if err != nil {
				return graph.Step{}, err
			}
			return p.step(c)
		},
	},
	{
		Name: "matmul",
		Doc:  "Matrix products of the last two dimensions; those before are broadcast.",
		Inputs: []graph.Input{
			graph.In("x", graph.Numeric), graph.In("y", graph.Numeric),
			graph.Def("transpose_x", graph.Bool, false), graph.Def("transpose_y", graph.Bool, false),
		},
		Infer: inferMatmul, Post: true,
		Prepare: func(c *graph.Call) (graph.Step, error) {
			p, err := newMatmul(c)
			if err != nil {
				return graph.Step{}, err
			}
			return p.step(c)
		},
	},
}

// product is a batch of matrix products [m, k] · [k, n].
type product struct {
	batch, m, n, k int
	xAt, yAt       walk  // the matrix of each operand that product number i takes
	tx, ty         bool  // stored [k, m], [n, k]
	x, y, bias     int   // operands; bias -1: none
	shape          []int // of the result
}

func newLinear(c *graph.Call) (*product, error) {
	x, w := c.Shape(0), c.Shape(1)
	if len(x) < 1 {
		return nil, c.Errorf(0, "rank 0, want at least 1")
	}
	if len(w) != 2 || w[1] != x[len(x)-1] {
		return nil, c.Errorf(1, "shape %v, want [outputs, %d]", w, x[len(x)-1])
	}
	p := &product{batch: 1, n: w[0], k: w[1], ty: true, x: c.At(0), y: c.At(1), bias: -1}
	if c.Given(2) {
		if p.bias = c.At(2); c.Type(2).Elements() != p.n {
			return nil, c.Errorf(2, "%d values, want %d", c.Type(2).Elements(), p.n)
		}
	}
	lead := x[:len(x)-1]
	p.m = graph.TensorOf(0, lead...).Elements()
	p.shape = append(append([]int(nil), lead...), p.n)
	return p, p.check(c)
}

func newMatmul(c *graph.Call) (*product, error) {
	p := &product{x: c.At(0), y: c.At(1), bias: -1}
	var err error
	if p.tx, err = c.Bool(2); err != nil {
		return nil, err
	}
	if p.ty, err = c.Bool(3); err != nil {
		return nil, err
	}
	x, y := c.Shape(0), c.Shape(1)
	if len(x) < 1 || len(y) < 1 {
		return nil, c.Errorf(0, "shapes %v and %v, want at least rank 1", x, y)
	}
	rowless, columnless := len(x) == 1, len(y) == 1
	if rowless {
		x, p.tx = []int{1, x[0]}, false
	}
	if columnless {
		y, p.ty = []int{y[0], 1}, false
	}
	xm, ym := x[len(x)-2:], y[len(y)-2:]
	p.m, p.k, p.n = xm[0], xm[1], ym[1]
	if p.tx {
		p.m, p.k = xm[1], xm[0]
	}
	inner := ym[0]
	if p.ty {
		inner, p.n = ym[1], ym[0]
	}
	if inner != p.k {
		return nil, c.Errorf(1, "shape %v beside x of %v: inner dimensions %d and %d", c.Shape(1), c.Shape(0), inner, p.k)
	}
	xb, yb := x[:len(x)-2], y[:len(y)-2]
	batch, err := broadcast(xb, yb)
	if err != nil {
		return nil, c.Errorf(1, "%v", err)
	}
	p.shape = append([]int(nil), batch...)
	if !rowless {
		p.shape = append(p.shape, p.m)
	}
	if !columnless {
		p.shape = append(p.shape, p.n)
	}
	if _, ok := tensor.Elements(append(p.shape, 1)); !ok {
		return nil, c.Errorf(0, "a product of shape %v is too large", p.shape)
	}
	p.batch = graph.TensorOf(0, batch...).Elements()
	p.xAt, p.yAt = newWalk(batch, xb), newWalk(batch, yb)
	if !p.tx && graph.TensorOf(0, yb...).Elements() == 1 {
		p.m, p.batch = p.m*p.batch, 1
	}
	return p, p.check(c)
}

// check bounds the result.
func (p *product) check(c *graph.Call) error {
	if _, ok := tensor.Elements(p.shape); !ok {
		return c.Errorf(0, "a product of shape %v is too large", p.shape)
	}
	return nil
}

func inferLinear(c *graph.Call) ([]graph.Type, error) {
	p, err := newLinear(c)
	if err != nil {
		return nil, err
	}
	return []graph.Type{graph.TensorOf(c.Type(0).DType, p.shape...)}, nil
}

func inferMatmul(c *graph.Call) ([]graph.Type, error) {
	p, err := newMatmul(c)
	if err != nil {
		return nil, err
	}
	d := c.Type(0).DType
	if c.In[p.x].Value.Const != nil && c.In[p.y].Value.Const == nil {
		d = c.Type(1).DType
	}
	return []graph.Type{graph.TensorOf(d, p.shape...)}, nil
}

// step chooses how the product is computed.
func (p *product) step(c *graph.Call) (graph.Step, error) {
	var step graph.Step
	var err error
	ints, used := 0, 0 // operands that are integers, and operands
	for _, i := range []int{p.x, p.y, p.bias} {
		if i >= 0 {
			used++
		}
		if i >= 0 && !c.In[i].Type.DType.IsFloat() {
			ints++
		}
	}
	switch {
	case ints == used:
		step = p.integers()
	case ints > 0:
		step, err = p.mixed(c)
	case c.In[p.y].Const != nil && c.In[p.y].Type.Elements() > 0:
		step, err = p.packed(c)
	default:
		step, err = p.dynamic(c)
	}
	step.Flops = 2 * float64(p.batch) * float64(p.m) * float64(p.n) * float64(p.k)
	return step, err
}

// integers multiplies int32 values; sums wrap around.
func (p *product) integers() graph.Step {
	return graph.Parallel("matmul int32", p.batch*p.m, func(x *graph.Exec, task int) error {
		row := x.OutI32(0)[task*p.n:][:p.n]
		a, y := x.I32(p.x), x.I32(p.y)
		for j := range row {
			row[j] = 0
			if p.bias >= 0 {
				row[j] = x.I32(p.bias)[j]
			}
			p.terms(task, j, func(i, k int) { row[j] += a[i] * y[k] })
		}
		return nil
	})
}

// terms calls f with the elements of x and y whose products make up column j of row task of the batch.
func (p *product) terms(task, j int, f func(i, k int)) {
	b, i := task/p.m, task%p.m
	xm, xk := p.xStrides()
	yk, yn := p.n, 1
	if p.ty {
		yk, yn = 1, p.k
	}
	at, from := p.xAt.at(b)*p.m*p.k+i*xm, p.yAt.at(b)*p.k*p.n+j*yn
	for s := range p.k {
		f(at+s*xk, from+s*yk)
	}
}

// mixed is a product of integers with floats, which is defined where one operand is a constant. The
// result is truncated if it is int32.
func (p *product) mixed(c *graph.Call) (graph.Step, error) {
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	x, y, bias := readNumber(c, p.x), readNumber(c, p.y), readNumber(c, p.bias)
	float := c.Out[0].Type.DType.IsFloat()
	step := graph.Parallel("matmul mixed", p.batch*p.m, func(e *graph.Exec, task int) error {
		for j := range p.n {
			sum := 0.0
			if p.bias >= 0 {
				sum = bias(e, j)
			}
			p.terms(task, j, func(i, k int) { sum += x(e, i) * y(e, k) })
			if at := task*p.n + j; float {
				e.OutF32(0)[at] = float32(sum)
			} else {
				e.OutI32(0)[at] = int32(min(max(sum, math.MinInt32), math.MaxInt32))
			}
		}
		return nil
	})
	if !post.empty() {
		step.Phases = append(step.Phases, postPhase(post, c.Out[0].Type.Elements()))
	}
	return step, nil
}

// readNumber reads elements of an operand of any numeric type.
func readNumber(c *graph.Call, in int) func(x *graph.Exec, i int) float64 {
	if in < 0 || c.In[in].Type.DType.IsFloat() {
		return func(x *graph.Exec, i int) float64 { return float64(x.F32(in)[i]) }
	}
	return func(x *graph.Exec, i int) float64 { return float64(x.I32(in)[i]) }
}

// xStrides are the distances between the rows of x and between the elements of a row.
func (p *product) xStrides() (row, step int) {
	if p.tx {
		return 1, p.m
	}
	return p.k, 1
}
