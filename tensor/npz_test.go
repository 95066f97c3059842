package tensor

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestOpenNpzOfNumpy(t *testing.T) {
	want := []struct{ name, text string }{
		{"b1", "tensor<bool, [3, 4]>"}, {"i1", "tensor<int8, [3, 4]>"}, {"u1", "tensor<uint8, [3, 4]>"},
		{"i2", "tensor<int16, [3, 4]>"}, {"u2", "tensor<uint16, [3, 4]>"}, {"i4", "tensor<int32, [3, 4]>"},
		{"u4", "tensor<uint32, [3, 4]>"}, {"i8", "tensor<int64, [3, 4]>"}, {"u8", "tensor<uint64, [3, 4]>"},
		{"f2", "tensor<fp16, [3, 4]>"}, {"f4", "tensor<fp32, [3, 4]>"}, {"f8", "tensor<fp64, [3, 4]>"},
		{"c0/fortran", "tensor<fp32, [2, 3, 5]>"}, {"c0/big", "tensor<fp32, [7]>"},
		{"scalar", "tensor<fp32, []>"}, {"empty", "tensor<int32, [3, 0]>"},
	}
	for _, file := range []string{"plain", "deflated"} {
		a, err := OpenNpz("testdata/" + file + ".npz")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if len(a.Names) != len(want) || len(a.Tensors) != len(want) {
			t.Errorf("%s: members %v, want %d", file, a.Names, len(want))
			continue
		}
		for i, w := range want {
			x := a.Tensors[w.name]
			if a.Names[i] != w.name || x == nil || x.String() != w.text {
				t.Errorf("%s: member %d is %s %v, want %s %s", file, i, a.Names[i], x, w.name, w.text)
				continue
			}
			if w.name == "scalar" {
				if Data[float32](x)[0] != -2.5 {
					t.Errorf("%s: scalar is %v", file, Data[float32](x))
				}
				continue
			}
			checkRamp(t, w.name, x)
		}
	}
}

func TestOpenNpzMissing(t *testing.T) {
	if _, err := OpenNpz(filepath.Join(t.TempDir(), "no.npz")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error: %v", err)
	}
}

func writeNpz(t testing.TB, names []string, m map[string]*Tensor) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := WriteNpz(&file, names, m); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func readNpzBytes(file []byte, limit int64) (*Archive, error) {
	return ReadNpz(bytes.NewReader(file), int64(len(file)), limit)
}

func TestWriteNpz(t *testing.T) {
	m := map[string]*Tensor{"b": Of([]int8{1, 2}), "a/x": Scalar(float32(3)), "c": New(UInt4, 3), "": New(Float64, 0)}
	for _, c := range []struct{ names, want []string }{
		{[]string{"b", "", "a/x"}, []string{"b", "", "a/x"}},
		{nil, []string{"", "a/x", "b", "c"}},
		{[]string{}, nil},
	} {
		file := writeNpz(t, c.names, m)
		if !bytes.Equal(file, writeNpz(t, c.names, m)) {
			t.Errorf("%v: not the same bytes again", c.names)
		}
		a, err := readNpzBytes(file, 100)
		if err != nil || !slices.Equal(a.Names, c.want) {
			t.Errorf("%v: %v, %v, want %v", c.names, a, err, c.want)
			continue
		}
		for _, name := range a.Names {
			x, want := a.Tensors[name], m[name]
			if want.DType() == UInt4 {
				want, _ = want.Convert(UInt8)
			}
			if x.String() != want.String() || !bytes.Equal(x.Bytes(), want.Bytes()) {
				t.Errorf("%q: %v, want %v", name, x, want)
			}
		}
	}
	for _, names := range [][]string{{"none"}, {"b", "b"}} {
		if err := WriteNpz(io.Discard, names, m); err == nil {
			t.Errorf("names %v: no error", names)
		}
	}
	if err := WriteNpz(io.Discard, nil, map[string]*Tensor{"s": {}}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("zero tensor: %v", err)
	}
}

type member struct {
	name   string
	method uint16
	data   []byte
}

func zipOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var file bytes.Buffer
	w := zip.NewWriter(&file)
	for _, m := range members {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: m.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestReadNpzRefusesHostileFiles(t *testing.T) {
	one := npyOf("<f4", "(2,)", 1, 2, 3, 4, 5, 6, 7, 8)
	good := zipOf(t, member{"x.npy", zip.Store, one}, member{"y.npy", zip.Deflate, one})
	if _, err := readNpzBytes(good, 16); err != nil {
		t.Fatalf("the archive that the cases vary: %v", err)
	}
	flipped := bytes.Clone(good)
	flipped[bytes.Index(good, one)+len(one)-1] ^= 1
	method := bytes.Clone(good) // in the central directory
	method[bytes.LastIndex(good, []byte("PK\x01\x02"))+10] = 99
	many := make([]member, npzMaxMembers+1)
	for i := range many {
		many[i] = member{fmt.Sprint(i, npySuffix), zip.Store, npyOf("<f4", "(0,)")}
	}
	if _, err := readNpzBytes(zipOf(t, many[1:]...), 16); err != nil {
		t.Errorf("as many members as may be: %v", err)
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
		text string
	}{
		{"empty", nil, ErrFormat, ""},
		{"no zip", one, ErrFormat, ""},
		{"over the limit together", zipOf(t, member{"x.npy", zip.Store, one}, member{"y.npy", zip.Store, one}, member{"z.npy", zip.Store, one}), ErrLimit, `member "z.npy"`},
		{"bomb", zipOf(t, member{"x.npy", zip.Deflate, npyOf("<f4", "(1000000,)", make([]byte, 4_000_000)...)}), ErrLimit, "want at most 16"},
		{"other name", zipOf(t, member{"x.txt", zip.Store, one}), ErrUnsupported, `"x.txt"`},
		{"folder", zipOf(t, member{"x.npy/", zip.Store, nil}), ErrUnsupported, ""},
		{"two of a name", zipOf(t, member{"x.npy", zip.Store, one}, member{"x.npy", zip.Store, one}), ErrFormat, "there are two"},
		{"bytes after the array", zipOf(t, member{"x.npy", zip.Store, append(bytes.Clone(one), 0)}), ErrFormat, "bytes after"},
		{"array short", zipOf(t, member{"x.npy", zip.Deflate, one[:len(one)-1]}), ErrFormat, "7 bytes of data, want 8"},
		{"no array", zipOf(t, member{"x.npy", zip.Store, []byte("hello, world")}), ErrFormat, ""},
		{"flipped bit", flipped, ErrFormat, "checksum"},
		{"other compression", method, ErrUnsupported, "method 99"},
		{"too many members", zipOf(t, many...), ErrLimit, "10001 members"},
	} {
		a, err := readNpzBytes(c.file, 16)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, error %v, want %v and %q", c.name, a, err, c.want, c.text)
		}
	}
	for n := range good {
		if a, err := readNpzBytes(good[:n], 16); err == nil {
			t.Fatalf("cut to %d bytes: %v", n, a)
		}
	}
}

// Names are keys, not paths: what would be unsafe to extract is fine to read.
func TestReadNpzTakesAnyName(t *testing.T) {
	t.Setenv("GODEBUG", "zipinsecurepath=0")
	m := map[string]*Tensor{"../../x": Of([]int8{1}), "/etc/y": Of([]int8{2}), `C:\z`: Of([]int8{3}), "ä\x00": Of([]int8{4})}
	a, err := readNpzBytes(writeNpz(t, nil, m), 100)
	if err != nil || len(a.Names) != len(m) {
		t.Fatalf("%v, %v", a, err)
	}
	for name, x := range m {
		if y := a.Tensors[name]; y == nil || !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("%q: %v", name, y)
		}
	}
}

func TestReadNpzBoundsTheDirectory(t *testing.T) {
	long := strings.Repeat("n", 60_000)
	members := make([]member, npzMaxDirectory/len(long)+1)
	for i := range members {
		members[i] = member{fmt.Sprint(i, long, npySuffix), zip.Store, nil}
	}
	if a, err := readNpzBytes(zipOf(t, members...), 1<<30); !errors.Is(err, ErrLimit) {
		t.Errorf("%v, %v, want ErrLimit", a, err)
	}
}

func TestReadNpzAllocatesWhatIsThere(t *testing.T) {
	header := npyOf("<f4", "(1000000000,)")
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		file := zipOf(t, member{"x.npy", method, append(bytes.Clone(header), make([]byte, 1000)...)})
		// The directory claims 4 GB as well.
		at := bytes.LastIndex(file, []byte("PK\x01\x02"))
		for i := range 4 {
			file[at+20+i], file[at+24+i] = 0xf0, 0xf0
		}
		allocated := allocates(func() {
			if a, err := readNpzBytes(file, math.MaxInt64); err == nil {
				t.Errorf("method %d: %v", method, a)
			}
		})
		if allocated > 2<<20 {
			t.Errorf("method %d: %d bytes allocated for a file of %d", method, allocated, len(file))
		}
	}
}

func FuzzNpz(f *testing.F) {
	for _, name := range []string{"plain", "deflated"} {
		data, err := os.ReadFile("testdata/" + name + ".npz")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	one := npyOf("<f4", "(2,)", 1, 2, 3, 4, 5, 6, 7, 8)
	f.Add(zipOf(f, member{"x.npy", zip.Store, one}, member{"y.npy", zip.Deflate, one}))
	f.Add(zipOf(f, member{"x.npy", zip.Store, one}, member{"x.npy", zip.Store, one}))
	f.Fuzz(func(t *testing.T, file []byte) {
		limit := int64(1 << 16)
		a, err := readNpzBytes(file, limit)
		if err != nil {
			checkReason(t, err)
			return
		}
		if len(a.Names) != len(a.Tensors) {
			t.Fatalf("%d names of %d tensors", len(a.Names), len(a.Tensors))
		}
		for _, name := range a.Names {
			checkSound(t, a.Tensors[name], limit)
			limit -= int64(len(a.Tensors[name].Bytes()))
		}
	})
}
