package tensor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// npyFile returns an npy file of version 1.0 with any header and data.
func npyFile(header string, data ...byte) []byte {
	b := append([]byte(npyMagic), 1, 0, byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), data...)
}

func npyOf(descr, shape string, data ...byte) []byte {
	return npyFile(fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape), data...)
}

// checkRamp wants the values 0, 1, 2, … less 5 where the type has a sign, which
// is what testdata/make.py writes; of a Bool, their last bits.
func checkRamp(t *testing.T, name string, x *Tensor) {
	t.Helper()
	wide, err := x.Convert(Float64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for i, got := range Data[float64](wide) {
		want := float64(i)
		switch {
		case x.DType() == Bool:
			want = float64(i % 2)
		case x.DType().IsFloat(), x.DType().IsSigned():
			want -= 5
		}
		if got != want {
			t.Fatalf("%s: element %d: %v, want %v", name, i, got, want)
		}
	}
}

func TestReadNpyOfNumpy(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"vector", "tensor<fp32, [6]>"},
		{"version2", "tensor<int16, [2, 3]>"},
		{"version3", "tensor<int16, [2, 3]>"}, // big-endian, Fortran order
	} {
		data, err := os.ReadFile("testdata/" + c.name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		rest := bytes.NewReader(append(data, "more"...))
		x, err := ReadNpy(rest, 24)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if x.String() != c.want || rest.Len() != 4 {
			t.Errorf("%s: %v with %d bytes left, want %s with 4", c.name, x, rest.Len(), c.want)
		}
		checkRamp(t, c.name, x)
	}
}

func TestReadNpyRefusesOtherTypesOfNumpy(t *testing.T) {
	for _, name := range []string{"text", "complex", "structured", "object"} {
		f, err := os.Open("testdata/refused_" + name + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		x, err := ReadNpy(f, 1<<20)
		f.Close()
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "tensor: npy: header: unsupported: descr: ") {
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
}

func TestWriteNpyAsNumpy(t *testing.T) {
	want, err := os.ReadFile("testdata/vector.npy")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := WriteNpy(&got, Of([]float32{-5, -4, -3, -2, -1, 0})); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%q, %v, want %q", got.Bytes(), err, want)
	}
}

func TestNpyKeepsEveryType(t *testing.T) {
	stored := map[DType]DType{
		BFloat16: Float32, Float8E4M3FN: Float32, Float8E5M2: Float32,
		Int4: Int8, UInt1: UInt8, UInt2: UInt8, UInt3: UInt8, UInt4: UInt8, UInt6: UInt8,
	}
	for d := Bool; d < String; d++ {
		for _, shape := range [][]int{{}, {1}, {5}, {2, 3}, {3, 0, 2}, {1, 2, 3, 4, 5}} {
			x := New(d, shape...)
			for i := range x.Bytes() {
				x.Bytes()[i] = byte(i % 2) // valid in every type, Bool too
			}
			var file bytes.Buffer
			if err := WriteNpy(&file, x); err != nil {
				t.Errorf("%v: %v", x, err)
				continue
			}
			want := x
			if s, ok := stored[d]; ok {
				want, _ = x.Convert(s)
			}
			if at := file.Len() - len(want.Bytes()); at%64 != 0 {
				t.Errorf("%v: data at %d, want a multiple of 64", x, at)
			}
			got, err := ReadNpy(&file, 1<<20)
			if err != nil || got.String() != want.String() || !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%v: back as %v, %v", x, got, err)
			}
		}
	}
	if err := WriteNpy(io.Discard, New(Int8, make([]int, npyMaxRank)...)); err != nil {
		t.Errorf("greatest rank: %v", err)
	}
	for _, x := range []*Tensor{{}, New(Int8, make([]int, 65)...)} {
		if err := WriteNpy(io.Discard, x); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: %v", x, err)
		}
	}
}

func TestReadNpyHeaders(t *testing.T) {
	for _, header := range []string{
		"{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2), }          \n",
		`{"shape":(1,2),"fortran_order":True,"descr":"<i2"}`,
		"{'descr': '<i2', 'fortran_order': False, 'shape': (1L, 2L)}",
		" { 'shape' : ( 1 , 2 , ) , 'descr' : '<i2' , 'fortran_order' : False } ",
	} {
		x, err := ReadNpy(bytes.NewReader(npyFile(header, 1, 2, 3, 4)), 4)
		if err != nil || !EqualShape(x.Shape(), []int{1, 2}) || Data[int16](x)[1] != 0x403 {
			t.Errorf("%q: %v, %v", header, x, err)
		}
	}
	dict := "{'descr': '<i2', 'fortran_order': False, 'shape': ()}"
	longest := append([]byte(npyMagic), 2, 0, 0, 0, 1, 0) // 1<<16 bytes
	longest = fmt.Appendf(longest, "%-*s\x01\x02", npyMaxHeader, dict)
	if x, err := ReadNpy(bytes.NewReader(longest), 2); err != nil || Data[int16](x)[0] != 0x201 {
		t.Errorf("longest header: %v, %v", x, err)
	}
	x, err := ReadNpy(bytes.NewReader(npyOf("|b1", "(3,)", 0, 1, 200)), 3)
	if err != nil || !bytes.Equal(x.Bytes(), []byte{0, 1, 1}) {
		t.Errorf("bool: %v, %v", x, err)
	}
}

func TestReadNpyRefusesHostileFiles(t *testing.T) {
	huge := "9" + strings.Repeat("0", 30)
	whole := npyOf("<f4", "(2,)", 0, 0, 0, 0, 0, 0, 0, 0)
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"empty", nil, ErrFormat},
		{"other magic", []byte("PK\x03\x04567890"), ErrFormat},
		{"version 4", append([]byte(npyMagic), 4, 0, 0, 0, 0, 0), ErrUnsupported},
		{"version 1.1", append([]byte(npyMagic), 1, 1, 0, 0, 0, 0), ErrUnsupported},
		{"header past the end", append([]byte(npyMagic), 1, 0, 255, 255, '{'), ErrFormat},
		{"header of 4 GiB", append([]byte(npyMagic), 2, 0, 255, 255, 255, 255, '{'), ErrFormat},
		{"version 2 cut", append([]byte(npyMagic), 2, 0, 5, 0, 0), ErrFormat},
		{"no dict", npyFile("[]"), ErrFormat},
		{"empty dict", npyFile("{}"), ErrFormat},
		{"open dict", npyFile("{'descr': '<f4', "), ErrFormat},
		{"open string", npyFile("{'descr: "), ErrFormat},
		{"no colon", npyFile("{'descr' '<f4'}"), ErrFormat},
		{"no comma", npyFile("{'descr': '<f4' 'fortran_order': False, 'shape': ()}"), ErrFormat},
		{"key twice", npyFile("{'descr': '<f4', 'descr': '<f4', 'shape': ()}"), ErrFormat},
		{"other key", npyFile("{'descr': '<f4', 'x': False, 'shape': ()}"), ErrFormat},
		{"key missing", npyFile("{'descr': '<f4', 'shape': ()}", 0, 0, 0, 0), ErrFormat},
		{"order is no bool", npyFile("{'descr': '<f4', 'fortran_order': 1, 'shape': ()}"), ErrFormat},
		{"text after dict", npyFile("{'descr': '<f4', 'fortran_order': False, 'shape': ()} x", 0, 0, 0, 0), ErrFormat},
		{"descr is no string", npyFile("{'descr': 4}"), ErrFormat},
		{"descr empty", npyOf("", "()"), ErrUnsupported},
		{"no byte order", npyOf("f4", "()", 0, 0, 0, 0), ErrUnsupported},
		{"no order of 4 bytes", npyOf("|f4", "()", 0, 0, 0, 0), ErrUnsupported},
		{"float of 16 bytes", npyOf("<f16", "()", make([]byte, 16)...), ErrUnsupported},
		{"negative dimension", npyOf("<f4", "(-1,)"), ErrFormat},
		{"int for tuple", npyOf("<f4", "(3)", make([]byte, 12)...), ErrFormat},
		{"open tuple", npyFile("{'shape': (3, 4"), ErrFormat},
		{"no comma between dimensions", npyOf("<f4", "(3 4)", make([]byte, 48)...), ErrFormat},
		{"huge dimension", npyOf("<f4", "("+huge+",)"), ErrFormat},
		{"2^64 elements", npyOf("<f4", "(4294967296, 4294967296)"), ErrFormat},
		{"2^64 bytes", npyOf("<f8", "(2305843009213693952,)"), ErrFormat},
		{"0 times 2^64", npyOf("<f8", "(0, 4294967296, 4294967296)"), ErrFormat},
		{"65 dimensions", npyOf("<f4", "("+strings.Repeat("1,", 65)+")", 0, 0, 0, 0), ErrUnsupported},
		{"over the limit", npyOf("<f4", "(257,)", make([]byte, 1028)...), ErrLimit},
		{"a byte short", whole[:len(whole)-1], ErrFormat},
	} {
		x, err := ReadNpy(bytes.NewReader(c.file), 1024)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, x, err, c.want)
		}
	}
	for n := range whole {
		if x, err := ReadNpy(bytes.NewReader(whole[:n]), 1024); !errors.Is(err, ErrFormat) {
			t.Fatalf("cut to %d bytes: %v, %v", n, x, err)
		}
	}
}

func TestReadNpyPassesReadErrorsOn(t *testing.T) {
	broken := errors.New("disk on fire")
	whole := npyOf("<f4", "(2,)", 0, 0, 0, 0, 0, 0, 0, 0)
	for _, n := range []int{0, 11, len(whole) - 1} {
		r := io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken))
		if _, err := ReadNpy(r, 1024); !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestReadNpyAllocatesWhatIsThere(t *testing.T) {
	const there = 3 << 20
	header := npyOf("<f4", "(1000000000,)")
	r := io.MultiReader(bytes.NewReader(header), io.LimitReader(zeros{}, there))
	allocated := allocates(func() {
		if _, err := ReadNpy(r, math.MaxInt64); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "3145728 bytes of data, want 4000000000") {
			t.Errorf("error: %v", err)
		}
	})
	if allocated > 4*there {
		t.Errorf("%d bytes allocated for %d", allocated, there)
	}
}

// Data that arrive in several steps of memory are put together in order.
func TestReadNpyOfSeveralSteps(t *testing.T) {
	values := make([]uint32, 3<<20/4+17)
	for i := range values {
		values[i] = uint32(i)
	}
	var file bytes.Buffer
	if err := WriteNpy(&file, Of(values)); err != nil {
		t.Fatal(err)
	}
	x, err := ReadNpy(iotest.HalfReader(&file), 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range Data[uint32](x) {
		if v != uint32(i) {
			t.Fatalf("element %d: %d", i, v)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzNpy(f *testing.F) {
	for _, name := range []string{"vector", "version2", "version3", "refused_text", "refused_structured"} {
		data, err := os.ReadFile("testdata/" + name + ".npy")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(npyOf(">f2", "(2, 0, 3)"))
	f.Add(npyFile(`{"shape":(1,2),"fortran_order":True,"descr":"|b1"}`, 1, 2))
	f.Fuzz(func(t *testing.T, file []byte) {
		const limit = 1 << 16
		x, err := ReadNpy(bytes.NewReader(file), limit)
		if err != nil {
			checkReason(t, err)
			return
		}
		checkSound(t, x, limit)
	})
}

// checkReason wants an error to say which kind it is.
func checkReason(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrLimit) {
		t.Errorf("error of no kind: %v", err)
	}
}

// checkSound wants a tensor to be consistent, within the limit, and the same
// after writing and reading.
func checkSound(t *testing.T, x *Tensor, limit int64) {
	t.Helper()
	again, err := FromBytes(x.DType(), x.Shape(), x.Bytes())
	if err != nil || again.Len() != x.Len() || int64(len(x.Bytes())) > limit {
		t.Fatalf("%v: %d elements, %d bytes: %v", x, x.Len(), len(x.Bytes()), err)
	}
	var file bytes.Buffer
	if err := WriteNpy(&file, x); err != nil {
		t.Fatal(err)
	}
	back, err := ReadNpy(&file, limit)
	if err != nil || back.String() != x.String() || !bytes.Equal(back.Bytes(), x.Bytes()) {
		t.Fatalf("%v: back as %v, %v", x, back, err)
	}
}
