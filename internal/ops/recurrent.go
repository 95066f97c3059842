package ops

import (
	"slices"
	"strings"
	"sync"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

var recurrentOps = []*graph.Op{lstmOp, gruOp, rnnOp}

// recurrence runs cells over a sequence x of [steps, batch, inputs]. The
// products with the inputs of many steps are one matrix product; those with
// the hidden state follow step by step.
type recurrence struct {
	steps, batch, inputs, hidden int

	gates       int // vectors of hidden elements that a cell computes from its input
	directions  []*direction
	sequence    bool // all hidden states are wanted, not only the last
	memory      bool // cells have a state beside the hidden one
	seq, h0, c0 int  // operands: x and the initial states

	rows   int // sequences of a task
	groups int
	chunk  int // steps whose inputs are multiplied together
	vec    *vec.Funcs
	gemm   gemm.Kernel
	onX    denseTaps
	onH    denseTaps
	tasks  sync.Pool // of *recurrentTask, so that a run allocates nothing
}

// direction is one pass over the sequence.
type direction struct {
	backward bool // from the last step to the first
	place    bool // its hidden states are stored by their time, not in the order of processing
	weight   *graph.Packed
	bias     []float32 // of all gates; nil: none
	// update computes the next state of the rows of t; g has the gates' sums over the input and
	// the bias, a row of gates·hidden elements for each.
	update func(t *recurrentTask, g []float32)
}

const (
	// chunkFloats bounds the sums over the inputs that are held at a time.
	chunkFloats = 64 << 10
	// fewSequences is the number of sequences that a task has at least: they share the weights' way from memory.
	fewSequences = 4
)

// weightArgs are the arguments that hold the weights of a direction.
type weightArgs struct{ ih, hh, bias int }

// newRecurrence reads the sizes from the argument x and the weights. Arguments 0 and 1 are x and initial_h.
func newRecurrence(c *graph.Call, gates, dirs int, w weightArgs) (*recurrence, error) {
	x := c.Shape(0)
	if len(x) != 3 {
		return nil, c.Errorf(0, "rank %d, want 3", len(x))
	}
	hh := c.Shape(w.hh)
	if len(hh) != 2 || hh[1] < 1 || hh[0] != gates*hh[1] {
		return nil, c.Errorf(w.hh, "shape %v, want [%d·hidden, hidden]", hh, gates)
	}
	r := &recurrence{steps: x[0], batch: x[1], inputs: x[2], hidden: hh[1], gates: gates, seq: c.At(0), h0: c.At(1), c0: -1}
	if r.inputs < 1 {
		return nil, c.Errorf(0, "shape %v, want at least one input", x)
	}
	if err := r.checkWeights(c, w); err != nil {
		return nil, err
	}
	if err := r.checkState(c, 1, dirs); err != nil {
		return nil, err
	}
	if _, ok := tensor.Elements([]int{max(r.steps, 1), r.batch, dirs * gates, r.hidden}); !ok {
		return nil, c.Errorf(0, "%d steps of %d sequences of %d elements: too many", r.steps, r.batch, r.hidden)
	}
	return r, nil
}

func (r *recurrence) checkWeights(c *graph.Call, w weightArgs) error {
	n := r.gates * r.hidden
	for _, s := range []struct {
		arg  int
		want []int
	}{{w.ih, []int{n, r.inputs}}, {w.hh, []int{n, r.hidden}}, {w.bias, []int{n}}} {
		if !c.Given(s.arg) {
			continue
		}
		if !slices.Equal(c.Shape(s.arg), s.want) {
			return c.Errorf(s.arg, "shape %v, want %v", c.Shape(s.arg), s.want)
		}
		if _, err := c.Const(s.arg); err != nil {
			return err
		}
	}
	return nil
}

// checkState checks an initial state, given as argument arg. It may have more
// rows than there are sequences: the converter of packed sequences makes it with one for each step.
func (r *recurrence) checkState(c *graph.Call, arg, dirs int) error {
	s := c.Shape(arg)
	if len(s) != 2 || s[0] < r.batch || s[1] != dirs*r.hidden {
		return c.Errorf(arg, "shape %v, want %v", s, []int{r.batch, dirs * r.hidden})
	}
	return nil
}

// readDirection reads the argument direction.
func readDirection(c *graph.Call, arg int, allowed ...string) (string, error) {
	d, err := c.Str(arg)
	if err == nil && !slices.Contains(allowed, d) {
		err = c.Errorf(arg, "%q, want one of %s", d, strings.Join(allowed, ", "))
	}
	return d, err
}

// cellActivation binds the activation that an argument names. The parameters
// are the defaults of MIL's operators of these names.
func cellActivation(c *graph.Call, arg int) (vec.Unary, error) {
	name, err := c.Str(arg)
	if err != nil {
		return nil, err
	}
	v := vec.For(c.Level)
	switch strings.ToLower(name) {
	case "sigmoid":
		return v.Sigmoid, nil
	case "tanh", "scaled_tanh":
		return v.Tanh, nil
	case "relu":
		return v.Relu, nil
	case "hard_sigmoid", "sigmoid_hard":
		return func(dst, src []float32) { v.SigmoidHard(dst, src, 0.2, 0.5) }, nil
	case "linear":
		return func(dst, src []float32) { copy(dst, src) }, nil
	}
	return nil, c.Errorf(arg, "%q, want hard_sigmoid, linear, relu, scaled_tanh, sigmoid or tanh", name)
}

// types are those of the results: the sequence, and states of the last step.
func (r *recurrence) types(c *graph.Call, dirs, states int) []graph.Type {
	d := c.Type(0).DType
	n := 1
	if r.sequence {
		n = r.steps
	}
	out := []graph.Type{graph.TensorOf(d, n, r.batch, dirs*r.hidden)}
	for range states {
		out = append(out, graph.TensorOf(d, r.batch, dirs*r.hidden))
	}
	return out
}

// add appends a direction; it packs the weights of the inputs.
func (r *recurrence) add(c *graph.Call, w weightArgs, d *direction) error {
	if len(r.directions) == 0 {
		r.vec, r.gemm = vec.For(c.Level), gemm.For(c.Level)
		r.onX, r.onH = newDenseTaps(r.inputs, r.gemm.Lanes), newDenseTaps(r.hidden, r.gemm.Lanes)
	}
	d.weight = c.Pack(c.At(w.ih), packPanels(1, r.gates*r.hidden, r.inputs, r.gemm.Lanes, true))
	if d.bias == nil && c.Given(w.bias) {
		var err error
		if d.bias, err = c.Floats(w.bias); err != nil {
			return err
		}
	}
	r.directions = append(r.directions, d)
	return nil
}

// step makes the step: a task is a direction for a group of sequences.
func (r *recurrence) step(kernel, level string) graph.Step {
	r.rows = max(1, min(r.batch, max(fewSequences, (r.batch+7)/8)))
	r.groups = (r.batch + r.rows - 1) / r.rows
	width := r.gates * r.hidden
	r.chunk = max(1, min(r.steps, chunkFloats/(r.rows*width)))
	step := graph.Parallel(kernel+" "+level, len(r.directions)*r.groups, func(x *graph.Exec, task int) error {
		t, _ := r.tasks.Get().(*recurrentTask)
		if t == nil {
			t = &recurrentTask{recurrence: r}
		}
		t.number, t.first, t.x = task/r.groups, task%r.groups*r.rows, x
		t.dir, t.n = r.directions[t.number], min(r.rows, r.batch-t.first)
		t.run()
		*t = recurrentTask{recurrence: r}
		r.tasks.Put(t)
		return nil
	})
	step.Scratch = 4 * r.rows * (r.chunk*width + 3*r.hidden)
	step.Flops = 2 * float64(len(r.directions)) * float64(r.steps) * float64(r.batch) * float64(width) * float64(r.inputs+r.hidden)
	return step
}

// recurrentTask is one task of a run: n sequences from first on, in one direction.
type recurrentTask struct {
	*recurrence
	dir      *direction
	number   int // of the direction
	x        *graph.Exec
	first, n int
	h, c     []float32 // states, [n, hidden]
	tmp      []float32 // [n, hidden]
	sums     []float32 // of the chunk over its inputs, [steps, n, gates·hidden]
}

func (t *recurrentTask) run() {
	size := t.n * t.hidden
	buf := t.x.Scratch()
	t.h, t.c, t.tmp, t.sums = buf[:size], buf[size:2*size], buf[2*size:3*size], buf[3*size:]
	t.copyState(t.h, t.x.F32(t.h0), true)
	if t.memory {
		t.copyState(t.c, t.x.F32(t.c0), true)
	}
	width := t.n * t.gates * t.hidden
	for done := 0; done < t.steps; done += t.chunk {
		n := min(t.chunk, t.steps-done)
		from := done // in time
		if t.dir.backward {
			from = t.steps - done - n
		}
		t.project(from, n)
		for i := range n {
			at := i
			if t.dir.backward {
				at = n - 1 - i
			}
			t.dir.update(t, t.sums[at*width:][:width])
			t.emit(done+i, from+at)
		}
	}
	if !t.sequence {
		t.copyState(t.h, t.x.OutF32(0), false)
	}
	t.copyState(t.h, t.x.OutF32(1), false)
	if t.memory {
		t.copyState(t.c, t.x.OutF32(2), false)
	}
}

// copyState copies between a state of this task and the [batch, directions·hidden] tensor of all.
func (t *recurrentTask) copyState(own, all []float32, in bool) {
	stride := len(t.directions) * t.hidden
	for i := range t.n {
		a := all[(t.first+i)*stride+t.number*t.hidden:][:t.hidden]
		o := own[i*t.hidden:][:t.hidden]
		if in {
			copy(o, a)
		} else {
			copy(a, o)
		}
	}
}

// emit stores the hidden state after one step in the sequence.
func (t *recurrentTask) emit(order, time int) {
	if !t.sequence {
		return
	}
	if t.dir.place {
		order = time
	}
	t.copyState(t.h, t.x.OutF32(0)[order*t.batch*len(t.directions)*t.hidden:], false)
}

// project computes the gates' sums over the inputs of n steps.
func (t *recurrentTask) project(from, n int) {
	width := t.gates * t.hidden
	lanes := t.gemm.Lanes
	a := gemm.Args{
		A:         address(t.x.F32(t.seq), (from*t.batch+t.first)*t.inputs),
		RowStride: 4 * t.inputs, AStep: 4 * t.batch * t.inputs,
		W: address(t.dir.weight.F32(), 0), WStride: 4 * t.inputs * lanes,
		C: address(t.sums, 0), CRow: 4 * width, CStep: 4 * t.n * width, CVec: 4 * lanes,
	}
	if t.dir.bias != nil {
		a.Bias = address(t.dir.bias, 0)
	}
	part := [1]gemm.Part{{Lines: n, Rows: t.n, TapsV: t.onX.vector, Taps1: t.onX.single}}
	t.gemm.Parts(part[:], 0, (width+lanes-1)/lanes, width, &a)
}

// product adds to columns of the rows of c, stride floats apart, the product of
// [n, hidden] a with a packed weight. With bias, c is set instead: to the product and the bias.
func (t *recurrentTask) product(weight *graph.Packed, columns int, a, c []float32, stride int, bias []float32) {
	lanes := t.gemm.Lanes
	args := gemm.Args{
		A: address(a, 0), RowStride: 4 * t.hidden,
		W: address(weight.F32(), 0), WStride: 4 * t.hidden * lanes,
		C: address(c, 0), CRow: 4 * stride, CVec: 4 * lanes, Flags: gemm.Accumulate,
	}
	if bias != nil {
		args.Flags, args.Bias = 0, address(bias, 0)
	}
	t.onH.set(&args)
	t.gemm.Run(t.n, columns, &args)
}

// packGate packs the rows of one gate of a weight [gates·hidden, hidden].
func packGate(gate, hidden, lanes int) graph.Packing {
	return graph.Packing{
		Form:  "gate " + itoa(gate) + " panels" + itoa(lanes) + shapeKey([]int{hidden}),
		Size:  4 * gemm.Panels(hidden, hidden, lanes),
		Items: (hidden + lanes - 1) / lanes,
		Do: func(dst []byte, src *graph.Const, lo, hi int) {
			row := make([]float32, hidden)
			gemm.PackRows(f32(dst), hidden, hidden, lanes, func(i int) []float32 {
				src.Decode(row, (gate*hidden+i)*hidden)
				return row
			}, nil, lo, hi)
		},
	}
}
