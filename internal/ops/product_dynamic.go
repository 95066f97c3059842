package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

// Sizes that decide how a product whose y is computed at run time is divided.
const (
	dotRows      = 2   // rows up to which columns of a transposed y are dot products
	directRows   = 8   // rows up to which y is read as it lies
	dynamicTasks = 16  // rows are divided too where there are fewer tasks
	dynamicRows  = 128 // but not into fewer than this, since each task packs y
	dotColumns   = 256 // of a task
)

// dynamic is a product whose y is computed at run time: each task packs its panels, or reads y as
// it lies where there are too few rows to gain from packing.
func (p *product) dynamic(c *graph.Call) (graph.Step, error) {
	if p.ty && p.m <= dotRows && !p.tx {
		return p.dots(c)
	}
	d, err := newDenseProduct(p, c)
	if err != nil {
		return graph.Step{}, err
	}
	lanes := d.kernel.Lanes
	d.panels = min(max(1, blockY/max(1, p.k*lanes)), max(1, d.allPanels()))
	d.rows = max(1, p.m)
	if all := p.batch * ((d.allPanels() + d.panels - 1) / d.panels); all > 0 && all < dynamicTasks {
		d.rows = max(min(d.rows, dynamicRows), d.rows*all/dynamicTasks)
	}
	var inPlace *denseTaps // for y as it lies
	if !p.ty && p.m <= directRows {
		_, step := p.xStrides()
		t := singleTaps(p.k, step, p.n)
		inPlace = &t
	}
	step := graph.Parallel("gemm dynamic "+c.Level.String(), d.count(), func(x *graph.Exec, task int) error {
		t := d.task(task)
		y := x.F32(p.y)[p.yAt.at(t.batch)*p.k*p.n:]
		if whole := t.columns / lanes; inPlace != nil && whole > 0 {
			u := t
			u.columns = whole * lanes
			d.run(x, u, rightSide{w: y[t.panel*lanes:], first: t.panel, columns: u.columns, stride: lanes, taps: inPlace})
			t.panel, t.columns = t.panel+whole, t.columns-u.columns
		}
		if t.columns > 0 {
			from, stride := t.panel*lanes, p.n
			if p.ty {
				from, stride = from*p.k, p.k
			}
			d.kernel.PackMatrix(x.Scratch(), t.columns, p.k, y[min(from, len(y)):], stride, p.ty, 0, t.panels(lanes))
			d.run(x, t, rightSide{w: x.Scratch(), first: t.panel, columns: t.columns, stride: p.k * lanes, taps: &d.taps})
		}
		return nil
	})
	step.Scratch = 4 * d.panels * p.k * lanes
	return step, nil
}

// dots computes few rows by the columns of a transposed y: each is a dot product.
func (p *product) dots(c *graph.Call) (graph.Step, error) {
	post, err := newChain(c)
	if err != nil {
		return graph.Step{}, err
	}
	parts := (p.n + dotColumns - 1) / dotColumns
	dot := vec.For(c.Level).Dot
	return graph.Parallel("dot "+c.Level.String(), p.batch*parts, func(x *graph.Exec, task int) error {
		b, lo := task/parts, task%parts*dotColumns
		hi := min(lo+dotColumns, p.n)
		rows, y := x.F32(p.x)[p.xAt.at(b)*p.m*p.k:], x.F32(p.y)[p.yAt.at(b)*p.k*p.n:]
		for i := range p.m {
			off := (b*p.m+i)*p.n + lo
			out := x.OutF32(0)[off : off+hi-lo]
			for j := range out {
				out[j] = dot(rows[i*p.k:(i+1)*p.k], y[(lo+j)*p.k:(lo+j+1)*p.k])
				if p.bias >= 0 {
					out[j] += x.F32(p.bias)[lo+j]
				}
			}
			post.apply(x, out, off)
		}
		return nil
	}), nil
}
