package ops

import (
	"fmt"
	"slices"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

// blockCode is a quantised weight: Scale·(Data - Offset) with one scale and
// offset per block, rounded to the dtype of Scale. Affine quantisation along an
// axis is the case of blocks that are whole slices.
type blockCode struct {
	Data, Scale *graph.Const
	Offset      *graph.Const // of as many elements as Scale; nil: none
	Shape       []int        // of the weight
	Grid        []int        // number of blocks along each axis: the shape of Scale
	cells       grid
}

// Form names the dtype and the blocks: "int4 in blocks of [1 32]".
func (k *blockCode) Form() string {
	b := make([]int, len(k.Shape))
	for i, n := range k.Shape {
		b[i] = n / k.Grid[i]
	}
	return fmt.Sprintf("%v in blocks of %v", k.Data.Type.DType, b)
}

func (k *blockCode) Size() int64 { return codedSize(k.Parts()...) }

func (k *blockCode) Parts() []*graph.Const {
	if k.Offset == nil {
		return []*graph.Const{k.Data, k.Scale}
	}
	return []*graph.Const{k.Data, k.Scale, k.Offset}
}

// cellBatch is the number of scales that are decoded at a time.
const cellBatch = 64

func (k *blockCode) Decode(dst []float32, lo int) {
	k.Data.Decode(dst, lo)
	buf := make([]float32, 2*cellBatch)
	k.cells.rows(lo, len(dst), func(at, n, cell, phase int) {
		k.row(dst[at:at+n], cell, phase, buf[:cellBatch], buf[cellBatch:])
	})
	if k.Scale.Type.DType == tensor.Float16 {
		// Exact, and so the same at every level.
		vec.For(cpu.Best()).RoundF16(dst, dst)
	}
}

// row dequantises v, which starts phase elements into a cell. offset stays zero without one.
func (k *blockCode) row(v []float32, cell, phase int, scale, offset []float32) {
	per := k.cells.inner()
	for len(v) > 0 {
		n := min(cellBatch, (phase+len(v)+per-1)/per)
		k.Scale.Decode(scale[:n], cell)
		if k.Offset != nil {
			k.Offset.Decode(offset[:n], cell)
		}
		for i := range n {
			m := min(per-phase, len(v))
			shiftScale(v[:m], scale[i], offset[i])
			v, phase = v[m:], 0
		}
		cell += n
	}
}

func shiftScale(v []float32, scale, offset float32) {
	for i, x := range v {
		v[i] = scale * (x - offset)
	}
}

// newBlockCode makes the constant of scale·(data - offset); arguments scaleArg
// and scaleArg+1 are named in errors.
func newBlockCode(c *graph.Call, scaleArg int, data, scale, offset *graph.Const) (*graph.Const, error) {
	shape := data.Type.Shape
	cells, err := newGrid(shape, scale.Type.Shape)
	if err != nil {
		return nil, c.Errorf(scaleArg, "%v", err)
	}
	if offset != nil && !slices.Equal(offset.Type.Shape, scale.Type.Shape) {
		return nil, c.Errorf(scaleArg+1, "shape %v, want that of scale, %v", offset.Type.Shape, scale.Type.Shape)
	}
	return coded(c, graph.TensorOf(scale.Type.DType, shape...), &blockCode{
		Data: data, Scale: scale, Offset: offset, Shape: shape, Grid: scale.Type.Shape, cells: cells,
	})
}

func expandBlockwise(c *graph.Call) ([]*graph.Const, error) {
	ks, err := weightConsts(c, 0, 1, 2)
	if err != nil {
		return nil, err
	}
	out, err := newBlockCode(c, 1, ks[0], ks[1], ks[2])
	if err != nil {
		return nil, err
	}
	return results(c, out)
}

func expandAffine(c *graph.Call) ([]*graph.Const, error) {
	ks, err := weightConsts(c, 0, 1, 2)
	if err != nil {
		return nil, err
	}
	data, zero, scale := ks[0], ks[1], ks[2]
	axis, err := c.Int(3)
	if err != nil {
		return nil, err
	}
	rank := data.Type.Rank()
	if axis < -rank || axis >= rank {
		return nil, c.Errorf(3, "%d, want an axis of a tensor of rank %d", axis, rank)
	}
	axis = (axis + rank) % rank
	grid := rankUp(nil, rank)
	for _, p := range []struct {
		arg int
		k   *graph.Const
	}{{1, zero}, {2, scale}} {
		s := p.k.Type.Shape
		if len(s) == 0 {
			continue
		}
		if len(s) > 1 || s[0] != data.Type.Shape[axis] {
			return nil, c.Errorf(p.arg, "shape %v, want a scalar or [%d], the size of axis %d", s, data.Type.Shape[axis], axis)
		}
		grid[axis] = s[0]
	}
	out, err := newBlockCode(c, 2, data, perAxis(scale, grid), perAxis(zero, grid))
	if err != nil {
		return nil, err
	}
	return results(c, out)
}

// perAxis gives a scalar or vector the shape grid, in which at most one dimension is not 1.
func perAxis(k *graph.Const, grid []int) *graph.Const {
	n := 1
	for _, d := range grid {
		n *= d
	}
	out := *k
	out.Type.Shape = grid
	if k.Type.Elements() == n {
		return &out
	}
	all := make([]float32, n)
	fill(all, k.Floats()[0])
	out.Data, out.Code, out.Held = tensor.BytesOf(all), nil, true
	out.Type.DType = tensor.Float32
	if k.Type.DType.IsFloat() {
		out.Type.DType = k.Type.DType
	}
	return &out
}
