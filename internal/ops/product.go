package ops

import (
	"fmt"

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
	var t denseTaps
	for s := range k {
		t.single = append(t.single, gemm.Tap{A: int64(4 * s * a), W: int64(4 * s * w)})
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

// packed is a product with constant y.
func (p *product) packed(c *graph.Call) (graph.Step, error) {
	d, err := newDenseProduct(p, c)
	if err != nil {
		return graph.Step{}, err
	}
	weight := c.Pack(p.y, packPanels(c.In[p.y].Type.Elements()/(p.k*p.n), p.n, p.k, d.kernel.Lanes, p.ty))
	d.rows = d.block
	perPanel := p.k * d.kernel.Lanes
	d.panels = max(1, min(int(productWork)/(2*max(1, d.rows)*perPanel), blockY/perPanel))
	if !d.post.rest.empty() {
		d.panels = max(d.panels, postColumns/d.kernel.Lanes)
	}
	d.panels = min((d.panels+gemm.MaxVectors-1)/gemm.MaxVectors*gemm.MaxVectors, max(1, d.allPanels()))
	return graph.Parallel("gemm "+c.Level.String(), d.count(), func(x *graph.Exec, task int) error {
		t := d.task(task)
		w := weight.F32()[p.yAt.at(t.batch)*gemm.Panels(p.n, p.k, d.kernel.Lanes):]
		d.run(x, t, rightSide{w[t.panel*perPanel:], perPanel, &d.taps})
		return nil
	}), nil
}

// productTask is a block of rows by a block of panels.
type productTask struct{ batch, row, rows, panel, columns int }

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

// rightSide is y as the kernel reads it: the first panel of a task, and the floats from panel to panel.
type rightSide struct {
	w      []float32
	stride int
	taps   *denseTaps
}

// run computes a task.
func (d *denseProduct) run(x *graph.Exec, t productTask, y rightSide) {
	out := x.OutF32(0)
	first := t.panel * d.kernel.Lanes
	a := gemm.Args{RowStride: d.rowStride, W: address(y.w, 0), WStride: 4 * y.stride,
		CRow: 4 * d.n, CVec: 4 * d.kernel.Lanes}
	y.taps.set(&a)
	if d.bias >= 0 {
		a.Bias = address(x.F32(d.bias), first)
	}
	in := x.F32(d.x)[d.xAt.at(t.batch)*d.m*d.k:]
	for row := t.row; row < t.row+t.rows; row += d.block {
		rows := min(d.block, t.row+t.rows-row)
		off := (t.batch*d.m+row)*d.n + first
		a.C = address(out, off)
		if d.k > 0 {
			a.A = address(in, row*d.rowStride/4)
		}
		a.Add = d.post.residual(x, off)
		a.Flags, a.Lo, a.Hi = d.post.limits()
		d.kernel.Run(rows, t.columns, &a)
		d.finish(x, out, off, rows, t.columns)
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

// packPanels is the packing of a weight of batch matrices [k, n], or [n, k] when transposed.
func packPanels(batch, n, k, lanes int, transposed bool) graph.Packing {
	size := gemm.Panels(n, k, lanes)
	per := (n + lanes - 1) / lanes
	return graph.Packing{
		Form: fmt.Sprintf("panels%d %d %dx%d %v", lanes, batch, n, k, transposed),
		Size: 4 * batch * size, Items: batch * per,
		Do: func(dst []byte, src *graph.Const, lo, hi int) {
			for lo < hi {
				b := lo / per
				from, to := lo-b*per, min(hi-b*per, per)
				d := f32(dst)[b*size : (b+1)*size]
				if transposed {
					row := make([]float32, k)
					gemm.PackRows(d, n, k, lanes, func(i int) []float32 {
						src.Decode(row, (b*n+i)*k)
						return row
					}, nil, from, to)
				} else {
					packColumns(d, src, b*n*k, n, k, lanes, from, to)
				}
				lo = b*per + to
			}
		},
	}
}

// packColumns packs panels from … to of the matrix [k, n] that starts at element at.
func packColumns(dst []float32, src *graph.Const, at, n, k, lanes, from, to int) {
	row := make([]float32, min(to*lanes, n)-from*lanes)
	for s := range k {
		src.Decode(row, at+s*n+from*lanes)
		for p := from; p < to; p++ {
			d := dst[(p*k+s)*lanes:][:lanes]
			clear(d[copy(d, row[(p-from)*lanes:]):])
		}
	}
}
