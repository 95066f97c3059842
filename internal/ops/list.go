package ops

import (
	"fmt"
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// listOps work on lists of tensors. A list is a value: an operator that changes
// one gives a new list, which shares the elements that stay.
var listOps = []*graph.Op{
	lister("make_list", "A list of init_length elements of zeros.", inferMakeList, makeList,
		graph.Def("init_length", graph.Int, 1), graph.Def("dynamic_length", graph.Bool, true), graph.Var("elem_shape", graph.Int|graph.String),
		graph.Def("dtype", graph.String, "fp32")),
	lister("list_length", "The number of elements of ls.", inferListLength, listLength, graph.In("ls", graph.List)),
	lister("list_read", "Element index of ls.", inferListRead, listRead, graph.In("ls", graph.List), graph.In("index", graph.Int)),
	lister("list_write", "ls with value as element index; it grows as far as needed.", inferListWrite, listWrite,
		graph.In("ls", graph.List), graph.In("index", graph.Int), graph.In("value", graph.Tensor)),
	lister("list_gather", "The elements of ls at indices, as one tensor.", inferListGather, listGather, graph.In("ls", graph.List), graph.In("indices", graph.Int)),
	lister("list_scatter", "ls with the slices of value as elements indices; it grows as far as needed.", inferListScatter, listScatter,
		graph.In("ls", graph.List), graph.In("indices", graph.Int), graph.In("value", graph.Tensor)),
}

func lister(name, doc string, infer func(*graph.Call) ([]graph.Type, error), run func(*graph.Call) func(*graph.Exec) error, params ...graph.Input) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc, Inputs: params, NoFold: true, Infer: infer,
		Prepare: func(c *graph.Call) (graph.Step, error) { return graph.Serial(name, run(c)), nil },
	}
}

// list is what a slot of a list value holds. It is never changed once it is in a slot.
type list struct {
	length int
	elems  []elem // at most length; those behind, and those without data, were never written
	bytes  int64
}

// Bytes is the memory that the list takes, also where it shares it with another one.
func (l *list) Bytes() int64 { return l.bytes }

// elem is one element in Plain form.
type elem struct {
	data  []byte
	shape []int
}

// maxList bounds the length of a list.
const maxList = 1 << 20

func listOf(x *graph.Exec, in int) (*list, error) {
	l, ok := x.Obj(in).(*list)
	if !ok {
		return nil, fmt.Errorf("ls: no list was made")
	}
	return l, nil
}

// with is the list with n elements replaced from what give returns.
func (l *list) with(x *graph.Exec, indices []int32, size int, give func(i int) elem) (*list, error) {
	top := len(l.elems)
	for _, v := range indices {
		if v < 0 || v >= maxList {
			return nil, fmt.Errorf("index %d, want 0 to %d", v, maxList-1)
		}
		top = max(top, int(v)+1)
	}
	const perElem = 48
	if err := x.Env.Grow(int64(top)*perElem + int64(size)*int64(len(indices))); err != nil {
		return nil, err
	}
	n := &list{length: max(l.length, top), elems: make([]elem, top)}
	n.bytes = l.bytes + perElem*int64(top-len(l.elems))
	copy(n.elems, l.elems)
	for i, v := range indices {
		n.bytes -= int64(len(n.elems[v].data))
		n.elems[v] = give(i)
		n.bytes += int64(len(n.elems[v].data))
	}
	return n, nil
}

// at is element i; without data if it was never written.
func (l *list) at(i int32) (elem, error) {
	if i < 0 || int(i) >= l.length {
		return elem{}, fmt.Errorf("index %d in a list of length %d", i, l.length)
	}
	if int(i) >= len(l.elems) {
		return elem{}, nil
	}
	return l.elems[i], nil
}

// elemType is what is known of the elements of the list that argument 0 is.
func elemType(c *graph.Call) (graph.Type, error) {
	t := c.Type(0)
	if t.Elem == nil || t.Elem.Kind != graph.KindTensor || graph.StoreSize(t.Elem.DType) == 0 {
		return graph.Type{}, c.Errorf(0, "%v, want a list of tensors", t)
	}
	return *t.Elem, nil
}

func inferMakeList(c *graph.Call) ([]graph.Type, error) {
	name, err := c.Str(3)
	if err != nil {
		return nil, err
	}
	d, err := tensor.ParseDType(name)
	if err != nil || graph.StoreSize(d) == 0 {
		return nil, c.Errorf(3, "%q, want a dtype of tensors", name)
	}
	e := graph.TensorOf(d)
	for i := 0; i < c.N(2); i++ {
		o := c.In[c.At(2)+i]
		dim := -1 // a name stands for a size that only the run knows
		if o.Type.DType != tensor.String {
			if dim, err = scalarAt(c, 2, i); err != nil {
				return nil, err
			}
			if dim < 0 {
				return nil, c.Errorf(2, "%d, want no negative number", dim)
			}
		}
		e.Shape = append(e.Shape, dim)
	}
	if e.Static() {
		if err := checkShape(c, 2, e.Shape); err != nil {
			return nil, err
		}
	}
	return []graph.Type{{Kind: graph.KindList, Elem: &e}}, nil
}

func makeList(c *graph.Call) func(*graph.Exec) error {
	at := c.At(0)
	return func(x *graph.Exec) error {
		n := int32(1)
		if at >= 0 {
			n = x.I32(at)[0]
		}
		if n < 0 || n > maxList {
			return fmt.Errorf("init_length: %d, want 0 to %d", n, maxList)
		}
		x.SetObj(0, &list{length: int(n)})
		return nil
	}
}

func inferListLength(c *graph.Call) ([]graph.Type, error) {
	return []graph.Type{graph.TensorOf(tensor.Int32)}, nil
}

func listLength(*graph.Call) func(*graph.Exec) error {
	return func(x *graph.Exec) error {
		l, err := listOf(x, 0)
		if err == nil {
			x.OutI32(0)[0] = int32(l.length)
		}
		return err
	}
}

// wantOne refuses an argument that is not one number.
func wantOne(c *graph.Call, arg int) error {
	if n := volume(c.Shape(arg)); n != 1 {
		return c.Errorf(arg, "%d values, want 1", n)
	}
	return nil
}

func inferListRead(c *graph.Call) ([]graph.Type, error) {
	if err := wantOne(c, 1); err != nil {
		return nil, err
	}
	e, err := elemType(c)
	e.Bound = !e.Static()
	return []graph.Type{e}, err
}

func listRead(c *graph.Call) func(*graph.Exec) error {
	want := c.Out[0].Type
	return func(x *graph.Exec) error {
		l, err := listOf(x, 0)
		if err != nil {
			return err
		}
		e, err := l.at(x.I32(1)[0])
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if e, err = readable(e, want); err != nil {
			return err
		}
		if want.Static() {
			copy(x.OutBytes(0), e.data)
			if e.data == nil {
				clear(x.OutBytes(0))
			}
			return nil
		}
		if err := x.Env.Grow(int64(len(e.data))); err != nil {
			return err
		}
		s := graph.Slot{Data: graph.Aligned(len(e.data)), Shape: slices.Clone(e.shape)}
		copy(s.Data, e.data)
		x.Slots[x.Out[0]] = s
		return nil
	}
}

// readable is an element as a tensor of type t: one never written is zeros, without data, of the size that t states.
func readable(e elem, t graph.Type) (elem, error) {
	if e.data == nil && t.Static() && (e.shape == nil || volume(e.shape) == 0) {
		return elem{shape: t.Shape}, nil
	}
	if e.shape == nil {
		return e, fmt.Errorf("ls: an element of unknown shape was never written")
	}
	if len(e.shape) != len(t.Shape) {
		return e, fmt.Errorf("ls: an element of shape %v, want %v", e.shape, t)
	}
	for i, d := range t.Shape {
		if d >= 0 && d != e.shape[i] {
			return e, fmt.Errorf("ls: an element of shape %v, want %v", e.shape, t)
		}
	}
	return e, nil
}

// written checks that tensors of a shape can be elements of the list, and gives the list's type.
func written(c *graph.Call, shape []int) ([]graph.Type, error) {
	e, err := elemType(c)
	if err != nil {
		return nil, err
	}
	v := c.Type(2)
	if graph.StoreDType(v.DType) != graph.StoreDType(e.DType) {
		return nil, c.Errorf(2, "%v in a list of %v", v, e)
	}
	if _, err := readable(elem{shape: append([]int{}, shape...), data: []byte{0}}, e); err != nil {
		return nil, c.Errorf(2, "%v in a list of %v", v, e)
	}
	return []graph.Type{c.Type(0)}, nil
}

func inferListWrite(c *graph.Call) ([]graph.Type, error) {
	if err := wantOne(c, 1); err != nil {
		return nil, err
	}
	return written(c, c.Shape(2))
}

func listWrite(c *graph.Call) func(*graph.Exec) error {
	shape := append([]int{}, c.Shape(2)...)
	return func(x *graph.Exec) error {
		l, err := listOf(x, 0)
		if err != nil {
			return err
		}
		n, err := l.with(x, x.I32(1)[:1], len(x.Bytes(2)), func(int) elem {
			return elem{data: slices.Clone(x.Bytes(2)), shape: shape}
		})
		x.SetObj(0, n)
		return err
	}
}

func inferListScatter(c *graph.Call) ([]graph.Type, error) {
	v, n := c.Shape(2), volume(c.Shape(1))
	if len(v) == 0 || v[0] != n {
		return nil, c.Errorf(2, "shape %v, want %d slices", v, n)
	}
	return written(c, v[1:])
}

func listScatter(c *graph.Call) func(*graph.Exec) error {
	shape := append([]int{}, c.Shape(2)[1:]...)
	size := volume(shape) * graph.StoreSize(c.Type(2).DType)
	return func(x *graph.Exec) error {
		l, err := listOf(x, 0)
		if err != nil {
			return err
		}
		n, err := l.with(x, x.I32(1), size, func(i int) elem {
			return elem{data: slices.Clone(x.Bytes(2)[i*size : (i+1)*size]), shape: shape}
		})
		x.SetObj(0, n)
		return err
	}
}

func inferListGather(c *graph.Call) ([]graph.Type, error) {
	e, err := elemType(c)
	if err != nil {
		return nil, err
	}
	t := graph.TensorOf(e.DType, append([]int{volume(c.Shape(1))}, e.Shape...)...)
	if t.Bound = !t.Static(); t.Bound {
		return []graph.Type{t}, nil
	}
	return typed(c, 1, t.DType, t.Shape)
}

func listGather(c *graph.Call) func(*graph.Exec) error {
	out := c.Out[0].Type
	want := graph.TensorOf(out.DType, out.Shape[1:]...)
	return func(x *graph.Exec) error {
		l, err := listOf(x, 0)
		if err != nil {
			return err
		}
		idx := x.I32(1)
		if !out.Static() && len(idx) > 0 {
			if err := gatherShape(x, l, idx, want); err != nil {
				return err
			}
		}
		size := 0
		if len(idx) > 0 {
			size = len(x.OutBytes(0)) / len(idx)
		}
		for i, v := range idx {
			e, err := l.at(v)
			if err == nil {
				e, err = readable(e, graph.TensorOf(want.DType, x.Slots[x.Out[0]].Shape[1:]...))
			}
			if err != nil {
				return fmt.Errorf("indices: %w", err)
			}
			dst := x.OutBytes(0)[i*size : (i+1)*size]
			if e.data == nil {
				clear(dst)
			}
			copy(dst, e.data)
		}
		return nil
	}
}

// gatherShape makes the result for elements whose shape only the list knows: that of the first one gathered.
func gatherShape(x *graph.Exec, l *list, idx []int32, want graph.Type) error {
	e, err := l.at(idx[0])
	if err == nil {
		e, err = readable(e, want)
	}
	if err != nil {
		return fmt.Errorf("indices: %w", err)
	}
	shape := append([]int{len(idx)}, e.shape...)
	n, ok := tensor.Elements(shape)
	if !ok {
		return fmt.Errorf("indices: a result of shape %v, want at most 2^40 elements", shape)
	}
	size := n * graph.StoreSize(want.DType)
	if err := x.Env.Grow(int64(size)); err != nil {
		return err
	}
	x.Slots[x.Out[0]] = graph.Slot{Data: graph.Aligned(size), Shape: shape}
	return nil
}
