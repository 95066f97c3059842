package ops

import (
	"coreml/internal/graph"
	"coreml/tensor"
)

var constexprOps = []*graph.Op{
	{
		Name: "constexpr_affine_dequantize", Since: graph.IOS16,
		Doc: "A weight scale·(quantized_data - zero_point), with one scale for all or one per index of an axis.",
		Inputs: []graph.Input{
			graph.In("quantized_data", graph.Int), graph.In("zero_point", graph.Numeric),
			graph.In("scale", graph.Float), graph.In("axis", graph.Int),
		},
		Expand: expandAffine,
	},
	{
		Name: "constexpr_blockwise_shift_scale", Since: graph.IOS18,
		Doc: "A weight scale·(data - offset), with one scale per block; the blocks divide data along every axis.",
		Inputs: []graph.Input{
			graph.In("data", graph.Numeric), graph.In("scale", graph.Float), graph.Opt("offset", graph.Numeric),
		},
		Expand: expandBlockwise,
	},
	{
		Name: "constexpr_cast", Since: graph.IOS16,
		Doc:    "A float16 weight as float32.",
		Inputs: []graph.Input{graph.In("source_val", graph.Float), graph.In("output_dtype", graph.String)},
		Expand: expandCast,
	},
	{
		Name: "constexpr_lut_to_dense", Since: graph.IOS16,
		Doc: "A weight whose elements are bit-packed indices into one palette.",
		Inputs: []graph.Input{
			graph.In("indices", graph.Int), graph.In("lut", graph.Numeric), graph.In("shape", graph.Int),
		},
		Expand: expandFlatLut,
	},
	{
		Name: "constexpr_lut_to_dense", Since: graph.IOS18,
		Doc: "A weight whose elements, or vectors along vector_axis, are indices into the palette of their group.",
		Inputs: []graph.Input{
			graph.In("indices", graph.Int), graph.In("lut", graph.Numeric), graph.Opt("vector_axis", graph.Int),
		},
		Expand: expandLut,
	},
	{
		Name: "constexpr_lut_to_sparse", Since: graph.IOS18,
		Doc: "Looks the nonzero elements of a sparse weight up in palettes; gives the mask and the nonzero elements.",
		Inputs: []graph.Input{
			graph.In("indices_mask", graph.Int), graph.In("indices_nonzero_data", graph.Int),
			graph.In("lut", graph.Numeric), graph.Opt("vector_axis", graph.Int),
		},
		Expand: expandLutSparse,
	},
	{
		Name: "constexpr_sparse_blockwise_shift_scale", Since: graph.IOS18,
		Doc: "Dequantizes the nonzero elements of a sparse weight; gives the mask and the nonzero elements.",
		Inputs: []graph.Input{
			graph.In("data_mask", graph.Int), graph.In("nonzero_data", graph.Numeric),
			graph.In("scale", graph.Float), graph.Opt("offset", graph.Numeric),
		},
		Expand: expandBlockwiseSparse,
	},
	{
		Name: "constexpr_sparse_to_dense", Since: graph.IOS16,
		Doc: "A weight of which only the elements marked in a bit mask are kept; the others are zero.",
		Inputs: []graph.Input{
			graph.In("nonzero_data", graph.Numeric), graph.In("mask", graph.Int), graph.In("shape", graph.Int),
		},
		Expand: expandFlatSparse,
	},
	{
		Name: "constexpr_sparse_to_dense", Since: graph.IOS18,
		Doc:    "A weight of which only the elements marked in a bit mask are kept; the others are zero.",
		Inputs: []graph.Input{graph.In("nonzero_data", graph.Numeric), graph.In("mask", graph.Int)},
		Expand: expandSparse,
	},
}

// maxParts bounds the constants that one coded weight is made of, and so the
// depth of Decode. The deepest form in use, a sparse palettised weight with
// quantised palettes, has about ten.
const maxParts = 24

// coded makes the constant that a code stands for.
func coded(c *graph.Call, t graph.Type, k graph.Code) (*graph.Const, error) {
	if _, ok := tensor.Elements(t.Shape); !ok {
		return nil, c.Errorf(0, "a weight of shape %v: too many elements", t.Shape)
	}
	out := &graph.Const{Type: t, Code: k}
	if n := countParts(out); n > maxParts {
		return nil, c.Errorf(0, "a weight made of %d constants, want at most %d", n, maxParts)
	}
	return out, nil
}

func countParts(k *graph.Const) int {
	n := 1
	if k.Code != nil {
		for _, p := range k.Code.Parts() {
			n += countParts(p)
		}
	}
	return n
}

// codedSize is the number of bytes that constants occupy in the file.
func codedSize(parts ...*graph.Const) int64 {
	n := int64(0)
	for _, p := range parts {
		if p.Code != nil {
			n += p.Code.Size()
		} else {
			n += int64(len(p.Data))
		}
	}
	return n
}

// weightConst is the constant given as argument arg; nil if it is optional and absent.
func weightConst(c *graph.Call, arg int) (*graph.Const, error) {
	k, err := c.Const(arg)
	if err != nil {
		return nil, c.Errorf(arg, "computed at run time, want a constant")
	}
	if k != nil && k.Strings != nil {
		return nil, c.Errorf(arg, "strings, want numbers")
	}
	return k, nil
}

// weightConsts are the constants given as several arguments.
func weightConsts(c *graph.Call, args ...int) ([]*graph.Const, error) {
	out := make([]*graph.Const, len(args))
	for i, a := range args {
		k, err := weightConst(c, a)
		if err != nil {
			return nil, err
		}
		out[i] = k
	}
	return out, nil
}

// results checks that the operation has the outputs that the operator gives.
func results(c *graph.Call, ks ...*graph.Const) ([]*graph.Const, error) {
	if len(c.Out) != len(ks) {
		return nil, c.Errorf(0, "%d outputs, want %d", len(c.Out), len(ks))
	}
	return ks, nil
}

// weightShape reads the shape given as an argument.
func weightShape(c *graph.Call, arg int) (shape []int, elements int, err error) {
	shape, err = c.Ints(arg)
	if err != nil {
		return nil, 0, err
	}
	n, ok := tensor.Elements(shape)
	if !ok {
		return nil, 0, c.Errorf(arg, "%v: not a shape, or too many elements", shape)
	}
	return shape, n, nil
}

// castCode is a constant under another dtype.
type castCode struct{ Src *graph.Const }

func (k *castCode) Form() string                 { return k.Src.Type.DType.String() }
func (k *castCode) Decode(dst []float32, lo int) { k.Src.Decode(dst, lo) }
func (k *castCode) Size() int64                  { return codedSize(k.Parts()...) }
func (k *castCode) Parts() []*graph.Const        { return []*graph.Const{k.Src} }

func expandCast(c *graph.Call) ([]*graph.Const, error) {
	src, err := weightConst(c, 0)
	if err != nil {
		return nil, err
	}
	to, err := c.Str(1)
	if err != nil {
		return nil, err
	}
	if to != "fp32" {
		return nil, c.Errorf(1, "%q, want \"fp32\"", to)
	}
	out, err := coded(c, graph.TensorOf(tensor.Float32, src.Type.Shape...), &castCode{src})
	if err != nil {
		return nil, err
	}
	return results(c, out)
}
