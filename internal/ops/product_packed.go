package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
)

// packed is a product with constant y.
func (p *product) packed(c *graph.Call) (graph.Step, error) {
	d, err := newDenseProduct(p, c)
	if err != nil {
		return graph.Step{}, err
	}
	d.rows = d.block
	lanes := d.kernel.Lanes
	perPanel := p.k * lanes
	d.panels = max(1, min(int(productWork)/(2*max(1, d.rows)*perPanel), blockY/perPanel))
	if !d.post.rest.empty() {
		d.panels = max(d.panels, postColumns/lanes)
	}
	d.panels = min((d.panels+gemm.MaxVectors-1)/gemm.MaxVectors*gemm.MaxVectors, max(1, d.allPanels()))
	if w := p.keep(c.In[p.y].Const, lanes, c.Store.Cold()); w != nil {
		return d.compressed(c, w), nil
	}
	weight := c.Pack(p.y, packPanels(c.In[p.y].Type.Elements()/(p.k*p.n), p.n, p.k, lanes, p.ty))
	return graph.Parallel("gemm "+c.Level.String(), d.count(), func(x *graph.Exec, task int) error {
		t := d.task(task)
		w := weight.F32()[p.yAt.at(t.batch)*gemm.Panels(p.n, p.k, lanes):]
		d.run(x, t, rightSide{w: w, columns: p.n, stride: perPanel, taps: &d.taps})
		return nil
	}), nil
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
					eachRow(src, b*n*k, n, k, lanes, from, to, func(p, s int, row []float32) {
						to := d[(p*k+s)*lanes:][:lanes]
						clear(to[copy(to, row):])
					})
				}
				lo = b*per + to
			}
		},
	}
}

// eachRow calls f with the part in panel p of each row s of a matrix [k, n] that starts at element at.
func eachRow(src *graph.Const, at, n, k, lanes, from, to int, f func(p, s int, row []float32)) {
	row := make([]float32, min(to*lanes, n)-from*lanes)
	for s := range k {
		src.Decode(row, at+s*n+from*lanes)
		for p := from; p < to; p++ {
			i := (p - from) * lanes
			f(p, s, row[i:min(i+lanes, len(row))])
		}
	}
}

// compressed is a product with a weight that kernels decode.
func (d *denseProduct) compressed(c *graph.Call, w *coldWeight) graph.Step {
	weight := c.Pack(d.y, w.packing())
	name := fmt.Sprintf("gemm %s %v", w.name(), c.Level)
	step := graph.Parallel(name, d.count(), func(x *graph.Exec, task int) error {
		bound := w.bind(weight.Data)
		d.run(x, d.task(task), rightSide{compressed: &bound})
		return nil
	})
	step.Scratch = 4 * max(d.kernel.ScratchSize(&w.Compressed, 1), d.kernel.ScratchSize(&w.Compressed, d.rows))
	return step
}
