package ops

import (
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
	xAt, yAt       walk // the matrix of each operand that product number i takes
	tx, ty         bool // stored [k, m], [n, k]
	x, y, bias     int  // operands; bias -1: none
	ints           bool
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
		if c.Type(2).DType.IsFloat() != c.Type(0).DType.IsFloat() {
			return nil, c.Errorf(2, "%v beside x of %v", c.Type(2).DType, c.Type(0).DType)
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

// check compares the operands' types and bounds the result.
func (p *product) check(c *graph.Call) error {
	if _, ok := tensor.Elements(p.shape); !ok {
		return c.Errorf(0, "a product of shape %v is too large", p.shape)
	}
	x, y := c.Type(0).DType, c.Type(1).DType
	p.ints = !x.IsFloat()
	if y.IsFloat() == p.ints {
		return c.Errorf(1, "%v beside x of %v", y, x)
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
	switch {
	case p.ints:
		step, err = p.integers(c)
	case c.In[p.y].Const != nil && c.In[p.y].Type.Elements() > 0:
		step, err = p.packed(c)
	default:
		step, err = p.dynamic(c)
	}
	step.Flops = 2 * float64(p.batch) * float64(p.m) * float64(p.n) * float64(p.k)
	return step, err
}

// integers multiplies int32 values; sums wrap around.
func (p *product) integers(c *graph.Call) (graph.Step, error) {
	xm, xk := p.xStrides()
	yk, yn := p.n, 1
	if p.ty {
		yk, yn = 1, p.k
	}
	return graph.Parallel("matmul int32", p.batch*p.m, func(x *graph.Exec, task int) error {
		b, i := task/p.m, task%p.m
		row := x.OutI32(0)[task*p.n:][:p.n]
		a, y := x.I32(p.x)[p.xAt.at(b)*p.m*p.k:], x.I32(p.y)[p.yAt.at(b)*p.k*p.n:]
		for j := range row {
			row[j] = 0
			if p.bias >= 0 {
				row[j] = x.I32(p.bias)[j]
			}
			for s := range p.k {
				row[j] += a[i*xm+s*xk] * y[s*yk+j*yn]
			}
		}
		return nil
	}), nil
}

// xStrides are the distances between the rows of x and between the elements of a row.
func (p *product) xStrides() (row, step int) {
	if p.tx {
		return 1, p.m
	}
	return p.k, 1
}
