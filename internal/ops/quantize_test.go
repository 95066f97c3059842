package ops

import (
	"math"
	"slices"
	"testing"

	"coreml/internal/graph"
	"coreml/tensor"
)

func TestQuantize(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	x := live{floatsOf([]int{2, 5}, -0.5, 0.5, 1.5, 2.5, 1000, inf, -inf, nan, -3, 0.49)}
	got := runOp(t, "quantize", args{"input": x, "scale": floatsOf(nil, 1), "output_dtype": stringOf("int8")}, 1)[0]
	if want := []int32{0, 0, 2, 2, 127, 127, -128, 0, -3, 0}; !slices.Equal(got.i32(), want) {
		t.Errorf("int8: %v, want %v", got.i32(), want)
	}
	if got.Type.DType != tensor.Int8 {
		t.Errorf("dtype %v", got.Type.DType)
	}
	got = runOp(t, "quantize", args{"input": x, "scale": floatsOf([]int{2}, 0.5, 2), "zero_point": raw(tensor.UInt8, []int{2}, 3, 200),
		"axis": intsOf(nil, 0), "output_dtype": stringOf("uint8")}, 1)[0]
	if want := []int32{2, 4, 6, 8, 255, 255, 0, 200, 198, 200}; !slices.Equal(got.i32(), want) {
		t.Errorf("uint8: %v, want %v", got.i32(), want)
	}
	_, err := tryOp("quantize", graph.IOS17, args{"input": x, "scale": floatsOf([]int{3}, 1, 2, 3), "axis": intsOf(nil, 1), "output_dtype": stringOf("int8")}, 1)
	if err == nil {
		t.Error("3 scales for 5 indices are accepted")
	}
	_, err = tryOp("quantize", graph.IOS17, args{"input": x, "scale": floatsOf(nil, 1), "output_dtype": stringOf("int4")}, 1)
	if err == nil {
		t.Error("int4 is accepted")
	}
}

func TestDequantize(t *testing.T) {
	x := live{raw(tensor.Int8, []int{2, 3}, -128, 0, 127, 1, 2, 3)}
	got := runOp(t, "dequantize", args{"input": x, "scale": floatsOf(nil, 0.5), "zero_point": raw(tensor.Int8, nil, -1)}, 1)[0]
	near(t, got, []int{2, 3}, []float32{-63.5, 0.5, 64, 1, 1.5, 2}, 0)
	got = runOp(t, "dequantize", args{"input": x, "scale": floatsOf([]int{3}, 1, 10, 100), "axis": intsOf(nil, -1)}, 1)[0]
	near(t, got, []int{2, 3}, []float32{-128, 0, 12700, 1, 20, 300}, 0)
	for _, bad := range []args{
		{"scale": floatsOf([]int{3}, 1, 2, 3)},
		{"scale": floatsOf([]int{3}, 1, 2, 3), "axis": intsOf(nil, 2)},
		{"scale": floatsOf(nil, 1), "zero_point": raw(tensor.Int8, []int{1}, 0)},
	} {
		bad["input"] = x
		if _, err := tryOp("dequantize", graph.IOS17, bad, 1); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}
