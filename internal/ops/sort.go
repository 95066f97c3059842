package ops

import (
	"math"
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

var sortOps = []*graph.Op{
	{
		Name: "topk", Doc: "The k largest or smallest elements along an axis, in order, and their indices.",
		Inputs: []graph.Input{
			graph.In("x", graph.Numeric), graph.Def("k", graph.Int, 1), graph.Def("axis", graph.Int, -1),
			graph.Def("ascending", graph.Bool, false), graph.Def("sort", graph.Bool, true),
			graph.Def("return_indices", graph.Bool, true), graph.Def("output_indices_dtype", graph.String, "int32"),
		},
		Infer: inferTopK, Prepare: prepareTopK,
	},
	{
		Name: "argsort", Doc: "The indices that bring the elements along an axis into order.",
		Inputs: []graph.Input{graph.In("x", graph.Numeric), graph.Def("axis", graph.Int, -1), graph.Def("ascending", graph.Bool, false)},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			if _, err := intAxis(c, 1, len(c.Shape(0))); err != nil {
				return nil, err
			}
			_, err := c.Bool(2)
			return []graph.Type{graph.TensorOf(tensor.Int32, c.Shape(0)...)}, err
		},
		Prepare: prepareArgsort,
	},
	{
		Name: "cumsum", Doc: "The sums of all elements up to each one along an axis.",
		Inputs: []graph.Input{
			graph.In("x", graph.Numeric), graph.Def("axis", graph.Int, 0),
			graph.Def("exclusive", graph.Bool, false), graph.Def("reverse", graph.Bool, false),
		},
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			_, err := cumsumParams(c)
			return likeX(c), err
		},
		Prepare: prepareCumsum,
	},
}

type topK struct {
	line
	axis, k   int
	ascending bool
	indices   bool
	dtype     tensor.DType // of the indices
}

func topKParams(c *graph.Call) (p topK, err error) {
	x := c.Shape(0)
	if p.axis, err = intAxis(c, 2, len(x)); err != nil {
		return p, err
	}
	p.line = lineOf(x, p.axis)
	if p.k, err = c.Int(1); err != nil {
		return p, err
	}
	if p.k == -1 {
		p.k = p.n
	}
	if p.k < 0 || p.k > p.n {
		return p, c.Errorf(1, "%d, want -1 (all) to %d, the size of axis %d", p.k, p.n, p.axis)
	}
	if p.ascending, err = c.Bool(3); err != nil {
		return p, err
	}
	// Sorted or not, the order is always the same here.
	if _, err = c.Bool(4); err != nil {
		return p, err
	}
	if p.indices, err = c.Bool(5); err != nil || !p.indices {
		return p, err
	}
	p.dtype, err = indexDType(c, 6, p.n)
	return p, err
}

func inferTopK(c *graph.Call) ([]graph.Type, error) {
	p, err := topKParams(c)
	if err != nil {
		return nil, err
	}
	shape := slices.Clone(c.Shape(0))
	shape[p.axis] = p.k
	out := []graph.Type{graph.TensorOf(c.Type(0).DType, shape...)}
	if p.indices {
		out = append(out, graph.TensorOf(p.dtype, shape...))
	}
	return out, nil
}

// sortCost is the work on one element, in elements of a sum.
const sortCost = 32

func prepareTopK(c *graph.Call) (graph.Step, error) {
	p, err := topKParams(c)
	if err != nil {
		return graph.Step{}, err
	}
	key := keysOf(c.Type(0).DType, p.ascending)
	s := byRows("topk", p.lines(), sortCost*p.n, func(x *graph.Exec, i int) {
		src := tensor.View[uint32](x.Bytes(0))
		keys := lineKeys(x, p.line, i, key)
		keys = smallest(keys, p.k)
		values := tensor.View[uint32](x.OutBytes(0))
		at := i/p.inner*p.k*p.inner + i%p.inner
		for j, k := range keys {
			values[at+j*p.inner] = src[p.start(i)+int(uint32(k))*p.inner]
		}
		if p.indices {
			index := x.OutI32(1)
			for j, k := range keys {
				index[at+j*p.inner] = int32(uint32(k))
			}
		}
	})
	s.Scratch = 8 * p.n
	return s, nil
}

func prepareArgsort(c *graph.Call) (graph.Step, error) {
	axis, err := intAxis(c, 1, len(c.Shape(0)))
	if err != nil {
		return graph.Step{}, err
	}
	ascending, err := c.Bool(2)
	if err != nil {
		return graph.Step{}, err
	}
	l, key := lineOf(c.Shape(0), axis), keysOf(c.Type(0).DType, ascending)
	s := byRows("argsort", l.lines(), sortCost*l.n, func(x *graph.Exec, i int) {
		keys := lineKeys(x, l, i, key)
		slices.Sort(keys)
		dst, at := x.OutI32(0), l.start(i)
		for j, k := range keys {
			dst[at+j*l.inner] = int32(uint32(k))
		}
	})
	s.Scratch = 8 * l.n
	return s, nil
}

// lineKeys writes one number for each element of line i to scratch memory: the
// element's place in the order above its index, so that equals keep their order.
func lineKeys(x *graph.Exec, l line, i int, key func(bits uint32) uint32) []uint64 {
	keys := tensor.View[uint64](x.Buf)[:l.n]
	src, p := tensor.View[uint32](x.Bytes(0)), l.start(i)
	for j := range keys {
		keys[j] = uint64(key(src[p]))<<32 | uint64(j)
		p += l.inner
	}
	return keys
}

// keysOf maps the bits of an element to a number that is ordered as the elements
// are to be sorted. NaN comes last, as in NumPy; zeros of either sign are equal.
func keysOf(d tensor.DType, ascending bool) func(bits uint32) uint32 {
	flip := uint32(0)
	if !ascending {
		flip = math.MaxUint32
	}
	if !d.IsFloat() {
		return func(b uint32) uint32 { return b ^ 1<<31 ^ flip }
	}
	const sign, inf = 1 << 31, 0x7f800000
	return func(b uint32) uint32 {
		switch {
		case b&^sign > inf:
			return math.MaxUint32
		case b == sign:
			b = 0
		}
		if b&sign != 0 {
			return ^b ^ flip
		}
		return b ^ sign ^ flip
	}
}

// smallest brings the k smallest keys to the front, in order.
func smallest(keys []uint64, k int) []uint64 {
	if k > len(keys)/8 {
		slices.Sort(keys)
		return keys[:k]
	}
	if k == 0 {
		return nil
	}
	// A heap of the k smallest so far, the largest of them on top.
	heap := keys[:k]
	for i := k/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	for _, v := range keys[k:] {
		if v < heap[0] {
			heap[0] = v
			sink(heap, 0)
		}
	}
	slices.Sort(heap)
	return heap
}

// sink restores the heap's order below element i.
func sink(heap []uint64, i int) {
	for {
		c := 2*i + 1
		if c >= len(heap) {
			return
		}
		if c+1 < len(heap) && heap[c+1] > heap[c] {
			c++
		}
		if heap[i] >= heap[c] {
			return
		}
		heap[i], heap[c] = heap[c], heap[i]
		i = c
	}
}

type cumsum struct {
	line
	exclusive, reverse bool
}

func cumsumParams(c *graph.Call) (p cumsum, err error) {
	axis, err := intAxis(c, 1, len(c.Shape(0)))
	if err != nil {
		return p, err
	}
	p.line = lineOf(c.Shape(0), axis)
	if p.exclusive, err = c.Bool(2); err != nil {
		return p, err
	}
	p.reverse, err = c.Bool(3)
	return p, err
}

func prepareCumsum(c *graph.Call) (graph.Step, error) {
	p, err := cumsumParams(c)
	if err != nil {
		return graph.Step{}, err
	}
	if c.Type(0).DType.IsFloat() {
		return byRows("cumsum", p.lines(), 2*p.n, func(x *graph.Exec, i int) {
			accumulate(p, i, x.OutF32(0), x.F32(0), 0.0)
		}), nil
	}
	return byRows("cumsum", p.lines(), 2*p.n, func(x *graph.Exec, i int) {
		accumulate(p, i, x.OutI32(0), x.I32(0), int32(0))
	}), nil
}

// accumulate treats line i, in the arithmetic of sum.
func accumulate[T, S int32 | float32 | float64](p cumsum, i int, dst, src []T, sum S) {
	at, step := p.start(i), p.inner
	if p.reverse {
		at, step = at+(p.n-1)*p.inner, -p.inner
	}
	for range p.n {
		before := sum
		sum += S(src[at])
		if p.exclusive {
			dst[at] = T(before)
		} else {
			dst[at] = T(sum)
		}
		at += step
	}
}
