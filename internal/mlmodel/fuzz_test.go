package mlmodel

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"coreml/internal/spec"
)

// testModelFiles are the model files in testdata.
func testModelFiles(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"testdata/*.mlmodel", "testdata/*.mlpackage/Data/com.apple.CoreML/model.mlmodel"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 13 {
		t.Fatalf("%d model files in testdata, want 13", len(files))
	}
	return files
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// openInMemory opens a model and holds it to what is promised of every file.
func openInMemory(t *testing.T, fsys fstest.MapFS, name string, size int) {
	before := allocated()
	m, err := OpenFS(fsys, name)
	if used, limit := allocated()-before, uint64(budgetFixed+budgetPerByte*size); used > limit {
		t.Errorf("allocated %d bytes, want at most %d", used, limit)
	}
	checkSentinel(t, err)
	if err != nil {
		return
	}
	if _, err := json.Marshal(m.Description); err != nil {
		t.Errorf("description: %v", err)
	}
	for _, f := range m.Description.Functions {
		if _, err := FunctionNamed(m.Description, f.Name); err != nil {
			t.Error(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzModel reads and describes a single model file.
func FuzzModel(f *testing.F) {
	for _, name := range testModelFiles(f) {
		f.Add(readFile(f, name))
	}
	for _, bomb := range bombs() {
		f.Add(bomb(64))
	}
	f.Add(encode(newPackage().model))
	for _, dims := range [][]uint64{{1 << 20, 1 << 20, 1 << 24}, {1000, 1000, 0}} {
		f.Add(encode(newProgram(constOp(weightFile, 64, spec.DataType_FLOAT32, dims...))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		openInMemory(t, fstest.MapFS{"m.mlmodel": {Data: data}}, "m.mlmodel", len(data))
	})
}

// FuzzManifest reads a package whose manifest and overlay are arbitrary.
func FuzzManifest(f *testing.F) {
	p := newPackage()
	f.Add(p.files()["Manifest.json"], []byte(`{"MLModelAuthorKey":"A","MLModelCreatorDefinedKey":{"a":"b"}}`))
	f.Add(readFile(f, "testdata/states.mlpackage/Manifest.json"), []byte(`{"Inputs":{"x":{"MLFeatureShortDescription":"X"}}}`))
	f.Add([]byte(`{"fileFormatVersion":"1.0.0","rootModelIdentifier":"A","itemInfoEntries":{"A":{"path":"com.apple.CoreML/model.mlmodel"},
		"B":{"name":"Metadata.json","path":"o"},"C":{"name":"FeatureDescriptions.json","path":"o"}}}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, manifest, overlay []byte) {
		p.manifest, p.extra = manifest, map[string]string{"Data/o": string(overlay)}
		openInMemory(t, p.memory(), "test.mlpackage", len(manifest)+len(overlay))
	})
}

// FuzzBlob reads a weight at any place of a file.
func FuzzBlob(f *testing.F) {
	for _, name := range []string{"palette3", "palette6", "sparse", "optional"} {
		f.Add(readFile(f, "testdata/"+name+".mlpackage/Data/com.apple.CoreML/weights/weight.bin"), uint64(64))
	}
	f.Add(newWeights(record{dtype: 11, size: 2, start: 128, padding: 4}, make([]byte, 2)), uint64(64))
	f.Fuzz(func(t *testing.T, file []byte, offset uint64) {
		if err := checkBlobHeader(file); err != nil {
			checkSentinel(t, err)
			return
		}
		b, err := readBlob(file, offset)
		if err != nil {
			checkSentinel(t, err)
			return
		}
		start := binary.LittleEndian.Uint64(file[offset+16:])
		if uint64(len(b.Data)) > uint64(len(file))-start || cap(b.Data) != len(b.Data) {
			t.Errorf("%d bytes at %d of %d", len(b.Data), start, len(file))
		}
		if 8*len(b.Data) != b.Len()*b.DType.Bits()+b.PaddingBits {
			t.Errorf("%d elements of %v and %d bits in %d bytes", b.Len(), b.DType, b.PaddingBits, len(b.Data))
		}
	})
}

// FuzzPackage reads a package whose model and weights are arbitrary.
func FuzzPackage(f *testing.F) {
	p := newPackage()
	f.Add(encode(p.model), p.weights)
	for _, name := range []string{"palette3", "palette6", "sparse", "optional"} {
		dir := "testdata/" + name + ".mlpackage/Data/com.apple.CoreML/"
		f.Add(readFile(f, dir+"model.mlmodel"), readFile(f, dir+"weights/weight.bin"))
	}
	f.Fuzz(func(t *testing.T, model, weights []byte) {
		p := newPackage()
		p.raw, p.weights = model, weights
		openInMemory(t, p.memory(), "test.mlpackage", len(model))
	})
}

// FuzzName finds no name that passes the check and leads out of a folder.
func FuzzName(f *testing.F) {
	for _, name := range hostileNames {
		f.Add(name)
	}
	f.Add("weights/weight.bin")
	f.Fuzz(func(t *testing.T, name string) {
		if err := checkName("", name); err != nil {
			checkSentinel(t, err)
			return
		}
		local, err := filepath.Localize(name)
		if err != nil || !filepath.IsLocal(local) {
			t.Errorf("%q: local name %q, %v", name, local, err)
		}
	})
}
