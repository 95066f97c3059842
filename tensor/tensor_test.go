package tensor

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"unsafe"
)

func TestDTypes(t *testing.T) {
	for _, c := range []struct {
		d          DType
		name       string
		bits, size int
		float, int bool
	}{
		{Bool, "bool", 8, 1, false, false},
		{Int8, "int8", 8, 1, false, true},
		{UInt16, "uint16", 16, 2, false, true},
		{Int64, "int64", 64, 8, false, true},
		{Float16, "fp16", 16, 2, true, false},
		{BFloat16, "bf16", 16, 2, true, false},
		{Float32, "fp32", 32, 4, true, false},
		{Float64, "fp64", 64, 8, true, false},
		{Float8E4M3FN, "fp8e4m3fn", 8, 1, true, false},
		{Float8E5M2, "fp8e5m2", 8, 1, true, false},
		{Int4, "int4", 4, 0, false, true},
		{UInt1, "uint1", 1, 0, false, true},
		{UInt6, "uint6", 6, 0, false, true},
		{String, "string", 0, 0, false, false},
	} {
		d := c.d
		if d.String() != c.name || d.Bits() != c.bits || d.Size() != c.size || d.IsFloat() != c.float || d.IsInt() != c.int {
			t.Errorf("%v: %d bits, %d bytes, float %v, int %v; want %+v", d, d.Bits(), d.Size(), d.IsFloat(), d.IsInt(), c)
		}
		if d.IsSubByte() != (c.size == 0 && c.bits > 0) {
			t.Errorf("%v: IsSubByte %v", d, d.IsSubByte())
		}
	}
	for d := Bool; d <= String; d++ {
		if back, err := ParseDType(d.String()); err != nil || back != d {
			t.Errorf("ParseDType(%q) = %v, %v", d.String(), back, err)
		}
	}
	for _, s := range []string{"", "invalid", "float32", "FP32"} {
		if d, err := ParseDType(s); err == nil {
			t.Errorf("ParseDType(%q) = %v", s, d)
		}
	}
	if d := DType(200); d.Bits() != 0 || d.IsFloat() || d.IsInt() || d.String() != "dtype(200)" {
		t.Errorf("unknown dtype: %v, %d bits", d, d.Bits())
	}
}

func TestElements(t *testing.T) {
	for _, c := range []struct {
		shape []int
		n     int
		ok    bool
	}{
		{nil, 1, true},
		{[]int{0}, 0, true},
		{[]int{2, 3, 4}, 24, true},
		{[]int{5, 0, 7}, 0, true},
		{[]int{1 << 20, 1 << 20}, 1 << 40, true},
		{[]int{1<<40 + 1}, 0, false},
		{[]int{1 << 20, 1 << 20, 2}, 0, false},
		{[]int{1 << 32, 1 << 32}, 0, false},
		{[]int{0, 1 << 32, 1 << 32}, 0, false},
		{[]int{1 << 32, 1 << 32, 0}, 0, false},
		{[]int{math.MaxInt, math.MaxInt, math.MaxInt}, 0, false},
		{[]int{-1}, 0, false},
		{[]int{-1, -1}, 0, false},
		{[]int{0, -1}, 0, false},
		{[]int{math.MinInt}, 0, false},
	} {
		if n, ok := Elements(c.shape); n != c.n || ok != c.ok {
			t.Errorf("Elements(%v) = %d, %v, want %d, %v", c.shape, n, ok, c.n, c.ok)
		}
	}
}

func TestByteSize(t *testing.T) {
	for _, c := range []struct {
		d        DType
		n, bytes int
		ok       bool
	}{
		{Float32, 3, 12, true},
		{Bool, 9, 9, true},
		{Float64, 1 << 40, 1 << 43, true},
		{UInt1, 8, 1, true},
		{UInt1, 9, 2, true},
		{UInt3, 8, 3, true},
		{UInt3, 3, 2, true},
		{UInt6, 5, 4, true},
		{Int4, 3, 2, true},
		{Int4, 0, 0, true},
		{UInt6, 1 << 40, 6 << 37, true},
		{Float32, -1, 0, false},
		{Float32, 1<<40 + 1, 0, false},
		{String, 1, 0, false},
		{Invalid, 1, 0, false},
	} {
		if n, ok := ByteSize(c.d, c.n); n != c.bytes || ok != c.ok {
			t.Errorf("ByteSize(%v, %d) = %d, %v, want %d, %v", c.d, c.n, n, ok, c.bytes, c.ok)
		}
	}
}

func TestNewIsZeroAlignedAndExact(t *testing.T) {
	for n := range 200 {
		x := New(Int16, n)
		if len(x.Bytes()) != 2*n || cap(x.Bytes()) != 2*n || x.Len() != n {
			t.Fatalf("%v: %d bytes of %d, %d elements", x, len(x.Bytes()), cap(x.Bytes()), x.Len())
		}
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(x.Bytes()))); at%64 != 0 {
			t.Fatalf("%v: at %#x, want a multiple of 64", x, at)
		}
		if bytes.Trim(x.Bytes(), "\x00") != nil {
			t.Fatalf("%v: not zero", x)
		}
	}
}

func TestNewKeepsItsOwnShape(t *testing.T) {
	shape := []int{2, 3}
	x := New(Float32, shape...)
	y, err := x.Reshape(shape...)
	if err != nil {
		t.Fatal(err)
	}
	shape[0] = 100
	if !EqualShape(x.Shape(), []int{2, 3}) || !EqualShape(y.Shape(), []int{2, 3}) {
		t.Errorf("shapes %v and %v changed with the caller's", x.Shape(), y.Shape())
	}
}

func TestMakeRefuses(t *testing.T) {
	for _, c := range []struct {
		d     DType
		shape []int
	}{
		{Float32, []int{-1}}, {Float32, []int{1 << 41}}, {String, []int{1}}, {Invalid, nil}, {DType(99), nil},
	} {
		if x, err := Make(c.d, c.shape); err == nil {
			t.Errorf("Make(%v, %v) = %v", c.d, c.shape, x)
		}
		if !panics(func() { New(c.d, c.shape...) }) {
			t.Errorf("New(%v, %v): no panic", c.d, c.shape)
		}
	}
}

func TestFromBytes(t *testing.T) {
	data := []byte{1, 0, 2, 0, 3, 0}
	x, err := FromBytes(Int16, []int{3, 1}, data)
	if err != nil {
		t.Fatal(err)
	}
	if got := Data[int16](x); !slices.Equal(got, []int16{1, 2, 3}) {
		t.Errorf("elements %v", got)
	}
	data[0] = 7
	if Data[int16](x)[0] != 7 {
		t.Error("data were copied")
	}
	odd, err := FromBytes(Float32, []int{1}, []byte{9, 0, 0, 0x80, 0x3f}[1:])
	if err != nil || Data[float32](odd)[0] != 1 {
		t.Errorf("misaligned: %v, %v", Data[float32](odd), err)
	}
	for _, c := range []struct {
		d     DType
		shape []int
		data  []byte
	}{
		{Int16, []int{3}, data[:5]},
		{Int16, []int{2}, data},
		{UInt3, []int{3}, data[:1]},
		{Bool, []int{2}, []byte{1, 2}},
		{Bool, []int{1}, []byte{255}},
		{String, []int{1}, data},
		{Int8, []int{-1}, nil},
	} {
		if x, err := FromBytes(c.d, c.shape, c.data); err == nil {
			t.Errorf("FromBytes(%v, %v, %v) = %v", c.d, c.shape, c.data, x)
		}
	}
}

func TestOfViewsTheSlice(t *testing.T) {
	type pixel uint8
	values := []float32{1, 2, 3, 4}
	x := Of(values, 2, 2)
	values[3] = 9
	if x.DType() != Float32 || x.Len() != 4 || !EqualShape(x.Shape(), []int{2, 2}) || Data[float32](x)[3] != 9 {
		t.Errorf("%v: %v", x, Data[float32](x))
	}
	if x := Of(values); !EqualShape(x.Shape(), []int{4}) {
		t.Errorf("without shape: %v", x)
	}
	if x := Of([]pixel{5}); x.DType() != UInt8 || Data[pixel](x)[0] != 5 || Data[uint8](x)[0] != 5 {
		t.Errorf("named element type: %v", x)
	}
	if x := Of([]bool{true, false}); x.DType() != Bool || !bytes.Equal(x.Bytes(), []byte{1, 0}) {
		t.Errorf("bool: %v %v", x, x.Bytes())
	}
	if x := Float16Of([]uint16{0x3c00}, []int{}...); x.DType() != Float16 || len(x.Shape()) != 0 {
		t.Errorf("rank 0: %v", x)
	}
	if x := Scalar(int64(3)); len(x.Shape()) != 0 || Data[int64](x)[0] != 3 {
		t.Errorf("scalar: %v", x)
	}
	scalar := New(Float32)
	if x := Of(Data[float32](scalar), scalar.Shape()...); len(x.Shape()) != 0 {
		t.Errorf("shape of a scalar: %v", x)
	}
	for _, shape := range [][]int{{3}, {-4}, {-2, -2}, {1 << 62, 4}} {
		if !panics(func() { Of(values, shape...) }) {
			t.Errorf("Of 4 elements, shape %v: no panic", shape)
		}
	}
}

func TestDataOnlyOfItsOwnType(t *testing.T) {
	if Data[int32](New(Float32, 2)) != nil || Data[uint8](New(Int8, 2)) != nil || Data[uint8](New(UInt4, 2)) != nil ||
		Data[uint8](New(Bool, 2)) != nil || Data[int16](New(Float16, 2)) != nil || Data[float32](&Tensor{}) != nil {
		t.Error("a view of another type")
	}
	if len(Data[uint16](New(Float16, 2))) != 2 || len(Data[uint16](New(BFloat16, 2))) != 2 || len(Data[uint8](New(Float8E5M2, 2))) != 2 {
		t.Error("no view of a short float's bits")
	}
	empty, err := FromBytes(Float32, []int{0}, nil)
	if err != nil || Data[float32](empty) == nil || Data[float32](Of([]float32(nil))) == nil || Data[float32](New(Float32, 0)) == nil {
		t.Error("the view of an empty tensor is nil")
	}
}

func TestReshapeAndClone(t *testing.T) {
	x := Of([]int32{1, 2, 3, 4, 5, 6}, 2, 3)
	y, err := x.Reshape(3, 2)
	if err != nil || !EqualShape(y.Shape(), []int{3, 2}) {
		t.Fatalf("%v, %v", y, err)
	}
	z := y.Clone()
	Data[int32](x)[0] = 42
	if Data[int32](y)[0] != 42 || Data[int32](z)[0] != 1 || !EqualShape(z.Shape(), []int{3, 2}) || z.DType() != Int32 {
		t.Errorf("reshaped %v, cloned %v", Data[int32](y), Data[int32](z))
	}
	for _, shape := range [][]int{{5}, {}, {-2, -3}, {6, 0}} {
		if y, err := x.Reshape(shape...); err == nil {
			t.Errorf("%v reshaped to %v", x, y)
		}
	}
	if got := x.String(); got != "tensor<int32, [2, 3]>" {
		t.Errorf("String: %s", got)
	}
}

func TestViewAndBytesOf(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7}
	v := View[uint16](b)
	if !slices.Equal(v, []uint16{0x201, 0x403, 0x605}) {
		t.Errorf("view: %#x", v)
	}
	v[0] = 0xffff
	if !bytes.Equal(BytesOf(v), []byte{255, 255, 3, 4, 5, 6}) || b[0] != 255 {
		t.Errorf("bytes: %v of %v", BytesOf(v), b)
	}
	if len(View[float64](b)) != 0 || len(View[int8](nil)) != 0 || len(BytesOf([]float32(nil))) != 0 {
		t.Error("a view of too few bytes has elements")
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(Aligned(100)))); at%64 != 0 {
		t.Errorf("Aligned: at %#x", at)
	}
}
