package ops

import (
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// scatterOps write to places that the run computes. An index may count from the
// end, unless validate_indices asks for none that does; one out of range is an error.
var scatterOps = []*graph.Op{
	scatterer("scatter", "data with the slices at indices along axis combined with updates.", scatterPlan, graph.Def("axis", graph.Int, 0)),
	scatterer("scatter_along_axis", "data with the element at each index along axis combined with the update at the index's place.", scatterAlongPlan,
		graph.Def("axis", graph.Int, 0)),
	scatterer("scatter_nd", "data with the slices that the rows of indices name combined with updates.", scatterNDPlan),
}

// target says where update u of a scatter goes. Both data and updates are rows
// of elements: update row u belongs to data row at(idx, u); rows of different
// groups never meet, so groups can be treated in parallel.
type target struct {
	row, groups, per int // elements of a row, groups, and updates of a group
	at               func(idx []int32, u int, negative bool) (int, error)
	updates          []int
	along            *along // of rows of one element
}

func scatterer(name, doc string, plan func(*graph.Call) (target, error), params ...graph.Input) *graph.Op {
	mode := 3 + len(params)
	inputs := append([]graph.Input{graph.In("data", graph.Tensor), graph.In("indices", graph.Int), graph.In("updates", graph.Tensor)}, params...)
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append(inputs, graph.Def("mode", graph.String, "add"), graph.Def("validate_indices", graph.Bool, false)),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			t, err := plan(c)
			if err != nil {
				return nil, err
			}
			if _, err := c.Bool(mode + 1); err != nil {
				return nil, err
			}
			if d := c.Type(2).DType; d != c.Type(0).DType {
				return nil, c.Errorf(2, "%v, want the dtype of data, %v", d, c.Type(0).DType)
			}
			if !slices.Equal(t.updates, c.Shape(2)) {
				return nil, c.Errorf(2, "shape %v, want %v", c.Shape(2), t.updates)
			}
			if _, err := combiner(c, mode); err != nil {
				return nil, err
			}
			return sameAsX(c)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			t, err := plan(c)
			if err != nil {
				return graph.Step{}, err
			}
			return prepareScatter(c, t, mode)
		},
		Alias: aliasUpdate,
	}
}

func prepareScatter(c *graph.Call, t target, mode int) (graph.Step, error) {
	validate, err := c.Bool(mode + 1)
	if err != nil {
		return graph.Step{}, err
	}
	scatter, err := t.scatter(c, mode, !validate)
	if err != nil {
		return graph.Step{}, err
	}
	w := widthOf(c.Out[0])
	n := w * volume(c.Shape(0))
	some := max(1, moveElems/max(1, t.per*t.row))
	return graph.Step{Kernel: c.Op.Name, Phases: []graph.Phase{
		copyPhase(n, func(x *graph.Exec) []byte { return x.OutBytes(0) }, func(x *graph.Exec) []byte { return x.Bytes(0) }),
		{Tasks: ceilDiv(t.groups, some), Run: func(x *graph.Exec, task int) error {
			return scatter(x, task*some*t.per, min((task+1)*some, t.groups)*t.per)
		}},
	}}, nil
}

// scatter gives what applies the updates lo … hi.
func (t target) scatter(c *graph.Call, mode int, negative bool) (func(x *graph.Exec, lo, hi int) error, error) {
	combine, err := combiner(c, mode)
	if err != nil {
		return nil, err
	}
	name, err := c.Str(mode)
	if err != nil {
		return nil, err
	}
	w := widthOf(c.Out[0])
	switch {
	case t.along != nil && c.Type(0).DType.IsFloat():
		return func(x *graph.Exec, lo, hi int) error {
			return scatterAlong(x.OutF32(0), x.F32(2), x.I32(1), *t.along, lo, hi, negative, floatModes[name])
		}, nil
	case t.along != nil && w == 4:
		return func(x *graph.Exec, lo, hi int) error {
			return scatterAlong(x.OutI32(0), x.I32(2), x.I32(1), *t.along, lo, hi, negative, intModes[name])
		}, nil
	}
	row := t.row * w
	return func(x *graph.Exec, lo, hi int) error {
		dst, up, idx := x.OutBytes(0), x.Bytes(2), x.I32(1)
		for u := lo; u < hi; u++ {
			k, err := t.at(idx, u, negative)
			if err != nil {
				return err
			}
			combine(dst[k*row:(k+1)*row], up[u*row:(u+1)*row])
		}
		return nil
	}, nil
}

// scatterAlong applies the updates lo … hi of scatter_along_axis; without f they replace.
func scatterAlong[T any](dst, up []T, idx []int32, a along, lo, hi int, negative bool, f func(a, b T) T) error {
	w := a.walk(lo)
	for e := lo; e < hi; e++ {
		k := int(idx[e])
		if k < 0 && negative {
			k += a.size
		}
		if uint(k) >= uint(a.size) {
			return indexError("indices", idx[e], a.size)
		}
		to := &dst[w.base+k*a.inner]
		if f == nil {
			*to = up[e]
		} else {
			*to = f(*to, up[e])
		}
		w.next(a)
	}
	return nil
}

// combiner is what a mode does to a row of memory. The arithmetic ones take floats and int32.
func combiner(c *graph.Call, arg int) (func(dst, up []byte), error) {
	mode, err := c.Str(arg)
	if err != nil {
		return nil, err
	}
	if mode == "update" {
		return func(dst, up []byte) { copy(dst, up) }, nil
	}
	ff, fi := floatModes[mode], intModes[mode]
	if ff == nil {
		return nil, c.Errorf(arg, "%q, want update, add, sub, mul, div, max or min", mode)
	}
	switch d := c.Type(0).DType; {
	case d.IsFloat():
		return func(dst, up []byte) {
			a, b := tensor.View[float32](dst), tensor.View[float32](up)
			for i := range a {
				a[i] = ff(a[i], b[i])
			}
		}, nil
	case d == tensor.Int32:
		return func(dst, up []byte) {
			a, b := tensor.View[int32](dst), tensor.View[int32](up)
			for i := range a {
				a[i] = fi(a[i], b[i])
			}
		}, nil
	default:
		return nil, c.Errorf(0, "%v with mode %q, want fp16, fp32 or int32", d, mode)
	}
}

var floatModes = map[string]func(a, b float32) float32{
	"add": func(a, b float32) float32 { return a + b },
	"sub": func(a, b float32) float32 { return a - b },
	"mul": func(a, b float32) float32 { return a * b },
	"div": func(a, b float32) float32 { return a / b },
	"max": func(a, b float32) float32 { return max(a, b) },
	"min": func(a, b float32) float32 { return min(a, b) },
}

// intModes wrap around; a division rounds down, and by zero gives 0.
var intModes = map[string]func(a, b int32) int32{
	"add": func(a, b int32) int32 { return a + b },
	"sub": func(a, b int32) int32 { return a - b },
	"mul": func(a, b int32) int32 { return a * b },
	"div": floorDivInt,
	"max": func(a, b int32) int32 { return max(a, b) },
	"min": func(a, b int32) int32 { return min(a, b) },
}

// index reads one index; negative says that it may count from the end.
func index(v int32, size int, negative bool) (int, error) {
	k, ok := wrap(v, size)
	if !ok || v < 0 && !negative {
		return 0, indexError("indices", v, size)
	}
	return k, nil
}

// scatterPlan: data is [outer, size, row], indices name places along size.
func scatterPlan(c *graph.Call) (target, error) {
	x, idx := c.Shape(0), c.Shape(1)
	axis, err := intAxis(c, 3, len(x))
	if err != nil {
		return target{}, err
	}
	outer, size, count := volume(x[:axis]), x[axis], volume(idx)
	return target{
		row: volume(x[axis+1:]), groups: outer, per: count, updates: slices.Concat(x[:axis], idx, x[axis+1:]),
		at: func(idx []int32, u int, negative bool) (int, error) {
			k, err := index(idx[u%count], size, negative)
			return u/count*size + k, err
		},
	}, nil
}

func scatterAlongPlan(c *graph.Call) (target, error) {
	a, err := alongAxis(c, 0, 1, 3)
	if err != nil {
		return target{}, err
	}
	return target{
		row: 1, groups: a.outer, per: a.count * a.inner, updates: c.Shape(1), along: &a,
		at: func(idx []int32, u int, negative bool) (int, error) {
			k, err := index(idx[u], a.size, negative)
			return (u/(a.count*a.inner)*a.size+k)*a.inner + u%a.inner, err
		},
	}, nil
}

func scatterNDPlan(c *graph.Call) (target, error) {
	p, err := newPointing(c, c.Shape(0), c.Shape(1), 0)
	if err != nil {
		return target{}, err
	}
	depth := len(p.dims)
	return target{
		row: p.row, groups: 1, per: p.points, updates: p.shape,
		at: func(idx []int32, u int, negative bool) (int, error) {
			row := idx[u*depth : (u+1)*depth]
			for d, v := range row {
				if v < 0 && !negative {
					return 0, indexError("indices", v, p.dims[d])
				}
			}
			return p.place(row)
		},
	}, nil
}
