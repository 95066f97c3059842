package mlmodel

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"coreml/internal/spec"

	"google.golang.org/protobuf/proto"
)

// testPackage is a package that tests spoil before it is written.
type testPackage struct {
	modelPath string // as the manifest says
	manifest  []byte // nil: one that names modelPath
	model     *spec.Model
	raw       []byte // nil: model, encoded
	weights   []byte // nil: no file
	extra     map[string]string
}

const weightFile = modelPath + "weights/weight.bin"

// newPackage is a valid package: one constant of 4 float32 in a weight file.
func newPackage() *testPackage {
	return &testPackage{
		modelPath: "com.apple.CoreML/model.mlmodel",
		model:     newProgram(constOp(weightFile, 64, spec.DataType_FLOAT32, 4)),
		weights:   newWeights(record{dtype: 2, size: 16, start: 128}, make([]byte, 16)),
	}
}

func (p *testPackage) files() map[string][]byte {
	manifest := p.manifest
	if manifest == nil {
		manifest = fmt.Appendf(nil, `{"fileFormatVersion":"1.0.0","rootModelIdentifier":"A","itemInfoEntries":{
			"A":{"name":"model.mlmodel","author":"com.apple.CoreML","path":%q},
			"B":{"name":"weights","author":"com.apple.CoreML","path":"com.apple.CoreML/weights"}}}`, p.modelPath)
	}
	raw := p.raw
	if raw == nil {
		raw = encode(p.model)
	}
	files := map[string][]byte{
		"Manifest.json":                        manifest,
		"Data/com.apple.CoreML/model.mlmodel":  raw,
		"Data/com.apple.CoreML/other.mlmodel":  raw,
		"Data/com.apple.CoreML/dir/x.mlmodel":  raw,
		"Data/com.apple.CoreML/weights/unused": []byte("unused"),
	}
	if p.weights != nil {
		files["Data/com.apple.CoreML/weights/weight.bin"] = p.weights
	}
	for name, text := range p.extra {
		files[name] = []byte(text)
	}
	return files
}

// write puts the package on disk and gives its path.
func (p *testPackage) write(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "test.mlpackage")
	for name, data := range p.files() {
		writeFile(t, filepath.Join(dir, name), data)
	}
	return dir
}

// memory is the package in a file system.
func (p *testPackage) memory() fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, data := range p.files() {
		fsys["test.mlpackage/"+name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func encode(m proto.Message) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return data
}

func newProgram(ops ...*spec.Operation) *spec.Model {
	block := &spec.Block{Operations: ops}
	function := &spec.Function{Opset: "CoreML7", BlockSpecializations: map[string]*spec.Block{"CoreML7": block}}
	program := &spec.Program{Version: 1, Functions: map[string]*spec.Function{"main": function}}
	return &spec.Model{
		SpecificationVersion: 8,
		Description:          &spec.ModelDescription{},
		Type:                 &spec.Model_MlProgram{MlProgram: program},
	}
}

// constOp is a const operation whose value is in a weight file.
func constOp(file string, offset uint64, dtype spec.DataType, dims ...uint64) *spec.Operation {
	t := tensorType(dtype, dims...)
	return &spec.Operation{
		Type:    "const",
		Outputs: []*spec.NamedValueType{{Name: "w", Type: t}},
		Attributes: map[string]*spec.Value{"val": {
			Type:  t,
			Value: &spec.Value_BlobFileValue_{BlobFileValue: &spec.Value_BlobFileValue{FileName: file, Offset: offset}},
		}},
	}
}

func tensorType(dtype spec.DataType, dims ...uint64) *spec.ValueType {
	t := &spec.TensorType{DataType: dtype, Rank: int64(len(dims))}
	for _, n := range dims {
		constant := &spec.Dimension_ConstantDimension{Size: n}
		t.Dimensions = append(t.Dimensions, &spec.Dimension{Dimension: &spec.Dimension_Constant{Constant: constant}})
	}
	return &spec.ValueType{Type: &spec.ValueType_TensorType{TensorType: t}}
}

// record is the metadata record of a weight.
type record struct {
	sentinel             uint32 // 0: the right one
	dtype                uint32
	size, start, padding uint64
}

// newWeights is a weight file with one record, at 64, and its data.
func newWeights(r record, data []byte) []byte {
	if r.sentinel == 0 {
		r.sentinel = blobSentinel
	}
	le := binary.LittleEndian
	file := make([]byte, 128, 128+len(data))
	le.PutUint32(file[0:], 1)
	le.PutUint32(file[4:], blobVersion)
	le.PutUint32(file[64:], r.sentinel)
	le.PutUint32(file[68:], r.dtype)
	le.PutUint64(file[72:], r.size)
	le.PutUint64(file[80:], r.start)
	le.PutUint64(file[88:], r.padding)
	return append(file, data...)
}
