package ops

import (
	"encoding/binary"
	"fmt"
	"math"

	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/tensor"
)

// coldWeight is a constant right side [k, n], or [n, k] when transposed, that is packed as compact as the file
// has it and decoded by the kernels: float16, int8 or 4-bit indices, with scales. The form depends on the weight alone.
// A dequantised float16 weight is rounded to float16 only where there are many rows: for few, kernels scale sums
// of products, which differs by less than 2^-11 of each weight.
type coldWeight struct {
	gemm.Compressed
	lanes, panels int
	transposed    bool
	data          *graph.Const // what the panels are made of: float16, int8, or indices
	bias          int          // of an index or int8 against what data holds
	table         [16]float32  // Lut4 without palettes
	lut           *lutCode     // Lut4 with palettes
	scale, offset *graph.Const // of blocks
	scales        []int        // number of blocks along each axis

	tableFloats, scaleBytes, shiftBytes int // sizes of what comes before the panels
}

// keep chooses the compact form of a constant; nil: float32 panels.
func (p *product) keep(k *graph.Const, lanes int, cold bool) *coldWeight {
	if k.Type.Elements() != p.n*p.k || p.tx || p.k == 0 {
		return nil
	}
	w := &coldWeight{lanes: lanes, panels: (p.n + lanes - 1) / lanes, transposed: p.ty, data: k}
	w.N, w.K, w.Block = p.n, p.k, p.k
	if code, ok := k.Code.(*blockCode); ok && p.ty && (cold || code.Scale.Type.DType != tensor.Float16) && w.quantised(code) {
		return w.sized()
	}
	if l, ok := k.Code.(*lutCode); ok && p.ty && l.fits(lanes) {
		w.palettised(l)
		return w.sized()
	}
	if k.Type.DType == tensor.Float16 && !k.Held {
		w.Form = gemm.Half
		return w.sized()
	}
	return nil
}

// fits reports whether the weight [n, k] can be packed as 4-bit indices: all columns of a panel share their
// palettes, and a palette serves whole groups of eight.
func (l *lutCode) fits(lanes int) bool {
	if len(l.Shape) != 2 || l.Vector != 1 || l.Palettes > 16 {
		return false
	}
	rows, steps := l.Shape[0]/l.Grid[0], l.Shape[1]/l.Grid[1]
	return l.Shape[1]%8 == 0 && steps%8 == 0 && (rows%lanes == 0 || l.Grid[0] == 1)
}

func (w *coldWeight) palettised(l *lutCode) {
	w.Form, w.lut, w.data, w.Block = gemm.Lut4, l, l.Indices, w.K/l.Grid[1]
	w.tableFloats = 16
	if l.Grid[0] > 1 || l.Grid[1] > 1 {
		w.tableFloats = w.panels * l.Grid[1] * 16
	}
}

// quantised takes scale·(data - offset) where data has 4 or 8 bits or is palettised, with blocks of whole rows or
// of parts of rows.
func (w *coldWeight) quantised(k *blockCode) bool {
	if len(k.Shape) != 2 {
		return false
	}
	block := w.K / k.Grid[1]
	switch l, palettes := k.Data.Code.(*lutCode); {
	case palettes:
		if !l.fits(w.lanes) || l.Grid[1] > 1 && k.Grid[1] > 1 && l.Grid[1] != k.Grid[1] || block%8 != 0 {
			return false
		}
		w.palettised(l)
		w.Block = min(w.Block, block)
		if w.tableFloats > 16 {
			w.tableFloats = w.panels * w.Blocks() * 16
		}
	case k.Data.Code != nil:
		return false
	default:
		if !w.integers(k.Data.Type.DType, block) {
			return false
		}
		w.data = k.Data
	}
	w.scale, w.scales = k.Scale, k.Grid
	w.Round = k.Scale.Type.DType == tensor.Float16
	w.HalfScale = k.Scale.Type.DType == tensor.Float16 && !k.Scale.Held
	w.setOffset(k.Offset)
	return true
}

// integers takes plain quantised data.
func (w *coldWeight) integers(d tensor.DType, block int) bool {
	w.Block = block
	switch d {
	case tensor.Int8:
		w.Form = gemm.Int8
		return true
	case tensor.UInt8:
		w.Form, w.bias = gemm.Int8, -128
		return true
	case tensor.Int4, tensor.UInt4:
		w.Form, w.tableFloats = gemm.Lut4, 16
		for i := range w.table {
			w.table[i] = float32(i)
			if d == tensor.Int4 {
				w.table[i], w.bias = float32(i-8), 8
			}
		}
		return block%8 == 0
	}
	return false
}

// setOffset moves an offset that is the same everywhere into a table, and makes others shifts of the sums.
func (w *coldWeight) setOffset(offset *graph.Const) {
	if offset == nil && w.bias >= 0 {
		return
	}
	same := 0.0
	if offset != nil {
		all := offset.Floats()
		same = float64(all[0])
		for _, v := range all {
			if float64(v) != same {
				same = math.NaN()
			}
		}
	}
	switch {
	case same == 0 && w.bias >= 0:
	case same == same && w.Form == gemm.Lut4 && w.lut == nil:
		for i := range w.table {
			w.table[i] -= float32(same)
		}
	case w.Form == gemm.Int8 && same == float64(-w.bias): // unsigned around the middle
	default:
		w.offset, w.HalfScale, w.shiftBytes = offset, false, 1
	}
}

// sized computes the sizes of the parts.
func (w *coldWeight) sized() *coldWeight {
	n := w.panels * w.Blocks() * w.lanes * 4
	if w.shiftBytes > 0 {
		w.shiftBytes = n
	}
	if w.HalfScale {
		n /= 2
	}
	if w.scale != nil {
		w.scaleBytes = n
	}
	return w
}

// name is that of the form, for the profile and as part of the packing's key.
func (w *coldWeight) name() string {
	s := [...]string{gemm.Half: "half", gemm.Int8: "int8", gemm.Lut4: "lut4"}[w.Form]
	if w.scale != nil {
		s += fmt.Sprintf(" block %d", w.Block)
	}
	return s
}

// bind is the weight in its packed bytes.
func (w *coldWeight) bind(data []byte) gemm.Compressed {
	c := w.Compressed
	if n := 4 * w.tableFloats; n > 0 {
		c.Lut, data = f32(data[:n]), data[n:]
	}
	if w.scaleBytes > 0 {
		c.Scale, data = data[:w.scaleBytes], data[w.scaleBytes:]
	}
	if w.shiftBytes > 0 {
		c.Shift, data = data[:w.shiftBytes], data[w.shiftBytes:]
	}
	c.Data = data
	return c
}

func (w *coldWeight) packing() graph.Packing {
	return graph.Packing{
		Form: fmt.Sprintf("%s %d %dx%d %v", w.name(), w.lanes, w.N, w.K, w.transposed),
		Size: 4*w.tableFloats + w.scaleBytes + w.shiftBytes + w.panels*w.Form.PanelBytes(w.K, w.lanes), Items: w.panels,
		Do: func(dst []byte, _ *graph.Const, lo, hi int) {
			to := w.bind(dst)
			for p := lo; p < hi; p++ {
				w.packTables(to.Lut, p)
			}
			if w.scale != nil {
				w.packScales(&to, lo, hi)
			}
			switch w.Form {
			case gemm.Half:
				w.packHalf(to.Data, lo, hi)
			case gemm.Int8:
				row := make([]int8, w.K)
				gemm.PackInt8(to.Data, w.N, w.K, w.lanes, rowOf(w, row), lo, hi)
			default:
				gemm.PackLut4(to.Data, w.N, w.K, w.lanes, w.indices(), lo, hi)
			}
		},
	}
}

// rowOf reads rows of small integers.
func rowOf[T int8 | byte](w *coldWeight, row []T) func(i int) []T {
	buf := make([]float32, w.K)
	mask := T(0)
	if w.lut != nil {
		mask = T(w.lut.Palettes - 1)
	}
	return func(i int) []T {
		w.data.Decode(buf, i*w.K)
		for j, v := range buf {
			row[j] = T(int(v) + w.bias)
			if mask != 0 {
				row[j] &= mask
			}
		}
		return row
	}
}

// indices reads rows of integers of up to 4 bits, as indices of a table in pairs.
func (w *coldWeight) indices() func(i int) []byte {
	pairs := make([]byte, w.K/2)
	if k := w.data; k.Code == nil && !k.Held && k.Type.DType.Bits() == 4 && len(k.Data) >= w.N*w.K/2 && (w.lut == nil || w.lut.Palettes == 16) {
		middle := byte(w.bias * 0x11) // adding 8 to 4 bits is turning the highest
		return func(i int) []byte {
			for j, v := range k.Data[i*w.K/2:][:w.K/2] {
				pairs[j] = v ^ middle
			}
			return pairs
		}
	}
	row := rowOf(w, make([]byte, w.K))
	return func(i int) []byte {
		x := row(i)
		for j := range pairs {
			pairs[j] = x[2*j]&15 | x[2*j+1]<<4
		}
		return pairs
	}
}

// packTables writes the palettes of panel p, one for each block.
func (w *coldWeight) packTables(dst []float32, p int) {
	switch {
	case len(dst) == 16 && p > 0 || len(dst) == 0:
	case w.lut == nil:
		copy(dst, w.table[:])
	case len(dst) == 16:
		clear(dst[copy(dst, w.lut.Table[:w.lut.Palettes]):])
	default:
		l, blocks := w.lut, w.Blocks()
		group := p * w.lanes / (l.Shape[0] / l.Grid[0])
		for b := range blocks {
			to := dst[(p*blocks+b)*16:][:16]
			from := l.Table[(group*l.Grid[1]+b*l.Grid[1]/blocks)*l.Palettes:][:l.Palettes]
			clear(to[copy(to, from):])
		}
	}
}

// packScales writes the scales of panels lo … hi, and shifts so that value·scale + shift is scale·(data - offset).
func (w *coldWeight) packScales(to *gemm.Compressed, lo, hi int) {
	blocks := w.Blocks()
	scale, offset := make([]float32, w.scales[1]), make([]float32, w.scales[1])
	half, bits := make([]uint16, blocks), make([]uint32, blocks)
	decode := func(i int) {
		first := i * w.scales[0] / w.N * w.scales[1]
		w.scale.Decode(scale, first)
		if w.offset != nil {
			w.offset.Decode(offset, first)
		}
	}
	if w.HalfScale {
		gemm.PackScales(to.Scale, w.N, blocks, w.lanes, func(i int) []uint16 {
			decode(i)
			for b := range half {
				half[b] = tensor.F16(scale[b*w.scales[1]/blocks])
			}
			return half
		}, lo, hi)
		return
	}
	numbers := func(f func(b int) float32) func(i int) []uint32 {
		return func(i int) []uint32 {
			decode(i)
			for b := range bits {
				bits[b] = math.Float32bits(f(b * w.scales[1] / blocks))
			}
			return bits
		}
	}
	gemm.PackScales(to.Scale, w.N, blocks, w.lanes, numbers(func(b int) float32 { return scale[b] }), lo, hi)
	if w.shiftBytes > 0 {
		gemm.PackScales(to.Shift, w.N, blocks, w.lanes, numbers(func(b int) float32 {
			return -scale[b] * (offset[b] + w.shiftedBy())
		}), lo, hi)
	}
}

// shiftedBy is what packed values are above data.
func (w *coldWeight) shiftedBy() float32 {
	if w.Form == gemm.Int8 {
		return float32(w.bias)
	}
	return 0
}

// packHalf writes float16 panels.
func (w *coldWeight) packHalf(dst []byte, lo, hi int) {
	src, n, k := w.data, w.N, w.K
	if !w.transposed {
		eachRow(src, 0, n, k, w.lanes, lo, hi, func(p, s int, row []float32) {
			to := dst[2*(p*k+s)*w.lanes:][:2*w.lanes]
			for i, v := range row {
				binary.LittleEndian.PutUint16(to[2*i:], tensor.F16(v))
			}
			clear(to[2*len(row):])
		})
		return
	}
	row, half := make([]float32, k), make([]uint16, k)
	gemm.PackHalf(dst, n, k, w.lanes, func(i int) []uint16 {
		if src.Code == nil {
			return tensor.View[uint16](src.Data)[i*k : (i+1)*k]
		}
		src.Decode(row, i*k)
		tensor.F16Slice(half, row)
		return half
	}, lo, hi)
}
