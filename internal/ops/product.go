package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
)

// Sizes of tasks, in floats and floating-point operations. A block of x stays in the second-level
// cache while all columns of the task pass over it.
const (
	blockX      = 96 << 10
	blockY      = 128 << 10
	productWork = 4e6
	postColumns = 256 // columns that a task has at least where operators follow
)

// denseTaps are the steps of a sum over a row.
type denseTaps struct{ vector, single []gemm.Tap }

func newDenseTaps(k, lanes int) denseTaps {
	v, s := gemm.DenseTaps(k, lanes)
	return denseTaps{v, s}
}

func (t denseTaps) set(a *gemm.Args) {
	a.TapsV, a.NV = address(t.vector, 0), len(t.vector)
	a.Taps1, a.N1 = address(t.single, 0), len(t.single)
}

// denseProduct computes a product with the tile kernels: tasks are blocks of rows by blocks of panels.
type denseProduct struct {
	*product
	kernel    gemm.Kernel
	taps      denseTaps // for y in panel form
	rowStride int       // of x, in bytes
	post      *epilogue

	rows, panels       int // of a task
	rowTasks, colTasks int
	block              int // rows between which a task changes panels
}

func newDenseProduct(p *product, c *graph.Call) (*denseProduct, error) {
	post, err := newEpilogue(c)
	if err != nil {
		return nil, err
	}
	d := &denseProduct{product: p, kernel: gemm.For(c.Level), post: post}
	row, step := p.xStrides()
	d.rowStride = 4 * row
	if step == 1 {
		d.taps = newDenseTaps(p.k, d.kernel.Lanes)
	} else {
		d.taps = singleTaps(p.k, step, d.kernel.Lanes)
	}
	d.block = max(1, min(p.m, max(d.kernel.MaxRows(2), blockX/max(1, p.k))))
	return d, nil
}

// singleTaps are k steps whose operands lie a and w floats apart.
func singleTaps(k, a, w int) denseTaps {
	t := denseTaps{single: make([]gemm.Tap, k)}
	for s := range t.single {
		t.single[s] = gemm.Tap{A: int64(4 * s * a), W: int64(4 * s * w)}
	}
	return t
}

// allPanels is the number of vectors of output columns.
func (d *denseProduct) allPanels() int { return (d.n + d.kernel.Lanes - 1) / d.kernel.Lanes }

// count computes the numbers of tasks from their size.
func (d *denseProduct) count() int {
	d.rowTasks = (d.m + d.rows - 1) / d.rows
	d.rows = (d.m + d.rowTasks - 1) / max(1, d.rowTasks) // even
	d.colTasks = (d.allPanels() + d.panels - 1) / d.panels
	return d.batch * d.rowTasks * d.colTasks
}

// productTask is a block of rows by a block of panels.
type productTask struct{ batch, row, rows, panel, columns int }

func (t productTask) panels(lanes int) int { return (t.columns + lanes - 1) / lanes }

func (d *denseProduct) task(i int) productTask {
	per := d.rowTasks * d.colTasks
	t := productTask{batch: i / per}
	i %= per
	// The smaller operand is passed over again and again, so that it stays in cache.
	if d.n < d.m {
		t.row, t.panel = i/d.colTasks*d.rows, i%d.colTasks*d.panels
	} else {
		t.row, t.panel = i%d.rowTasks*d.rows, i/d.rowTasks*d.panels
	}
	t.rows = min(d.rows, d.m-t.row)
	t.columns = min(d.panels*d.kernel.Lanes, d.n-t.panel*d.kernel.Lanes)
	return t
}

// rightSide is y as the kernel reads it: panels, or a compressed weight.
type rightSide struct {
	w          []float32
	first      int // number of the first panel in w
	columns    int // from there on
	stride     int // floats from panel to panel
	taps       *denseTaps
	compressed *gemm.Compressed
}

// run computes a task.
func (d *denseProduct) run(x *graph.Exec, t productTask, y rightSide) {
	out, lanes := x.OutF32(0), d.kernel.Lanes
	base := y.first * lanes // column that the arguments describe
	a := gemm.Args{RowStride: d.rowStride, CRow: 4 * d.n, CVec: 4 * lanes}
	a.Flags, a.Lo, a.Hi = d.post.limits()
	if d.bias >= 0 {
		a.Bias = address(x.F32(d.bias), base)
	}
	var part [1]gemm.Part
	if y.compressed == nil {
		a.W, a.WStride = address(y.w, 0), 4*y.stride
		part[0] = gemm.Part{Lines: 1, TapsV: y.taps.vector, Taps1: y.taps.single}
	}
	in := x.F32(d.x)[d.xAt.at(t.batch)*d.m*d.k:]
	lo, hi := t.panel-y.first, t.panel-y.first+t.panels(lanes)
	for row := t.row; row < t.row+t.rows; row += d.block {
		rows := min(d.block, t.row+t.rows-row)
		off := (t.batch*d.m + row) * d.n
		a.C, a.Add = address(out, off+base), d.post.residual(x, off+base)
		if d.k > 0 {
			a.A = address(in, row*d.rowStride/4)
		}
		if y.compressed == nil {
			part[0].Rows = rows
			d.kernel.Parts(part[:], lo, hi, y.columns, &a)
		} else {
			d.kernel.Compressed(y.compressed, lo, hi, rows, &a, x.Scratch())
		}
		d.finish(x, out, off+t.panel*lanes, rows, t.columns)
	}
}

// finish runs the operators that follow on rows of a block of the result.
func (d *denseProduct) finish(x *graph.Exec, out []float32, off, rows, columns int) {
	post := d.post.rest
	if post.empty() {
		return
	}
	run := columns
	if columns == d.n {
		run = max(columns, tileElems/columns*columns)
	}
	for end := off + (rows-1)*d.n + columns; off < end; {
		n := min(run, end-off)
		post.apply(x, out[off:off+n], off)
		off += max(n, d.n)
	}
}
