package mlmodel

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coreml/internal/spec"
)

// refusal is an attack or a mishap, and how it has to end.
type refusal struct {
	name  string
	spoil func(p *testPackage)
	kind  error
	text  string // part of the message
}

func TestValidPackage(t *testing.T) {
	p := newPackage()
	copy(p.weights[128:], "\x00\x00\x80\x3f")
	m, err := Open(p.write(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Blob(weightFile, 64)
	if err != nil || b.DType.String() != "fp32" || b.Len() != 4 || string(b.Data[:4]) != "\x00\x00\x80\x3f" {
		t.Errorf("blob is %+v, %v", b, err)
	}
	if cap(b.Data) != 16 {
		t.Errorf("blob can be extended to %d bytes, want 16", cap(b.Data))
	}
	if _, err := m.Blob(modelPath+"weights/unused", 64); !errors.Is(err, ErrInvalid) {
		t.Errorf("a file that no value names: got %v, want ErrInvalid", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func checkRefusals(t *testing.T, refusals []refusal) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			p := newPackage()
			r.spoil(p)
			start := time.Now()
			m, err := Open(p.write(t))
			checkRefused(t, m, err, r.kind, r.text)
			m, err = OpenFS(p.memory(), "test.mlpackage")
			checkRefused(t, m, err, r.kind, r.text)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func checkRefused(t *testing.T, m *Model, err, kind error, text string) {
	t.Helper()
	if err == nil {
		m.Close()
		t.Fatalf("was read, want %v", kind)
	}
	if !errors.Is(err, kind) {
		t.Errorf("got %v, which is no %v", err, kind)
	}
	if !strings.Contains(err.Error(), text) {
		t.Errorf("got %q, want a text with %q", err, text)
	}
	if !strings.HasPrefix(err.Error(), "mlmodel: ") || strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 1000 {
		t.Errorf("text is not fit to be shown: %q", err)
	}
}

// Names of files that would lead out of the package.
var hostileNames = map[string]string{
	"parent":         "../secret",
	"parent twice":   "weights/../../secret",
	"hidden parent":  "weights/..",
	"absolute":       "/etc/passwd",
	"dot":            ".",
	"dot element":    "./weights/weight.bin",
	"double slash":   "weights//weight.bin",
	"trailing slash": "weights/",
	"backslash":      `weights\weight.bin`,
	"backslash up":   `..\secret`,
	"drive":          "C:/secret",
	"stream":         "weights/weight.bin:other",
	"NUL":            "weights/weight.bin\x00.txt",
	"empty":          "",
	"not UTF-8":      "weights/\xff",
	"too long":       strings.Repeat("a/", 3000) + "b",
}

func TestHostileWeightNames(t *testing.T) {
	var refusals []refusal
	add := func(name, file string) {
		refusals = append(refusals, refusal{name, func(p *testPackage) {
			p.model = newProgram(constOp(file, 64, spec.DataType_FLOAT32, 4))
		}, ErrInvalid, "want a "})
	}
	for name, file := range hostileNames {
		if name != "not UTF-8" { // no string of a model file can be that
			add(name, modelPath+file)
		}
	}
	add("no prefix", "weights/weight.bin")
	add("other prefix", "@other_path/weights/weight.bin")
	checkRefusals(t, refusals)
}

func TestHostileModelNames(t *testing.T) {
	var refusals []refusal
	for name, file := range hostileNames {
		if name == "not UTF-8" { // nor any in JSON
			continue
		}
		refusals = append(refusals, refusal{name, func(p *testPackage) { p.modelPath = file }, ErrInvalid, ""})
	}
	checkRefusals(t, refusals)
}

// Every place that can hold a value is checked, however deep.
func TestHostileNamesEverywhere(t *testing.T) {
	hostile := constOp(modelPath+"../secret", 64, spec.DataType_FLOAT32, 4)
	value := hostile.Attributes["val"]
	values := map[string]*spec.Value{"v": value}
	immediate := func(v *spec.Value_ImmediateValue) *spec.Value {
		return &spec.Value{Value: &spec.Value_ImmediateValue_{ImmediateValue: v}}
	}
	in := func(v *spec.Value) *spec.Model {
		return newProgram(&spec.Operation{Type: "const", Attributes: map[string]*spec.Value{"val": v}})
	}
	list := &spec.ListValue{Values: []*spec.Value{value}}
	tuple := &spec.TupleValue{Values: []*spec.Value{value}}
	key := &spec.DictionaryValue{Values: []*spec.DictionaryValue_KeyValuePair{{Key: value}}}
	pair := &spec.DictionaryValue{Values: []*spec.DictionaryValue_KeyValuePair{{Value: value}}}
	argument := &spec.Argument{Arguments: []*spec.Argument_Binding{
		{Binding: &spec.Argument_Binding_Name{Name: "x"}},
		{Binding: &spec.Argument_Binding_Value{Value: value}},
	}}
	block := &spec.Block{Operations: []*spec.Operation{hostile}}
	models := map[string]*spec.Model{
		"list":             in(immediate(&spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_List{List: list}})),
		"tuple":            in(immediate(&spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_Tuple{Tuple: tuple}})),
		"dictionary key":   in(immediate(&spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_Dictionary{Dictionary: key}})),
		"dictionary value": in(immediate(&spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_Dictionary{Dictionary: pair}})),
		"argument":         newProgram(&spec.Operation{Type: "conv", Inputs: map[string]*spec.Argument{"weight": argument}}),
		"inner block":      newProgram(&spec.Operation{Type: "cond", Blocks: []*spec.Block{block}}),
	}
	for _, name := range []string{"program", "function", "block"} {
		m := newProgram()
		f := m.GetMlProgram().Functions["main"]
		switch name {
		case "program":
			m.GetMlProgram().Attributes = values
		case "function":
			f.Attributes = values
		case "block":
			f.BlockSpecializations["CoreML7"].Attributes = values
		}
		models[name] = m
	}
	models["pipeline"] = &spec.Model{SpecificationVersion: 8, Description: &spec.ModelDescription{},
		Type: &spec.Model_Pipeline{Pipeline: &spec.Pipeline{Models: []*spec.Model{newProgram(hostile)}}}}
	var refusals []refusal
	for name, m := range models {
		refusals = append(refusals, refusal{name, func(p *testPackage) { p.model = m }, ErrInvalid, `"../secret"`})
	}
	checkRefusals(t, refusals)
}

// The numbers of the types are part of the format.
func TestBlobTypes(t *testing.T) {
	names := []string{"fp16", "fp32", "uint8", "int8", "bf16", "int16", "uint16", "int4", "uint1", "uint2", "uint4",
		"uint3", "uint6", "int32", "uint32", "fp8e4m3fn", "fp8e5m2"}
	for i, name := range names {
		const size = 24 // whole elements of every type
		b, err := readBlob(newWeights(record{dtype: uint32(i + 1), size: size, start: 128}, make([]byte, size)), 64)
		if err != nil || b.DType.String() != name || len(b.Data) != size || b.Len()*b.DType.Bits() != 8*size {
			t.Errorf("type %d: %d elements of %v, %v, want %s", i+1, b.Len(), b.DType, err, name)
		}
	}
}

func TestHostileWeights(t *testing.T) {
	type spoil = func(p *testPackage)
	withRecord := func(r record, data int) spoil {
		return func(p *testPackage) { p.weights = newWeights(r, make([]byte, data)) }
	}
	at := func(offset uint64) spoil {
		return func(p *testPackage) { p.model = newProgram(constOp(weightFile, offset, spec.DataType_FLOAT32, 4)) }
	}
	typed := func(dtype spec.DataType, dims ...uint64) spoil {
		return func(p *testPackage) { p.model = newProgram(constOp(weightFile, 64, dtype, dims...)) }
	}
	cut := func(n int) spoil {
		return func(p *testPackage) { p.weights = p.weights[:n] }
	}
	good := record{dtype: 2, size: 16, start: 128}
	with := func(change func(r *record)) spoil {
		r := good
		change(&r)
		return withRecord(r, 16)
	}
	checkRefusals(t, []refusal{
		{"absent", func(p *testPackage) { p.weights = nil }, ErrLoad, `weight.bin": is absent`},
		{"empty", cut(0), ErrInvalid, "is empty"},
		{"header cut", cut(63), ErrInvalid, "has 63 bytes: want a header"},
		{"record cut", cut(127), ErrInvalid, "past the end of the file, which has 127 bytes"},
		{"data cut", cut(143), ErrInvalid, "16 bytes at 128 are past the end of the file, which has 143"},
		{"version 1", func(p *testPackage) { p.weights[4] = 1 }, ErrUnsupported, "storage version 1"},
		{"offset past the end", at(1 << 20), ErrInvalid, "past the end"},
		{"offset at the end", at(192), ErrInvalid, "past the end"},
		{"offset near 2^64", at(math.MaxUint64 - 63), ErrInvalid, "past the end"},
		{"offset in the header", at(0), ErrInvalid, "a multiple of 64 after the header"},
		{"offset unaligned", at(65), ErrInvalid, "a multiple of 64"},
		{"wrong sentinel", with(func(r *record) { r.sentinel = 0xDEADBEEE }), ErrInvalid, "0xdeadbeee: want 0xdeadbeef"},
		{"type 0", with(func(r *record) { r.dtype = 0 }), ErrUnsupported, "element type 0"},
		{"type 18", with(func(r *record) { r.dtype = 18 }), ErrUnsupported, "element type 18"},
		{"type 2^32-1", with(func(r *record) { r.dtype = math.MaxUint32 }), ErrUnsupported, "element type"},
		{"size past the end", with(func(r *record) { r.size = 17 }), ErrInvalid, "past the end"},
		{"size 2^64-1", with(func(r *record) { r.size = math.MaxUint64 }), ErrInvalid, "past the end"},
		{"size wraps around", with(func(r *record) { r.size = math.MaxUint64 - 127 }), ErrInvalid, "past the end"},
		{"size of part of an element", with(func(r *record) { r.size = 15 }), ErrInvalid, "whole elements of fp32"},
		{"data past the end", with(func(r *record) { r.start = 1 << 40 }), ErrInvalid, "past the end"},
		{"data near 2^64", with(func(r *record) { r.start = math.MaxUint64 - 63 }), ErrInvalid, "past the end"},
		{"data in the header", with(func(r *record) { r.start = 0 }), ErrInvalid, "after the header"},
		{"data unaligned", with(func(r *record) { r.start = 129 }), ErrInvalid, "a multiple of 64"},
		{"padding of a byte", with(func(r *record) { r.dtype, r.padding = 11, 8 }), ErrInvalid, "8 bits of padding"},
		{"padding 2^64-1", with(func(r *record) { r.dtype, r.padding = 11, math.MaxUint64 }), ErrInvalid, "of padding"},
		{"padding of part of an element", with(func(r *record) { r.dtype, r.padding = 11, 3 }), ErrInvalid, "whole elements of uint4"},
		{"other type", typed(spec.DataType_INT32, 4), ErrInvalid, "4 elements of fp32: want 4 of int32"},
		{"unknown type", typed(spec.DataType(99), 4), ErrInvalid, "invalid"},
		{"more elements", typed(spec.DataType_FLOAT32, 5), ErrInvalid, "4 elements of fp32: want 5 of fp32"},
		{"fewer elements", typed(spec.DataType_FLOAT32, 3), ErrInvalid, "want 3"},
		{"elements wrap around", typed(spec.DataType_FLOAT32, 1<<32, 1<<32, 4), ErrInvalid, "4 elements"},
		{"2^64 elements", typed(spec.DataType_FLOAT32, 1<<20, 1<<20, 1<<24), ErrInvalid, "4 elements"},
		{"a million times nothing", typed(spec.DataType_FLOAT32, 1000, 1000, 0), ErrInvalid, "4 elements of fp32: want 0 of fp32"},
		{"dimension 2^64-1", typed(spec.DataType_FLOAT32, math.MaxUint64), ErrInvalid, "4 elements"},
		{"no tensor", func(p *testPackage) {
			op := constOp(weightFile, 64, spec.DataType_FLOAT32, 4)
			op.Attributes["val"].Type = nil
			p.model = newProgram(op)
		}, ErrInvalid, "not a tensor"},
		{"unknown dimension", func(p *testPackage) {
			op := constOp(weightFile, 64, spec.DataType_FLOAT32, 4)
			op.Attributes["val"].Type.GetTensorType().Dimensions[0] = &spec.Dimension{}
			p.model = newProgram(op)
		}, ErrInvalid, "4 elements"},
		{"too many files", func(p *testPackage) {
			var ops []*spec.Operation
			p.extra = map[string]string{}
			for i := range maxWeightFiles + 1 {
				name := fmt.Sprintf("weights/%d.bin", i)
				ops = append(ops, constOp(modelPath+name, 64, spec.DataType_FLOAT32, 4))
				p.extra["Data/com.apple.CoreML/"+name] = string(p.weights)
			}
			p.model = newProgram(ops...)
		}, ErrLimit, "more weight files"},
	})
}

// overlayManifest lists an overlay beside the model.
func overlayManifest(name, path string) []byte {
	return fmt.Appendf(nil, `{"fileFormatVersion":"1.0.0","rootModelIdentifier":"A","itemInfoEntries":{
		"A":{"path":"com.apple.CoreML/model.mlmodel"},"B":{"name":%q,"path":%q}}}`, name, path)
}

func withOverlay(name, contents string) func(p *testPackage) {
	return func(p *testPackage) {
		p.manifest = overlayManifest(name, "overlay")
		p.extra = map[string]string{"Data/overlay": contents}
	}
}

// What stands most often where a file of a model should.
func TestMishaps(t *testing.T) {
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
	checkRefusals(t, []refusal{
		{"model is a pointer", func(p *testPackage) { p.raw = []byte(pointer) }, ErrLoad, "model.mlmodel\": is a Git LFS pointer"},
		{"weights are a pointer", func(p *testPackage) { p.weights = []byte(pointer) }, ErrLoad, "weight.bin\": is a Git LFS pointer"},
		{"manifest is a pointer", func(p *testPackage) { p.manifest = []byte(pointer) }, ErrLoad, "Manifest.json: is a Git LFS pointer"},
		{"model is empty", func(p *testPackage) { p.raw = []byte{} }, ErrInvalid, "is empty"},
		{"manifest is empty", func(p *testPackage) { p.manifest = []byte{} }, ErrInvalid, "Manifest.json: is empty"},
		{"manifest is no JSON", func(p *testPackage) { p.manifest = []byte("{") }, ErrInvalid, "is not a manifest"},
		{"manifest of version 2", func(p *testPackage) { p.manifest = []byte(`{"fileFormatVersion":"2.0.0"}`) }, ErrUnsupported, `"2.0.0": want 1.0.0`},
		{"manifest without a root", func(p *testPackage) { p.manifest = []byte(`{"fileFormatVersion":"1.0.0"}`) }, ErrInvalid, "no rootModelIdentifier"},
		{"manifest with an unknown root", func(p *testPackage) {
			p.manifest = []byte(`{"fileFormatVersion":"1.0.0","rootModelIdentifier":"x"}`)
		}, ErrInvalid, `"x" is not among`},
		{"manifest names an absent file", func(p *testPackage) { p.modelPath = "com.apple.CoreML/none.mlmodel" }, ErrLoad, "none.mlmodel\": is absent"},
		{"manifest names a folder", func(p *testPackage) { p.modelPath = "com.apple.CoreML/dir" }, ErrInvalid, "is a folder"},
		{"manifest too large", func(p *testPackage) { p.manifest = make([]byte, maxManifestBytes+1) }, ErrLimit, "at most 1048576"},
		{"manifest nested deeply", func(p *testPackage) { p.manifest = []byte(strings.Repeat("[", 500000)) }, ErrInvalid, "not a manifest"},
		{"model is a web page", func(p *testPackage) { p.raw = []byte("<!DOCTYPE html><html>") }, ErrInvalid, "web page"},
		{"model is text", func(p *testPackage) { p.raw = []byte("Hello, world! This is not a model.") }, ErrInvalid, "want a Core ML model"},
		{"model without a type", func(p *testPackage) { p.model.Type = nil }, ErrUnsupported, "no model of a known type"},
		{"model of version 11", func(p *testPackage) { p.model.SpecificationVersion = 11 }, ErrUnsupported, "version 11: want at most 10"},
		{"model of version 0", func(p *testPackage) { p.model.SpecificationVersion = 0 }, ErrInvalid, "no specification version"},
		{"model without description", func(p *testPackage) { p.model.Description = nil }, ErrInvalid, "and description"},
		{"manifest with a foul name", func(p *testPackage) {
			p.manifest = []byte(`{"itemInfoEntries":{"\n` + strings.Repeat("x", 5000) + `":{"name":9}}}`)
		}, ErrInvalid, "unexpected JSON value at byte"},
		{"overlay is a pointer", withOverlay("FeatureDescriptions.json", pointer), ErrLoad, "Git LFS"},
		{"overlay is no JSON", withOverlay("FeatureDescriptions.json", "[1"), ErrInvalid, "is not an overlay"},
		{"overlay is too large", withOverlay("Metadata.json", strings.Repeat(" ", maxManifestBytes+1)), ErrLimit, "at most 1048576"},
		{"overlay outside", func(p *testPackage) {
			p.manifest = overlayManifest("Metadata.json", "../../secret")
		}, ErrInvalid, `"../../secret"`},
		{"overlay is a folder", func(p *testPackage) {
			p.manifest = overlayManifest("Metadata.json", "com.apple.CoreML/dir")
		}, ErrInvalid, "is a folder"},
		{"overlay listed twice", func(p *testPackage) {
			p.manifest = []byte(`{"fileFormatVersion":"1.0.0","rootModelIdentifier":"A","itemInfoEntries":{
				"A":{"path":"com.apple.CoreML/model.mlmodel"},
				"B":{"name":"Metadata.json","path":"a"},"C":{"name":"Metadata.json","path":"b"}}}`)
		}, ErrInvalid, "lists Metadata.json 2 times"},
	})
}

func TestMishapsOfThePathItself(t *testing.T) {
	dir := t.TempDir()
	model := encode(newProgram())
	path := func(name string) string { return filepath.Join(dir, name) }
	writeFile(t, path("archive.mlpackage"), []byte("PK\x03\x04rest of a zip file"))
	writeFile(t, path("packed.mlmodel"), []byte("\x1f\x8brest of a gzip file"))
	writeFile(t, path("compiled.mlmodelc/coremldata.bin"), []byte("x"))
	writeFile(t, path("renamed/model.mil"), []byte("x"))
	writeFile(t, path("bare.mlpackage/Data/model.mlmodel"), model)
	writeFile(t, path("two/a.mlmodel"), model)
	writeFile(t, path("two/b.mlmodel"), model)
	writeFile(t, path("inner/a.mlpackage/Data/model.mlmodel"), model)
	writeFile(t, path("none/readme.txt"), []byte("x"))
	for _, c := range []struct {
		name string
		kind error
		text string
	}{
		{"archive.mlpackage", ErrUnsupported, "is a zip archive: want the unpacked .mlpackage folder"},
		{"packed.mlmodel", ErrUnsupported, "is a gzip archive"},
		{"compiled.mlmodelc", ErrUnsupported, "is a compiled model"},
		{"renamed", ErrUnsupported, "is a compiled model"},
		{"bare.mlpackage", ErrInvalid, "has no Manifest.json"},
		{"two", ErrInvalid, `holds 2 models: want one of "a.mlmodel" "b.mlmodel"`},
		{"inner", ErrInvalid, `"a.mlpackage": has no Manifest.json`},
		{"none", ErrInvalid, "has no Manifest.json"},
		{"absent.mlmodel", ErrLoad, "cannot be opened"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Open(path(c.name))
			checkRefused(t, m, err, c.kind, c.text)
			m, err = OpenFS(os.DirFS(dir), c.name)
			checkRefused(t, m, err, c.kind, c.text)
		})
	}
}

func TestCheckName(t *testing.T) {
	for name, file := range hostileNames {
		if err := checkName("somewhere", file); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "somewhere: ") {
			t.Errorf("%s: got %v, want ErrInvalid that says where", name, err)
		}
	}
	if err := checkName("", "/etc/passwd"); !strings.Contains(err.Error(), "is absolute") {
		t.Errorf("got %v, want it to say that the name is absolute", err)
	}
	for _, file := range []string{"a", "com.apple.CoreML/weights/weight.bin", "..a/...", "a b/ä"} {
		if err := checkName("", file); err != nil {
			t.Error(err)
		}
	}
}

// A folder with one model stands for it, and so does a model file in a package.
func TestOpenByFolderAndByModelFile(t *testing.T) {
	pkg := newPackage().write(t)
	single := t.TempDir()
	writeFile(t, filepath.Join(single, "a.mlmodel"), encode(newProgram()))
	for _, name := range []string{filepath.Dir(pkg), single, filepath.Join(pkg, "Data/com.apple.CoreML/model.mlmodel")} {
		m, err := Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.Blob(weightFile, 64); err != nil && name != single {
			t.Error(err)
		}
		m.Close()
	}
}

func TestInspectDoesWithoutWeights(t *testing.T) {
	p := newPackage()
	p.weights = nil
	m, err := Inspect(p.write(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Kind != "mlProgram" || m.Description.Opset != "CoreML7" {
		t.Errorf("inspected as %s of opset %s", m.Kind, m.Description.Opset)
	}
	if _, err := m.Blob(weightFile, 64); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	if _, err := m.Blob("weights", 64); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}
