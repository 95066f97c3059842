package ops

import (
	"fmt"
	"slices"

	"coreml/internal/graph"
)

// transposeOps put the elements of x into another order, or repeat them.
var transposeOps = []*graph.Op{
	mover("transpose", "x with its dimensions in the order of perm.", transposePlan, graph.In("perm", graph.Int)),
	mover("reverse", "x in reverse order along axes; along all if absent.", reversePlan, graph.Opt("axes", graph.Int)),
	mover("sliding_windows", "All windows of size elements of x along axis, stride apart, in a dimension before that of the window.", windowsPlan,
		graph.In("axis", graph.Int), graph.In("size", graph.Int), graph.Def("stride", graph.Int, 1)),
	{
		Name: "reverse_sequence", Doc: "x with the first lengths[b] elements along seq_axis reversed, for each b along batch_axis.",
		Inputs: []graph.Input{graph.In("x", graph.Tensor), graph.In("lengths", graph.Int), graph.Def("seq_axis", graph.Int, 0), graph.Def("batch_axis", graph.Int, 0)},
		Infer:  inferReverseSequence, Prepare: prepareReverseSequence,
	},
	noFold(mover("tile", "x repeated reps[i] times along dimension i.", tilePlan, graph.In("reps", graph.Int))),
}

// box says which element of x each element of a result is: dimensions of the
// walk, outermost first, with the step in x; shape is the result's.
type box struct {
	shape        []int
	size, stride []int
	off          int
}

// mover is an operator whose dense result is a strided walk through x.
func mover(name, doc string, plan func(*graph.Call) (box, error), params ...graph.Input) *graph.Op {
	return &graph.Op{
		Name: name, Doc: doc,
		Inputs: append([]graph.Input{graph.In("x", graph.Tensor)}, params...),
		Infer: func(c *graph.Call) ([]graph.Type, error) {
			b, err := plan(c)
			if err != nil {
				return nil, err
			}
			return typed(c, len(c.Op.Inputs)-1, c.Type(0).DType, b.shape)
		},
		Prepare: func(c *graph.Call) (graph.Step, error) {
			m, err := boxMove(c, plan)
			if err != nil {
				return graph.Step{}, err
			}
			if m.dense() {
				return viewStep(name, m, 0), nil
			}
			return moveStep(name, m, 0), nil
		},
		Alias: func(c *graph.Call) []graph.Alias {
			m, err := boxMove(c, plan)
			if err != nil || !m.dense() || c.In[0].Form != c.Out[0].Form {
				return nil
			}
			return []graph.Alias{{Kind: graph.View, Off: m.srcOff}}
		},
		Fit: fitHalf(0),
	}
}

func boxMove(c *graph.Call, plan func(*graph.Call) (box, error)) (move, error) {
	b, err := plan(c)
	if err != nil {
		return move{}, err
	}
	m := newMove(widthOf(c.In[0]), b.size, rowMajor(b.size), 0, b.stride, b.off)
	if m.width == 4 {
		m.turn = kernels(c).Transpose
	}
	return m, nil
}

func noFold(op *graph.Op) *graph.Op {
	op.NoFold = true
	return op
}

func transposePlan(c *graph.Call) (box, error) {
	x := c.Shape(0)
	perm, err := axesOf(c, 1, len(x))
	if err != nil {
		return box{}, err
	}
	if len(perm) != len(x) {
		return box{}, c.Errorf(1, "%d axes, want the rank of x, %d", len(perm), len(x))
	}
	st := rowMajor(x)
	var b box
	for _, p := range perm {
		b.size, b.stride = append(b.size, x[p]), append(b.stride, st[p])
	}
	b.shape = b.size
	return b, nil
}

func reversePlan(c *graph.Call) (box, error) {
	x := c.Shape(0)
	axes, err := axesOf(c, 1, len(x))
	if err != nil {
		return box{}, err
	}
	if !c.Has(1) {
		for i := range x {
			axes = append(axes, i)
		}
	}
	b := box{shape: x, size: x, stride: rowMajor(x)}
	for _, a := range axes {
		b.off += (x[a] - 1) * b.stride[a]
		b.stride[a] = -b.stride[a]
	}
	return b, nil
}

func tilePlan(c *graph.Call) (box, error) {
	x := c.Shape(0)
	reps, err := c.Ints(1)
	if err != nil {
		return box{}, err
	}
	if len(reps) != len(x) {
		return box{}, c.Errorf(1, "%d values, want the rank of x, %d", len(reps), len(x))
	}
	st := rowMajor(x)
	var b box
	for i, r := range reps {
		if err := checkShape(c, 1, []int{r, max(x[i], 1)}); err != nil {
			return box{}, err
		}
		b.shape = append(b.shape, r*x[i])
		b.size, b.stride = append(b.size, r, x[i]), append(b.stride, 0, st[i])
	}
	return b, nil
}

// windowsPlan walks x with one dimension more: the window, then the place in it.
func windowsPlan(c *graph.Call) (box, error) {
	x := c.Shape(0)
	axis, err := intAxis(c, 1, len(x))
	if err != nil {
		return box{}, err
	}
	size, err := c.Int(2)
	if err != nil {
		return box{}, err
	}
	stride, err := c.Int(3)
	if err != nil {
		return box{}, err
	}
	if size < 1 || size > x[axis] {
		return box{}, c.Errorf(2, "%d, want 1 to %d", size, x[axis])
	}
	if stride < 1 {
		return box{}, c.Errorf(3, "%d, want at least 1", stride)
	}
	b := box{size: slices.Clone(x), stride: rowMajor(x)}
	b.size[axis] = (x[axis]-size)/stride + 1
	b.size = slices.Insert(b.size, axis+1, size)
	b.stride = slices.Insert(b.stride, axis+1, b.stride[axis])
	b.stride[axis] *= stride
	b.shape = b.size
	return b, nil
}

// reverseAxes reads and checks the axes of reverse_sequence.
func reverseAxes(c *graph.Call) (seq, batch int, err error) {
	x := c.Shape(0)
	if seq, err = intAxis(c, 2, len(x)); err != nil {
		return 0, 0, err
	}
	if batch, err = intAxis(c, 3, len(x)); err != nil {
		return 0, 0, err
	}
	if seq == batch {
		return 0, 0, c.Errorf(3, "%d, want another one than seq_axis", batch)
	}
	if l := c.Shape(1); len(l) != 1 || l[0] != x[batch] {
		return 0, 0, c.Errorf(1, "shape %v, want [%d]", l, x[batch])
	}
	return seq, batch, nil
}

func inferReverseSequence(c *graph.Call) ([]graph.Type, error) {
	_, _, err := reverseAxes(c)
	return []graph.Type{c.Type(0)}, err
}

// prepareReverseSequence copies runs behind both axes; a task is one index of the outermost dimension.
func prepareReverseSequence(c *graph.Call) (graph.Step, error) {
	seq, batch, err := reverseAxes(c)
	if err != nil {
		return graph.Step{}, err
	}
	x := c.Shape(0)
	inner := max(seq, batch) + 1
	run := volume(x[inner:]) * widthOf(c.In[0])
	st := rowMajor(x[:inner])
	lengths, n := c.At(1), x[seq]
	return graph.Parallel("reverse_sequence", x[0], func(x *graph.Exec, task int) error {
		dst, src, lens := x.OutBytes(0), x.Bytes(0), x.I32(lengths)
		for i := task * st[0]; i < (task+1)*st[0]; i++ {
			b, t := i/st[batch]%len(lens), i/st[seq]%n
			l := int(lens[b])
			if l < 0 || l > n {
				return fmt.Errorf("lengths[%d] is %d, want 0 to %d", b, l, n)
			}
			from := i
			if t < l {
				from += (l - 1 - 2*t) * st[seq]
			}
			copy(dst[i*run:(i+1)*run], src[from*run:])
		}
		return nil
	}), nil
}
