package ops

import (
	"fmt"
	"math/bits"
	"slices"

	"coreml/internal/graph"
	"coreml/tensor"
)

// lutCode is a palettised weight. Each element is an index into the palette of
// its group; with vectors, an index stands for Vector elements along an axis.
type lutCode struct {
	Indices  *graph.Const
	Lut      *graph.Const // [groups…, Palettes, Vector]
	Shape    []int        // of the weight
	Grid     []int        // groups along each axis of Indices
	Palettes int          // entries of a palette, a power of two
	Vector   int
	Table    []float32 // Lut, decoded
	cells    grid      // from indices to groups
	inner    int       // elements of the weight behind the vector's axis
}

// Form names the number of bits of an index: "lut4", "lut4 of vectors of 2".
func (k *lutCode) Form() string {
	f := fmt.Sprintf("lut%d", bits.Len(uint(k.Palettes))-1)
	if k.Vector > 1 {
		f += fmt.Sprintf(" of vectors of %d", k.Vector)
	}
	return f
}

func (k *lutCode) Size() int64           { return codedSize(k.Parts()...) }
func (k *lutCode) Parts() []*graph.Const { return []*graph.Const{k.Indices, k.Lut} }

func (k *lutCode) Decode(dst []float32, lo int) {
	switch {
	case k.Vector == 1:
		k.Indices.Decode(dst, lo)
		k.look(dst, lo, 0)
	case k.inner == 1:
		k.vectors(dst, lo)
	default:
		for at := 0; at < len(dst); {
			row, col := (lo+at)/k.inner, (lo+at)%k.inner
			d := dst[at:min(at+k.inner-col, len(dst))]
			from := row/k.Vector*k.inner + col
			k.Indices.Decode(d, from)
			k.look(d, from, row%k.Vector)
			at += len(d)
		}
	}
}

// look replaces indices, which start at element from, by element v of their entries.
func (k *lutCode) look(d []float32, from, v int) {
	per, entries, mask := k.cells.inner(), k.Palettes*k.Vector, k.Palettes-1
	k.cells.rows(from, len(d), func(at, n, cell, phase int) {
		row := d[at : at+n]
		for len(row) > 0 {
			m := min(per-phase, len(row))
			palette := k.Table[cell*entries : (cell+1)*entries]
			for i, x := range row[:m] {
				row[i] = palette[(int(x)&mask)*k.Vector+v]
			}
			row, phase, cell = row[m:], 0, cell+1
		}
	})
}

// vectors decodes a weight whose vectors lie along the innermost axis.
func (k *lutCode) vectors(dst []float32, lo int) {
	buf := make([]float32, 256)
	for at := 0; at < len(dst); {
		from, v := (lo+at)/k.Vector, (lo+at)%k.Vector
		idx := buf[:min(len(buf), (v+len(dst)-at+k.Vector-1)/k.Vector)]
		k.Indices.Decode(idx, from)
		for i, x := range idx {
			e := (k.cells.cell(from+i)*k.Palettes + int(x)&(k.Palettes-1)) * k.Vector
			at += copy(dst[at:], k.Table[e+v:e+k.Vector])
			v = 0
		}
	}
}

// maxTable bounds palettes that are coded themselves, since the file does not back their elements.
const maxTable = 1 << 22

// newLut makes the code of indices into lut, which are the arguments idxArg and idxArg+1;
// vector_axis is the one after them.
func newLut(c *graph.Call, idxArg int, indices, lut *graph.Const) (*lutCode, error) {
	shape, table := indices.Type.Shape, lut.Type.Shape
	rank := len(shape)
	if rank < 1 || len(table) != rank+2 {
		return nil, c.Errorf(idxArg+1, "rank %d for indices of rank %d, want 2 more", len(table), rank)
	}
	n, ok := tensor.Elements(table)
	if !ok || lut.Code != nil && n > maxTable {
		return nil, c.Errorf(idxArg+1, "shape %v: too many elements", table)
	}
	k := &lutCode{Indices: indices, Lut: lut, Grid: table[:rank], Palettes: table[rank], Vector: table[rank+1], inner: 1}
	if d := indices.Type.DType; d.IsFloat() || d.IsSigned() || d.Bits() > 8 || k.Palettes != 1<<d.Bits() {
		return nil, c.Errorf(idxArg+1, "%d entries for indices of type %v, want 2 to the number of their bits", k.Palettes, d)
	}
	if k.Vector < 1 {
		return nil, c.Errorf(idxArg+1, "vectors of %d elements, want at least 1", k.Vector)
	}
	var err error
	if k.cells, err = newGrid(shape, k.Grid); err != nil {
		return nil, c.Errorf(idxArg+1, "groups: %v", err)
	}
	k.Shape = shape
	if err := k.setAxis(c, idxArg+2); err != nil {
		return nil, err
	}
	k.Table = lut.Floats()
	return k, nil
}

// setAxis reads vector_axis and lets the weight grow along it.
func (k *lutCode) setAxis(c *graph.Call, arg int) error {
	if !c.Has(arg) {
		if k.Vector > 1 {
			return c.Errorf(arg, "absent, want one for vectors of %d elements", k.Vector)
		}
		return nil
	}
	axis, err := c.Int(arg)
	if err != nil {
		return err
	}
	rank := len(k.Shape)
	if axis < -rank || axis >= rank {
		return c.Errorf(arg, "%d, want an axis of indices of rank %d", axis, rank)
	}
	axis = (axis + rank) % rank
	k.Shape = slices.Clone(k.Shape)
	if k.Shape[axis] > 1<<40/k.Vector {
		return c.Errorf(arg, "axis of %d·%d elements: too many", k.Shape[axis], k.Vector)
	}
	k.Shape[axis] *= k.Vector
	for _, d := range k.Shape[axis+1:] {
		k.inner *= d
	}
	return nil
}

func expandLut(c *graph.Call) ([]*graph.Const, error) {
	ks, err := weightConsts(c, 0, 1)
	if err != nil {
		return nil, err
	}
	k, err := newLut(c, 0, ks[0], ks[1])
	if err != nil {
		return nil, err
	}
	out, err := coded(c, graph.TensorOf(ks[1].Type.DType, k.Shape...), k)
	if err != nil {
		return nil, err
	}
	return results(c, out)
}

// indexTypes are the dtypes of indices by their number of bits.
var indexTypes = map[int]tensor.DType{
	1: tensor.UInt1, 2: tensor.UInt2, 3: tensor.UInt3, 4: tensor.UInt4, 6: tensor.UInt6, 8: tensor.UInt8,
}

// expandFlatLut reads the form of iOS 16: a vector of bytes with the packed indices, and one palette.
func expandFlatLut(c *graph.Call) ([]*graph.Const, error) {
	ks, err := weightConsts(c, 0, 1)
	if err != nil {
		return nil, err
	}
	indices, lut := ks[0], ks[1]
	shape, n, err := weightShape(c, 2)
	if err != nil {
		return nil, err
	}
	entries := lut.Type.Elements()
	d, ok := indexTypes[bits.Len(uint(entries))-1]
	if !ok || lut.Type.Rank() != 1 || entries&(entries-1) != 0 {
		return nil, c.Errorf(1, "shape %v, want a vector of 2, 4, 8, 16, 64 or 256 entries", lut.Type.Shape)
	}
	packed, err := packedBytes(c, 0, indices, d, n)
	if err != nil {
		return nil, err
	}
	index := &graph.Const{Type: graph.TensorOf(d, shape...), Data: packed}
	one := rankUp(nil, len(shape))
	cells, err := newGrid(shape, one)
	if err != nil {
		return nil, c.Errorf(2, "%v", err)
	}
	out, err := coded(c, graph.TensorOf(lut.Type.DType, shape...), &lutCode{
		Indices: index, Lut: lut, Shape: shape, Grid: one, Palettes: entries, Vector: 1, Table: lut.Floats(), cells: cells, inner: 1,
	})
	if err != nil {
		return nil, err
	}
	return results(c, out)
}

// packedBytes checks that a vector of bytes holds n elements of dtype d and nothing more.
func packedBytes(c *graph.Call, arg int, k *graph.Const, d tensor.DType, n int) ([]byte, error) {
	want, ok := tensor.ByteSize(d, n)
	if k.Code != nil || k.Held || k.Type.DType != tensor.UInt8 || !ok || len(k.Data) != want {
		return nil, c.Errorf(arg, "%v, want %d bytes as uint8 for %d elements of %v", k.Type, want, n, d)
	}
	return k.Data, nil
}
