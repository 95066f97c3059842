package tensor

import (
	"bytes"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Values that NumPy converted; see testdata/make.py.
func TestConvertMatchesNumpy(t *testing.T) {
	a, err := OpenNpz("testdata/conversions.npz")
	if err != nil {
		t.Fatal(err)
	}
	bits := a.Tensors["f2"]
	halves := Float16Of(Data[uint16](bits))
	for _, c := range []struct {
		from *Tensor
		want string
	}{
		{a.Tensors["wide"], "wide_f4"}, {a.Tensors["wide"], "wide_f2"},
		{a.Tensors["small"], "small_i1"}, {a.Tensors["small"], "small_i8"}, {a.Tensors["small"], "small_b1"},
		{a.Tensors["whole"], "whole_f4"}, {a.Tensors["whole"], "whole_f8"}, {a.Tensors["whole"], "whole_b1"},
		{halves, "f2_f4"},
	} {
		want := a.Tensors[c.want]
		got, err := c.from.Convert(want.DType())
		if err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		size := want.DType().Size()
		for i := range want.Len() {
			at := i * size
			g, w := got.Bytes()[at:at+size], want.Bytes()[at:at+size]
			// NumPy leaves signalling NaNs as they are.
			if !bytes.Equal(g, w) && !(c.want == "f2_f4" && math.IsNaN(float64(Data[float32](want)[i])) && math.IsNaN(float64(Data[float32](got)[i]))) {
				t.Errorf("%s: element %d: %x, want %x", c.want, i, g, w)
				break
			}
		}
	}
}

func TestConvertSmallIntegersThroughEveryType(t *testing.T) {
	values := make([]int64, 300) // more than one chunk
	for i := range values {
		values[i] = int64(i % 2)
	}
	source := Of(values, 3, 100)
	for from := Bool; from < String; from++ {
		mid, err := source.Convert(from)
		if !from.IsTarget() {
			if err == nil {
				t.Errorf("to %v: no error", from)
			}
			continue
		}
		if err != nil {
			t.Errorf("to %v: %v", from, err)
			continue
		}
		for to := Bool; to < String; to++ {
			if !to.IsTarget() {
				continue
			}
			there, err := mid.Convert(to)
			if err != nil {
				t.Errorf("%v to %v: %v", from, to, err)
				continue
			}
			back, err := there.Convert(Int64)
			if err != nil || !slices.Equal(Data[int64](back), values) || !EqualShape(back.Shape(), source.Shape()) {
				t.Errorf("%v to %v and back: %v, %v", from, to, back, err)
			}
		}
		if floats := mid.Float32s(); len(floats) != 300 || floats[0] != 0 || floats[299] != 1 {
			t.Errorf("%v: Float32s: %v", from, floats)
		}
	}
}

// The end of each integer type's range and what lies just past it, from floats
// and from integers.
func TestConvertChecksIntegerRange(t *testing.T) {
	for d := Bool; d < String; d++ {
		if !d.IsInt() {
			continue
		}
		lo, hi := intRange(d)
		greatest := new(big.Float).SetPrec(53).SetMode(big.ToZero).SetUint64(hi)
		inside, _ := greatest.Float64()
		fraction := 0.9
		if d.Bits() == 64 {
			fraction = 0
		}
		ok := Of([]float64{float64(lo), -0.9, math.Copysign(0, -1), inside + fraction})
		got, err := ok.Convert(d)
		if err != nil {
			t.Errorf("%v: %v", d, err)
			continue
		}
		want := []float64{float64(lo), 0, 0, inside}
		if back, err := got.Convert(Float64); err != nil || !slices.Equal(Data[float64](back), want) {
			t.Errorf("%v: %v, want %v", d, Data[float64](back), want)
		}
		if got, err := Of([]int64{lo, int64(min(hi, math.MaxInt64))}).Convert(d); err != nil {
			t.Errorf("%v: the ends of its range: %v, %v", d, got, err)
		}
		above := float64(hi)
		if d.Bits() < 64 {
			above++
		}
		below := float64(lo) - 1
		if d == Int64 {
			below = math.Nextafter(float64(lo), math.Inf(-1))
		}
		for _, f := range []float64{above, below, math.NaN(), math.Inf(1), math.Inf(-1)} {
			checkRefused(t, Of([]float64{0, 0, f}), d, "element 2")
		}
		if hi < math.MaxInt64 {
			checkRefused(t, Of([]int64{0, int64(hi) + 1}), d, "element 1")
		}
		if lo > math.MinInt64 {
			checkRefused(t, Of([]int64{0, lo - 1}), d, "element 1")
		}
		if hi < math.MaxUint64 {
			checkRefused(t, Of([]uint64{0, math.MaxUint64}), d, "element 1: 18446744073709551615")
		}
	}
	long := make([]float32, chunk+3)
	long[chunk+1] = 300
	checkRefused(t, Of(long), UInt8, "element 257: 300: want 0 to 255")
	checkRefused(t, Float16Of([]uint16{0x7e00}), Int32, "element 0: NaN")
}

func checkRefused(t *testing.T, from *Tensor, d DType, want string) {
	t.Helper()
	got, err := from.Convert(d)
	if err == nil {
		t.Errorf("%v to %v: %v", from, d, got.Bytes())
	} else if !strings.Contains(err.Error(), want) {
		t.Errorf("%v to %v: error %q, want %q in it", from, d, err, want)
	}
}

func TestConvertExtremes(t *testing.T) {
	check := func(from *Tensor, d DType, want ...float64) {
		t.Helper()
		got, err := from.Convert(d)
		if err != nil {
			t.Error(err)
			return
		}
		wide, err := got.Convert(Float64)
		if err != nil || !slices.Equal(Data[float64](wide), want) {
			t.Errorf("%v to %v: %v, want %v, %v", from, d, Data[float64](wide), want, err)
		}
	}
	inf := math.Inf(1)
	check(Of([]int32{70000, -70000, 65519, 2049, 2051}), Float16, inf, -inf, 65504, 2048, 2052)
	check(Of([]float64{1e300, -1e300}), Float32, inf, -inf)
	check(Of([]uint64{math.MaxUint64, 1<<63 + 1}), Float32, 0x1p64, 0x1p63)
	check(Of([]int64{math.MinInt64, math.MaxInt64}), Float64, -0x1p63, 0x1p63)
	check(Of([]float64{math.NaN(), math.Copysign(0, -1), 1e-300, -inf}), Bool, 1, 0, 1, 1)
	check(Of([]float64{0x1p63, 0x1.fffffffffffffp63}), UInt64, 0x1p63, 0x1.fffffffffffffp63)
	fp8, err := FromBytes(Float8E4M3FN, []int{3}, []byte{0x7e, 0x01, 0xb8})
	if err != nil {
		t.Fatal(err)
	}
	check(fp8, Float32, 448, 0x1p-9, -1)
	check(fp8, Int16, 448, 0, -1)
	int4, err := FromBytes(Int4, []int{3}, []byte{0x78, 0x0f})
	if err != nil {
		t.Fatal(err)
	}
	check(int4, Float32, -8, 7, -1)
	check(int4, Int8, -8, 7, -1)
}

// Integers of 64 bits become short floats by one rounding.
func TestConvertIntegersToBFloat16RoundsOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var values []int64
	for range 20_000 { // close to a midpoint between two bf16
		v := int64(1<<8|rng.IntN(1<<8))<<rng.IntN(54) + int64(rng.IntN(3)-1)
		values = append(values, v, -v)
	}
	got, err := Of(values).Convert(BFloat16)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range Data[uint16](got) {
		want, _ := new(big.Float).SetPrec(8).SetInt64(values[i]).Float32()
		if BF32(h) != want {
			t.Fatalf("%d: %v, want %v", values[i], BF32(h), want)
		}
	}
}

func TestConvertToItsOwnType(t *testing.T) {
	x := Of([]float32{1, 2})
	if y, err := x.Convert(Float32); y != x || err != nil {
		t.Errorf("%v, %v: want the tensor itself", y, err)
	}
	x.Float32s()[0] = 5
	if Data[float32](x)[0] != 5 {
		t.Error("Float32s of a Float32 tensor is no view")
	}
}

func TestConvertRefusesOtherTypes(t *testing.T) {
	for _, d := range []DType{String, Invalid, Float8E4M3FN, Float8E5M2, DType(77)} {
		checkRefused(t, Of([]float32{1}), d, "want numeric types")
	}
	checkRefused(t, &Tensor{}, Float32, "want numeric types")
	if f := (&Tensor{}).Float32s(); f != nil {
		t.Errorf("Float32s of the zero Tensor: %v", f)
	}
	if x, err := New(Float16, 0, 3).Convert(Int8); err != nil || x.Len() != 0 {
		t.Errorf("empty: %v, %v", x, err)
	}
}
