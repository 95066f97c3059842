package mlmodel

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"coreml/tensor"

	"github.com/google/go-cmp/cmp"
)

// golden is what coremltools says about a model; testdata/golden.py records it.
type golden struct {
	Path        string                  `json:"path"`
	Description json.RawMessage         `json:"description"`
	Weights     map[string]goldenWeight `json:"weights"`
}

type goldenWeight struct {
	DType  string `json:"dataType"`
	Count  int    `json:"count"`
	SHA256 string `json:"sha256"` // of the elements, each in whole bytes
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.golden.json")
	if err != nil || len(files) < 13 {
		t.Fatalf("%d goldens, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".golden.json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want golden
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			want.Path = testModel(t, filepath.Base(name))
			compareGolden(t, want)
		})
	}
}

// testModel is the path of the model of that name in testdata.
func testModel(t testing.TB, name string) string {
	t.Helper()
	for _, ending := range []string{".mlpackage", ".mlmodel"} {
		if path := filepath.Join("testdata", name+ending); exists(path) {
			return path
		}
	}
	t.Fatalf("no model %s in testdata", name)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestGoldenLines compares with a file of goldens made by golden.py --lines.
func TestGoldenLines(t *testing.T) {
	path := os.Getenv("COREML_GOLDENS")
	if path == "" {
		t.Skip("COREML_GOLDENS names no file of goldens")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	n := 0
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var want golden
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		compareGolden(t, want)
		n++
	}
	t.Logf("%d models compared", n)
}

func compareGolden(t *testing.T, want golden) {
	t.Helper()
	m, err := Open(want.Path)
	if err != nil {
		t.Error(err)
		return
	}
	defer m.Close()
	got, err := json.Marshal(m.Description)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(decodeJSON(t, want.Description), decodeJSON(t, got)); diff != "" {
		t.Errorf("%s: description (-coremltools +ours)\n%s", want.Path, diff)
	}
	for offset, w := range want.Weights {
		compareWeight(t, m, offset, w)
	}
}

func decodeJSON(t *testing.T, data []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&v); err != nil {
		t.Error(err)
	}
	return v
}

func compareWeight(t *testing.T, m *Model, offset string, want goldenWeight) {
	t.Helper()
	at, err := strconv.ParseUint(offset, 10, 64)
	if err != nil {
		t.Error(err)
		return
	}
	b, err := m.Blob("@model_path/weights/weight.bin", at)
	if err != nil {
		t.Error(err)
		return
	}
	sum := sha256.Sum256(wholeBytes(b))
	got := goldenWeight{b.DType.String(), b.Len(), hex.EncodeToString(sum[:])}
	if got != want {
		t.Errorf("%s: weight at %s is %v, want %v", m.Path, offset, got, want)
	}
}

// wholeBytes are the elements of b, those smaller than a byte unpacked.
func wholeBytes(b Blob) []byte {
	if !b.DType.IsSubByte() {
		return b.Data
	}
	elements := make([]uint8, b.Len())
	tensor.Unpack(elements, b.Data, b.DType.Bits(), b.DType.IsSigned(), 0)
	return elements
}

func TestOpenFSReadsTheSame(t *testing.T) {
	for _, name := range []string{"classifier", "states", "sparse", "pipeline"} {
		path := testModel(t, name)
		disk, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		memory, err := OpenFS(os.DirFS("."), filepath.ToSlash(path))
		if err != nil {
			t.Fatal(err)
		}
		defer memory.Close()
		if diff := cmp.Diff(disk.Description, memory.Description); diff != "" {
			t.Errorf("%s: description (-disk +memory)\n%s", path, diff)
		}
		a, errA := disk.Digest()
		b, errB := memory.Digest()
		if a != b || errA != nil || errB != nil {
			t.Errorf("%s: digests %s (%v) and %s (%v), want the same", path, a, errA, b, errB)
		}
		if memory.Path != "" || disk.Path != path {
			t.Errorf("paths %q and %q", disk.Path, memory.Path)
		}
	}
}

func TestDigestIsThatOfSHA256Sum(t *testing.T) {
	path := testModel(t, "dictionary")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := digest(t, path), fmt.Sprintf("sha256:%x", sha256.Sum256(data)); got != want {
		t.Errorf("digest of a file is %s, want %s", got, want)
	}
	// cd testdata/sparse.mlpackage && find * -type f | sort | xargs sha256sum | sha256sum
	if got := digest(t, testModel(t, "sparse")); got != sparseDigest {
		t.Errorf("digest of a package is %s, want %s", got, sparseDigest)
	}
}

func digest(t *testing.T, path string) string {
	t.Helper()
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	d, err := m.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const sparseDigest = "sha256:b8c9c50d925ad6086cba2fd391a687b32488f48a92b161fcea6ec166b69fdaa3"
