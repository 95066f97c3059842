package ops

import (
	"encoding/binary"
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/tensor"
)

// kept is the form in which a constant right side is packed. It depends on the weight alone: what the
// file keeps in 4 bits or in float16 stays so, and kernels decode it.
type kept struct {
	form  gemm.Form
	dense bool // float32 panels, in place of form
	lut   *lutCode
}

func (p *product) keep(k *graph.Const, lanes int) kept {
	if k.Type.Rank() != 2 && k.Type.Elements() != p.n*p.k || p.tx || p.k == 0 {
		return kept{dense: true}
	}
	if l, ok := k.Code.(*lutCode); ok && p.ty && l.fits(lanes) {
		return kept{form: gemm.Lut4, lut: l}
	}
	if k.Type.DType == tensor.Float16 && !k.Held {
		return kept{form: gemm.Half}
	}
	return kept{dense: true}
}

// fits reports whether the weight [n, k] can be packed as 4-bit indices: all columns of a panel share their
// palettes, and a palette serves whole groups of eight.
func (l *lutCode) fits(lanes int) bool {
	if len(l.Shape) != 2 || l.Vector != 1 || l.Palettes > 16 {
		return false
	}
	rows, steps := l.Shape[0]/l.Grid[0], l.Shape[1]/l.Grid[1]
	return l.Shape[1]%8 == 0 && (steps%8 == 0 || l.Grid[1] == 1) && (rows%lanes == 0 || l.Grid[0] == 1)
}

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
	if kept := p.keep(c.In[p.y].Const, lanes); !kept.dense {
		return d.compressed(c, kept), nil
	}
	weight := c.Pack(p.y, packPanels(c.In[p.y].Type.Elements()/(p.k*p.n), p.n, p.k, lanes, p.ty))
	return graph.Parallel("gemm "+c.Level.String(), d.count(), func(x *graph.Exec, task int) error {
		t := d.task(task)
		w := weight.F32()[p.yAt.at(t.batch)*gemm.Panels(p.n, p.k, lanes):]
		d.run(x, t, rightSide{w: w[t.panel*perPanel:], stride: perPanel, taps: &d.taps})
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
func (d *denseProduct) compressed(c *graph.Call, how kept) graph.Step {
	form := gemm.Compressed{Form: how.form, N: d.n, K: d.k, Block: d.k}
	pack := packHalf(d.n, d.k, d.kernel.Lanes, d.ty)
	tables := 0 // floats before the panels
	if how.lut != nil {
		form.Block = d.k / how.lut.Grid[1]
		tables = how.lut.tables(d.allPanels())
		pack = packLut(how.lut, tables, d.kernel.Lanes)
	}
	weight := c.Pack(d.y, pack)
	step := graph.Parallel("gemm "+pack.Form+" "+c.Level.String(), d.count(), func(x *graph.Exec, task int) error {
		w := form
		w.Data = weight.Data[4*tables:]
		if tables > 0 {
			w.Lut = f32(weight.Data)[:tables]
		}
		d.run(x, d.task(task), rightSide{compressed: &w})
		return nil
	})
	step.Scratch = 4 * max(d.kernel.ScratchSize(&form, 1), d.kernel.ScratchSize(&form, d.rows))
	return step
}

// packHalf is the packing of a float16 weight [k, n], or [n, k] when transposed, in Form Half.
func packHalf(n, k, lanes int, transposed bool) graph.Packing {
	panels := (n + lanes - 1) / lanes
	return graph.Packing{
		Form: fmt.Sprintf("half%d %dx%d %v", lanes, n, k, transposed), Size: panels * gemm.Half.PanelBytes(k, lanes), Items: panels,
		Do: func(dst []byte, src *graph.Const, lo, hi int) {
			if !transposed {
				eachRow(src, 0, n, k, lanes, lo, hi, func(p, s int, row []float32) {
					to := dst[2*(p*k+s)*lanes:][:2*lanes]
					for i, v := range row {
						binary.LittleEndian.PutUint16(to[2*i:], tensor.F16(v))
					}
					clear(to[2*len(row):])
				})
				return
			}
			row, half := make([]float32, k), make([]uint16, k)
			gemm.PackHalf(dst, n, k, lanes, func(i int) []uint16 {
				if src.Code == nil {
					return tensor.View[uint16](src.Data)[i*k : (i+1)*k]
				}
				src.Decode(row, i*k)
				tensor.F16Slice(half, row)
				return half
			}, lo, hi)
		},
	}
}

// tables is the number of floats of the packed palettes: one for all panels, or one for each block of each.
func (l *lutCode) tables(panels int) int {
	if l.Grid[0] == 1 && l.Grid[1] == 1 {
		return 16
	}
	return panels * l.Grid[1] * 16
}

// packLut is the packing of a palettised weight [n, k] in Form Lut4, behind its palettes.
func packLut(l *lutCode, tables, lanes int) graph.Packing {
	n, k := l.Shape[0], l.Shape[1]
	panels := (n + lanes - 1) / lanes
	return graph.Packing{
		Form: fmt.Sprintf("lut4 %d", lanes), Size: 4*tables + panels*gemm.Lut4.PanelBytes(k, lanes), Items: panels,
		Do: func(dst []byte, _ *graph.Const, lo, hi int) {
			for p := lo; p < hi; p++ {
				l.packTables(f32(dst)[:tables], p, lanes)
			}
			row, index := make([]float32, k), make([]byte, k)
			gemm.PackLut4(dst[4*tables:], n, k, lanes, func(i int) []byte {
				l.Indices.Decode(row, i*k)
				for j, v := range row {
					index[j] = byte(v) & byte(l.Palettes-1)
				}
				return index
			}, lo, hi)
		},
	}
}

// packTables writes the palettes of panel p.
func (l *lutCode) packTables(dst []float32, p, lanes int) {
	if len(dst) == 16 {
		if p > 0 {
			return
		}
		p = 0
	}
	group := p * lanes / (l.Shape[0] / l.Grid[0])
	for b := range l.Grid[1] {
		to := dst[(p*l.Grid[1]+b)*16:][:16]
		from := l.Table[(group*l.Grid[1]+b)*l.Palettes:][:l.Palettes]
		clear(to[copy(to, from):])
	}
}
