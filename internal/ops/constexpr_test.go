package ops

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"coreml/internal/graph"
	"coreml/tensor"
)

// raw makes a constant of bit-packed or byte-sized elements.
func raw(d tensor.DType, shape []int, v ...int) *graph.Const {
	k := &graph.Const{Type: graph.TensorOf(d, shape...)}
	n, _ := tensor.ByteSize(d, len(v))
	k.Data = make([]byte, n)
	for i, x := range v {
		at := i * d.Bits()
		w := uint(x) & (1<<d.Bits() - 1) << (at % 8)
		k.Data[at/8] |= byte(w)
		if w > 255 {
			k.Data[at/8+1] |= byte(w >> 8)
		}
	}
	return k
}

// expand makes the coded constants of a constexpr operation.
func expand(name string, opset graph.Opset, a args, outputs int) ([]*graph.Const, error) {
	fn, _ := oneNode(Find(name, opset), a, outputs)
	c := graph.NewCall(fn.Body.Nodes[0], 0, func(v *graph.Value) graph.Operand {
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	return c.Op.Expand(c)
}

func mustExpand(t *testing.T, name string, opset graph.Opset, a args, outputs int) []*graph.Const {
	t.Helper()
	ks, err := expand(name, opset, a, outputs)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return ks
}

// decodes checks a coded constant as a whole and by every range of its elements.
func decodes(t *testing.T, k *graph.Const, shape []int, want ...float32) {
	t.Helper()
	if !slices.Equal(k.Type.Shape, shape) {
		t.Fatalf("shape %v, want %v", k.Type.Shape, shape)
	}
	if got := k.Floats(); !slices.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
	for lo := range want {
		for hi := lo; hi <= len(want); hi++ {
			got := make([]float32, hi-lo)
			k.Decode(got, lo)
			if !slices.Equal(got, want[lo:hi]) {
				t.Fatalf("elements %d to %d: %v, want %v", lo, hi, got, want[lo:hi])
			}
		}
	}
}

func TestAffineDequantize(t *testing.T) {
	data := raw(tensor.UInt8, []int{2, 3}, 0, 1, 2, 253, 254, 255)
	a := args{"quantized_data": data, "zero_point": raw(tensor.UInt8, nil, 2), "scale": floatsOf(nil, 0.5), "axis": intsOf(nil, 0)}
	decodes(t, mustExpand(t, "constexpr_affine_dequantize", graph.IOS16, a, 1)[0], []int{2, 3}, -1, -0.5, 0, 125.5, 126, 126.5)
	a["scale"], a["axis"] = floatsOf([]int{3}, 1, 2, 3), intsOf(nil, -1)
	decodes(t, mustExpand(t, "constexpr_affine_dequantize", graph.IOS16, a, 1)[0], []int{2, 3}, -2, -2, 0, 251, 504, 759)
	a["quantized_data"] = raw(tensor.Int8, []int{3, 2}, -128, 127, 1, 2, 3, 4)
	a["zero_point"], a["axis"] = raw(tensor.Int8, []int{3}, -1, 0, 1), intsOf(nil, 0)
	decodes(t, mustExpand(t, "constexpr_affine_dequantize", graph.IOS16, a, 1)[0], []int{3, 2}, -127, 128, 2, 4, 6, 9)
}

func TestBlockwiseShiftScale(t *testing.T) {
	a := args{
		"data":   raw(tensor.Int4, []int{2, 4}, -8, 7, 1, -1, 2, 3, -4, 0),
		"scale":  floatsOf([]int{2, 2}, 1, 10, 100, 1000),
		"offset": raw(tensor.Int4, []int{2, 2}, 0, 1, -1, 2),
	}
	k := mustExpand(t, "constexpr_blockwise_shift_scale", graph.IOS18, a, 1)[0]
	decodes(t, k, []int{2, 4}, -8, 7, 0, -20, 300, 400, -6000, -2000)
	if got := k.Code.Form(); got != "int4 in blocks of [1 2]" {
		t.Errorf("form %q", got)
	}
	if got := k.Code.Size(); got != 4+16+2 {
		t.Errorf("size %d, want 22", got)
	}
	delete(a, "offset")
	a["scale"] = floatsOf([]int{1, 4}, 1, 2, 3, 4)
	decodes(t, mustExpand(t, "constexpr_blockwise_shift_scale", graph.IOS18, a, 1)[0], []int{2, 4}, -8, 14, 3, -4, 2, 6, -12, 0)
}

// TestBlockwiseRounds has a weight of float16: multiples of 0.3 as float16, rounded again.
func TestBlockwiseRounds(t *testing.T) {
	a := args{
		"data":  raw(tensor.Int8, []int{3}, 1, 3, 7),
		"scale": &graph.Const{Type: graph.TensorOf(tensor.Float16, 1), Data: tensor.BytesOf([]uint16{0x34cd})},
	}
	decodes(t, mustExpand(t, "constexpr_blockwise_shift_scale", graph.IOS18, a, 1)[0], []int{3}, 0.300048828125, 0.900390625, 2.099609375)
}

// TestGrid compares the merged walk with the definition: the cell of an element by its coordinates.
func TestGrid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		rank := 1 + r.IntN(4)
		shape, cells, n := make([]int, rank), make([]int, rank), 1
		for d := range rank {
			cells[d] = 1 + r.IntN(3)
			shape[d] = cells[d] * (1 + r.IntN(3))
			n *= shape[d]
		}
		g, err := newGrid(shape, cells)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int, n)
		g.rows(0, n, func(at, run, cell, phase int) {
			for i := range run {
				got[at+i] = cell + (phase+i)/g.inner()
			}
		})
		for i := range got {
			if want := cellOf(i, shape, cells); got[i] != want || g.cell(i) != want {
				t.Fatalf("%v in %v: element %d: cell %d and %d, want %d", shape, cells, i, got[i], g.cell(i), want)
			}
		}
	}
}

func cellOf(i int, shape, cells []int) int {
	cell, stride := 0, 1
	for d := len(shape) - 1; d >= 0; d-- {
		cell += i % shape[d] / (shape[d] / cells[d]) * stride
		stride *= cells[d]
		i /= shape[d]
	}
	return cell
}

func TestLutFlat(t *testing.T) {
	k := mustExpand(t, "constexpr_lut_to_dense", graph.IOS16, args{
		"indices": raw(tensor.UInt8, []int{2}, 0b01_10_11_00, 0b11),
		"lut":     floatsOf([]int{4}, 10, 11, 12, 13),
		"shape":   intsOf([]int{1}, 5),
	}, 1)[0]
	decodes(t, k, []int{5}, 10, 13, 12, 11, 13)
	if got := k.Code.Form(); got != "lut2" {
		t.Errorf("form %q", got)
	}
}

// TestLut has the examples of MIL's documentation.
func TestLut(t *testing.T) {
	groups := args{
		"indices": raw(tensor.UInt2, []int{6, 2}, 2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3),
		"lut":     floatsOf([]int{2, 1, 4, 1}, 1, 5, 9, 13, 2, 10, 18, 26),
	}
	decodes(t, mustExpand(t, "constexpr_lut_to_dense", graph.IOS18, groups, 1)[0], []int{6, 2},
		9, 13, 13, 1, 5, 1, 26, 2, 18, 10, 2, 26)
	vectors := args{
		"indices":     raw(tensor.UInt1, []int{2, 2, 2}, 0, 0, 1, 0, 1, 1, 0, 0),
		"lut":         floatsOf([]int{1, 1, 1, 2, 3}, 1, 2, 3, 4, 5, 6),
		"vector_axis": intsOf(nil, 1),
	}
	decodes(t, mustExpand(t, "constexpr_lut_to_dense", graph.IOS18, vectors, 1)[0], []int{2, 6, 2},
		1, 1, 2, 2, 3, 3, 4, 1, 5, 2, 6, 3, 4, 4, 5, 5, 6, 6, 1, 1, 2, 2, 3, 3)
	vectors["vector_axis"] = intsOf(nil, -1)
	decodes(t, mustExpand(t, "constexpr_lut_to_dense", graph.IOS18, vectors, 1)[0], []int{2, 2, 6},
		1, 2, 3, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 4, 5, 6, 1, 2, 3, 1, 2, 3)
}

func TestSparseFlat(t *testing.T) {
	k := mustExpand(t, "constexpr_sparse_to_dense", graph.IOS16, args{
		"nonzero_data": raw(tensor.Int8, []int{2}, -3, 4),
		"mask":         raw(tensor.UInt8, []int{1}, 0b01100),
		"shape":        intsOf([]int{2}, 1, 5),
	}, 1)[0]
	decodes(t, k, []int{1, 5}, 0, 0, -3, 4, 0)
}

// sparseMask is that of MIL's documentation for the forms from sparse to sparse.
func sparseMask() *graph.Const {
	return raw(tensor.UInt1, []int{4, 6}, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0)
}

func TestLutToSparse(t *testing.T) {
	a := args{
		"indices_mask":         sparseMask(),
		"indices_nonzero_data": raw(tensor.UInt1, []int{9}, 0, 1, 1, 0, 1, 1, 0, 0, 1),
		"lut":                  floatsOf([]int{1, 1, 2, 1}, 2, 3),
	}
	out := mustExpand(t, "constexpr_lut_to_sparse", graph.IOS18, a, 2)
	decodes(t, out[1], []int{9}, 2, 3, 3, 2, 3, 3, 2, 2, 3)
	dense := mustExpand(t, "constexpr_sparse_to_dense", graph.IOS18, args{"mask": out[0], "nonzero_data": out[1]}, 1)[0]
	decodes(t, dense, []int{4, 6}, 2, 3, 0, 0, 0, 0, 3, 2, 0, 0, 0, 3, 0, 3, 2, 0, 2, 0, 0, 0, 0, 3, 0, 0)

	a["lut"], a["vector_axis"] = floatsOf([]int{1, 1, 2, 2}, 2, 20, 3, 30), intsOf(nil, 0)
	out = mustExpand(t, "constexpr_lut_to_sparse", graph.IOS18, a, 2)
	wide := []float32{
		2, 3, 0, 0, 0, 0, 20, 30, 0, 0, 0, 0, 3, 2, 0, 0, 0, 3, 30, 20, 0, 0, 0, 30,
		0, 3, 2, 0, 2, 0, 0, 30, 20, 0, 20, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 30, 0, 0,
	}
	var ones, picked []float32
	for _, x := range wide {
		ones = append(ones, min(x, 1))
		if x != 0 {
			picked = append(picked, x)
		}
	}
	decodes(t, out[0], []int{8, 6}, ones...)
	decodes(t, out[1], []int{18}, picked...)
	decodes(t, mustExpand(t, "constexpr_sparse_to_dense", graph.IOS18, args{"mask": out[0], "nonzero_data": out[1]}, 1)[0], []int{8, 6}, wide...)
	stored := args{"mask": out[0], "nonzero_data": floatsOf([]int{18}, picked...)}
	decodes(t, mustExpand(t, "constexpr_sparse_to_dense", graph.IOS18, stored, 1)[0], []int{8, 6}, wide...)
}

func TestSparseBlockwise(t *testing.T) {
	mask := raw(tensor.UInt1, []int{4, 4}, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0)
	out := mustExpand(t, "constexpr_sparse_blockwise_shift_scale", graph.IOS18, args{
		"data_mask":    mask,
		"nonzero_data": raw(tensor.Int8, []int{9}, 10, 11, 3, 4, 5, 6, 7, 8, 9),
		"scale":        floatsOf([]int{1, 4}, 1, 2, 3, 4),
		"offset":       raw(tensor.Int8, []int{1, 4}, 1, 2, 3, 4),
	}, 2)
	decodes(t, out[1], []int{9}, 9, 18, 2, 4, 6, 9, 12, 7, 14)
	dense := mustExpand(t, "constexpr_sparse_to_dense", graph.IOS18, args{"mask": out[0], "nonzero_data": out[1]}, 1)[0]
	decodes(t, dense, []int{4, 4}, 9, 18, 0, 0, 2, 4, 6, 0, 0, 0, 9, 12, 7, 14, 0, 0)
}

// TestBitmask checks counting and finding over more bits than one entry of the sums covers.
func TestBitmask(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 63, 64, 65, 2048, 5000} {
		b := make([]byte, (n+7)/8)
		for i := range b {
			b[i] = byte(r.Uint32() & r.Uint32())
		}
		m := newBitmask(b, n)
		count := 0
		for i := range n {
			if got := m.rank(i); got != count {
				t.Fatalf("n %d: rank(%d) = %d, want %d", n, i, got, count)
			}
			if b[i/8]>>(i%8)&1 != 0 {
				if got := m.find(count); got != i {
					t.Fatalf("n %d: find(%d) = %d, want %d", n, count, got, i)
				}
				count++
			}
		}
		if m.total() != count || m.rank(n) != count {
			t.Fatalf("n %d: total %d and %d, want %d", n, m.total(), m.rank(n), count)
		}
	}
}

func TestConstexprCast(t *testing.T) {
	half := &graph.Const{Type: graph.TensorOf(tensor.Float16, 3), Data: tensor.BytesOf([]uint16{0x3c00, 0xc000, 0x3555})}
	k := mustExpand(t, "constexpr_cast", graph.IOS16, args{"source_val": half, "output_dtype": stringOf("fp32")}, 1)[0]
	decodes(t, k, []int{3}, 1, -2, 0.333251953125)
	if k.Type.DType != tensor.Float32 {
		t.Errorf("dtype %v", k.Type.DType)
	}
}

// TestConstexprRefuses has one broken file for every rule.
func TestConstexprRefuses(t *testing.T) {
	u8 := func(n int) *graph.Const { return raw(tensor.UInt8, []int{n}, make([]int, n)...) }
	deep := floatsOf([]int{2}, 1, 2)
	for range maxParts - 1 {
		deep = &graph.Const{Type: deep.Type, Code: &castCode{deep}}
	}
	for _, c := range []struct {
		name  string
		opset graph.Opset
		a     args
		want  string
	}{
		{"constexpr_affine_dequantize", graph.IOS16, args{"quantized_data": u8(4), "zero_point": u8(3), "scale": floatsOf(nil, 1), "axis": intsOf(nil, 0)}, "zero_point: shape [3]"},
		{"constexpr_affine_dequantize", graph.IOS16, args{"quantized_data": u8(4), "zero_point": raw(tensor.UInt8, nil, 0), "scale": floatsOf(nil, 1), "axis": intsOf(nil, -2)}, "axis: -2"},
		{"constexpr_affine_dequantize", graph.IOS16, args{"quantized_data": live{u8(4)}, "zero_point": u8(4), "scale": floatsOf(nil, 1), "axis": intsOf(nil, 0)}, "want a constant"},
		{"constexpr_blockwise_shift_scale", graph.IOS18, args{"data": u8(4), "scale": floatsOf([]int{3}, 1, 2, 3)}, "want a divisor"},
		{"constexpr_blockwise_shift_scale", graph.IOS18, args{"data": u8(4), "scale": floatsOf([]int{0})}, "want a divisor"},
		{"constexpr_blockwise_shift_scale", graph.IOS18, args{"data": u8(4), "scale": floatsOf(nil, 1)}, "rank 0"},
		{"constexpr_blockwise_shift_scale", graph.IOS18, args{"data": u8(4), "scale": floatsOf([]int{1}, 1), "offset": u8(2)}, "offset: shape [2]"},
		{"constexpr_cast", graph.IOS18, args{"source_val": deep, "output_dtype": stringOf("fp32")}, "made of"},
		{"constexpr_cast", graph.IOS18, args{"source_val": floatsOf(nil, 1), "output_dtype": stringOf("fp16")}, "output_dtype"},
		{"constexpr_lut_to_dense", graph.IOS16, args{"indices": u8(1), "lut": floatsOf([]int{4}, 1, 2, 3, 4), "shape": intsOf([]int{1}, 5)}, "want 2 bytes"},
		{"constexpr_lut_to_dense", graph.IOS16, args{"indices": u8(1), "lut": floatsOf([]int{3}, 1, 2, 3), "shape": intsOf([]int{1}, 4)}, "lut: shape [3]"},
		{"constexpr_lut_to_dense", graph.IOS16, args{"indices": u8(1), "lut": floatsOf([]int{2}, 1, 2), "shape": intsOf([]int{2}, 1<<30, 1<<30)}, "too many elements"},
		{"constexpr_lut_to_dense", graph.IOS16, args{"indices": u8(1), "lut": floatsOf([]int{2}, 1, 2), "shape": intsOf([]int{1}, -1)}, "not a shape"},
		{"constexpr_lut_to_dense", graph.IOS18, args{"indices": u8(1), "lut": floatsOf([]int{1, 2, 1}, 1, 2)}, "2 entries"},
		{"constexpr_lut_to_dense", graph.IOS18, args{"indices": raw(tensor.UInt1, []int{2}, 0, 1), "lut": floatsOf([]int{1, 2, 2}, 1, 2, 3, 4)}, "vector_axis: absent"},
		{"constexpr_lut_to_dense", graph.IOS18, args{"indices": raw(tensor.UInt1, []int{2}, 0, 1), "lut": floatsOf([]int{1, 2, 2}, 1, 2, 3, 4), "vector_axis": intsOf(nil, 1)}, "vector_axis: 1"},
		{"constexpr_lut_to_dense", graph.IOS18, args{"indices": raw(tensor.UInt1, []int{2}, 0, 1), "lut": floatsOf([]int{1, 2, 0}), "vector_axis": intsOf(nil, 0)}, "vectors of 0"},
		{"constexpr_sparse_to_dense", graph.IOS16, args{"nonzero_data": floatsOf([]int{1}, 1), "mask": u8(1), "shape": intsOf([]int{1}, 8)}, "want [0]"},
		{"constexpr_sparse_to_dense", graph.IOS16, args{"nonzero_data": floatsOf([]int{0}), "mask": u8(1), "shape": intsOf([]int{1}, 9)}, "want 2 bytes"},
		{"constexpr_sparse_to_dense", graph.IOS18, args{"nonzero_data": floatsOf([]int{2}, 1, 2), "mask": raw(tensor.UInt1, []int{4}, 0, 0, 1, 0)}, "want [1]"},
		{"constexpr_sparse_to_dense", graph.IOS18, args{"nonzero_data": floatsOf([]int{1}, 1), "mask": u8(1)}, "mask of uint1"},
		{"constexpr_lut_to_sparse", graph.IOS18, args{"indices_mask": sparseMask(), "indices_nonzero_data": raw(tensor.UInt1, []int{2}, 0, 1), "lut": floatsOf([]int{1, 1, 2, 1}, 2, 3)}, "want [9]"},
	} {
		_, err := expand(c.name, c.opset, c.a, 1)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}
