package ops

import (
	"fmt"
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// gatherOps read from places that the run computes. An index may count from the
// end; one out of range is an error.
var gatherOps = []*graph.Op{
	{
		Name: "gather", Doc: "The slices of x at indices along axis; the first batch_dims dimensions of both go together.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("indices", graph.Int), graph.Def("axis", graph.Int, 0),
			graph.Def("batch_dims", graph.Int, 0), graph.Def("validate_indices", graph.Bool, false)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			g, err := gatherPlan(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 1, c.Type(0).DType, g.shape)
		},
		Prepare: prepareGather,
	},
	{
		Name: "gather_along_axis", Doc: "For each element of indices the element of x at that index along axis, and at the same place otherwise.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("indices", graph.Int), graph.Def("axis", graph.Int, 0),
			graph.Def("validate_indices", graph.Bool, false)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if _, err := alongAxis(c, 0, 1, 2); err != nil {
				return nil, err
			}
			return typed(c, 1, c.Type(0).DType, c.Shape(1))
		},
		Prepare: prepareGatherAlong,
	},
	{
		Name: "gather_nd", Doc: "The slices of x whose first indices are the rows of indices; the first batch_dims dimensions of both go together.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("indices", graph.Int), graph.Def("batch_dims", graph.Int, 0),
			graph.Def("validate_indices", graph.Bool, false)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			g, err := gatherNDPlan(c)
			if err != nil {
				return nil, err
			}
			return typed(c, 1, c.Type(0).DType, g.shape)
		},
		Prepare: prepareGatherND,
	},
}

// wrap brings an index that may count from the end into 0 … size-1.
func wrap(v int32, size int) (int, bool) {
	i := int(v)
	if i < 0 {
		i += size
	}
	return i, i >= 0 && i < size
}

// decodeElems is the size of a constant from which on only the rows that are wanted are decoded.
const decodeElems = 16 << 10

// gathering describes gather: x is [batch, mid, size, row], indices are
// [batch, count], and the result is [batch, mid, count, row].
type gathering struct {
	shape                         []int
	batch, mid, size, row, counts int
}

func gatherPlan(c *graph.Call) (gathering, error) {
	x, idx := c.Shape(0), c.Shape(1)
	axis, err := intAxis(c, 2, len(x))
	if err != nil {
		return gathering{}, err
	}
	b, err := batchDims(c, 3, axis)
	if err != nil {
		return gathering{}, err
	}
	shape := slices.Concat(x[:axis], idx[b:], x[axis+1:])
	return gathering{
		shape: shape, batch: volume(x[:b]), mid: volume(x[b:axis]), size: x[axis], row: volume(x[axis+1:]), counts: volume(idx[b:]),
	}, nil
}

// batchDims reads the number of leading dimensions that x and indices share; at most limit.
func batchDims(c *graph.Call, arg, limit int) (int, error) {
	x, idx := c.Shape(0), c.Shape(1)
	b, err := c.Int(arg)
	if err != nil {
		return 0, err
	}
	if b < 0 || b > min(limit, len(idx)) {
		return 0, c.Errorf(arg, "%d, want 0 to %d", b, min(limit, len(idx)))
	}
	if !slices.Equal(x[:b], idx[:b]) {
		return 0, c.Errorf(1, "shape %v, want the first %d dimensions of x, %v", idx, b, x)
	}
	return b, nil
}

func prepareGather(c *graph.Call) (graph.Step, error) {
	g, err := gatherPlan(c)
	if err != nil {
		return graph.Step{}, err
	}
	w := widthOf(c.In[0])
	rows := g.batch * g.mid * g.counts
	per := max(1, moveElems/max(g.row, 1))
	copyRow := func(x *graph.Exec, to, from int) {
		n := g.row * w
		copy(x.OutBytes(0)[to*n:to*n+n], x.Bytes(0)[from*n:from*n+n])
	}
	if k := c.In[0].Const; k != nil && k.Type.DType.IsFloat() && k.Type.Elements() > decodeElems {
		c.Raw(0)
		copyRow = func(x *graph.Exec, to, from int) {
			k.Decode(x.OutF32(0)[to*g.row:(to+1)*g.row], from*g.row)
		}
	}
	return graph.Parallel("gather", ceilDiv(rows, per), func(x *graph.Exec, task int) error {
		idx := x.I32(1)
		for r := task * per; r < min((task+1)*per, rows); r++ {
			bm, i := r/g.counts, r%g.counts
			v := idx[bm/g.mid*g.counts+i]
			k, ok := wrap(v, g.size)
			if !ok {
				return indexError("indices", v, g.size)
			}
			copyRow(x, r, bm*g.size+k)
		}
		return nil
	}), nil
}

// along describes gather_along_axis and scatter_along_axis: x is [outer, size,
// inner], indices are [outer, count, inner].
type along struct{ outer, size, inner, count int }

func alongAxis(c *graph.Call, xArg, idxArg, axisArg int) (along, error) {
	x, idx := c.Shape(xArg), c.Shape(idxArg)
	axis, err := intAxis(c, axisArg, len(x))
	if err != nil {
		return along{}, err
	}
	if len(idx) != len(x) {
		return along{}, c.Errorf(idxArg, "rank %d, want %d", len(idx), len(x))
	}
	for i := range x {
		if i != axis && x[i] != idx[i] {
			return along{}, c.Errorf(idxArg, "shape %v does not fit %v outside axis %d", idx, x, axis)
		}
	}
	return along{outer: volume(x[:axis]), size: x[axis], inner: volume(x[axis+1:]), count: idx[axis]}, nil
}

func prepareGatherAlong(c *graph.Call) (graph.Step, error) {
	a, err := alongAxis(c, 0, 1, 2)
	if err != nil {
		return graph.Step{}, err
	}
	n, w := a.outer*a.count*a.inner, widthOf(c.In[0])
	return graph.Parallel("gather_along_axis", ceilDiv(n, taskElems), func(x *graph.Exec, task int) error {
		lo, hi := task*taskElems, min((task+1)*taskElems, n)
		if w == 1 {
			return gatherAlong(x.OutBytes(0), x.Bytes(0), x.I32(1), a, lo, hi)
		}
		return gatherAlong(tensor.View[uint32](x.OutBytes(0)), tensor.View[uint32](x.Bytes(0)), x.I32(1), a, lo, hi)
	}), nil
}

// gatherAlong gathers the elements lo … hi of the result.
func gatherAlong[T any](dst, src []T, idx []int32, a along, lo, hi int) error {
	w := a.walk(lo)
	for e := lo; e < hi; e++ {
		k := int(idx[e])
		if k < 0 {
			k += a.size
		}
		if uint(k) >= uint(a.size) {
			return indexError("indices", idx[e], a.size)
		}
		dst[e] = src[w.base+k*a.inner]
		w.next(a)
	}
	return nil
}

// alongWalk goes through the elements of indices: base is the element of x with index 0 at the same place.
type alongWalk struct{ base, inner, left int }

func (a along) walk(e int) alongWalk {
	block := a.count * a.inner
	i := e % a.inner
	return alongWalk{base: e/block*a.size*a.inner + i, inner: i, left: block - e%block}
}

func (w *alongWalk) next(a along) {
	w.inner++
	w.base++
	if w.inner == a.inner {
		w.inner = 0
		w.base -= a.inner
	}
	if w.left--; w.left == 0 {
		w.left = a.count * a.inner
		w.base += a.size * a.inner
	}
}

// pointing describes gather_nd and scatter_nd: x is [batch, dims…, row], and
// each of batch × points rows of indices names one place in dims.
type pointing struct {
	shape              []int // of what is gathered, or of the updates
	batch, points, row int
	dims               []int
	size               int // the product of dims
}

func newPointing(c *graph.Call, x, idx []int, b int) (pointing, error) {
	if len(idx) == 0 || len(idx) <= b {
		return pointing{}, c.Errorf(1, "rank %d, want more than %d", len(idx), b)
	}
	depth := idx[len(idx)-1]
	if depth > len(x)-b {
		return pointing{}, c.Errorf(1, "shape %v: %d indices into the %d dimensions of %v", idx, depth, len(x)-b, x)
	}
	lead := idx[:len(idx)-1]
	p := pointing{
		shape: slices.Concat(lead, x[b+depth:]), batch: volume(x[:b]), points: volume(lead[b:]),
		row: volume(x[b+depth:]), dims: x[b : b+depth],
	}
	p.size = volume(p.dims)
	return p, nil
}

// place is the row of x, within its batch, that indices name.
func (p *pointing) place(idx []int32) (int, error) {
	at := 0
	for d, v := range idx {
		k, ok := wrap(v, p.dims[d])
		if !ok {
			return 0, fmt.Errorf("indices: %v in dimensions %v", idx, p.dims)
		}
		at = at*p.dims[d] + k
	}
	return at, nil
}

func gatherNDPlan(c *graph.Call) (pointing, error) {
	b, err := batchDims(c, 2, len(c.Shape(0)))
	if err != nil {
		return pointing{}, err
	}
	return newPointing(c, c.Shape(0), c.Shape(1), b)
}

func prepareGatherND(c *graph.Call) (graph.Step, error) {
	p, err := gatherNDPlan(c)
	if err != nil {
		return graph.Step{}, err
	}
	n := p.row * widthOf(c.In[0])
	rows, depth := p.batch*p.points, len(p.dims)
	per := max(1, taskElems/max(p.row, 1))
	return graph.Parallel("gather_nd", ceilDiv(rows, per), func(x *graph.Exec, task int) error {
		dst, src, idx := x.OutBytes(0), x.Bytes(0), x.I32(1)
		for r := task * per; r < min((task+1)*per, rows); r++ {
			k, err := p.place(idx[r*depth : (r+1)*depth])
			if err != nil {
				return err
			}
			from := r/p.points*p.size + k
			copy(dst[r*n:r*n+n], src[from*n:from*n+n])
		}
		return nil
	}), nil
}
