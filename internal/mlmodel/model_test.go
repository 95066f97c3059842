package mlmodel

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"coreml/internal/spec"
	"coreml/schema"

	"github.com/google/go-cmp/cmp"
)

func TestDiscardKeepsTheContents(t *testing.T) {
	const size = 1 << 16
	p := newPackage()
	p.model = newProgram(constOp(weightFile, 64, spec.DataType_FLOAT32, size/4))
	p.weights = newWeights(record{dtype: 2, size: size, start: 128}, bytes.Repeat([]byte("data"), size/4))
	disk, err := Open(p.write(t))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	memory, err := OpenFS(p.memory(), "test.mlpackage")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	for _, m := range []*Model{disk, memory} {
		b, err := m.Blob(weightFile, 64)
		if err != nil {
			t.Fatal(err)
		}
		m.Discard(b.Data)
		m.Discard(b.Data[:1])
		m.Discard(nil)
		m.Discard(make([]byte, size)) // not of the model
		if !bytes.Equal(b.Data, bytes.Repeat([]byte("data"), size/4)) {
			t.Error("the contents are gone")
		}
	}
}

func TestContains(t *testing.T) {
	b := make([]byte, 100)
	for _, c := range []struct {
		whole, part []byte
		want        bool
	}{
		{b, b, true}, {b[:50], b[10:50], true}, {b[:50], b[10:51], false},
		{b[10:], b[9:20], false}, {b[:50], b[50:60], false}, {b, nil, false}, {nil, b, false},
	} {
		if got := contains(c.whole, c.part); got != c.want {
			t.Errorf("part at %d of %d: %v, want %v", len(c.part), len(c.whole), got, c.want)
		}
	}
}

// Weights can be viewed as they are only at aligned addresses.
func TestReadAligned(t *testing.T) {
	for _, size := range []int{1, 63, 4096, 1<<20 + 1, 5 << 20} {
		want := bytes.Repeat([]byte{1, 2, 3}, size/3+1)[:size]
		for _, claim := range []int{size, size + 10, 1 << 40} {
			got, spent, err := readAligned(bytes.NewReader(want), claim)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes claimed to be %d: read %d, %v", size, claim, len(got), err)
			}
			if spent > int64(7*size+4<<20) {
				t.Errorf("%d bytes claimed to be %d: allocated %d", size, claim, spent)
			}
		}
		if got, _, err := readAligned(bytes.NewReader(want), size-1); err != nil || len(got) != size-1 {
			t.Errorf("%d bytes claimed to be one less: read %d, %v", size, len(got), err)
		}
	}
	if _, _, err := readAligned(iotest.ErrReader(io.ErrClosedPipe), 10); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

// brokenFS fails in one way after the other.
type brokenFS struct {
	fs.FS
	fail string // open, read or stat
}

func (b brokenFS) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".bin") {
		return f, err
	}
	if b.fail == "open" {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return brokenFile{f, b.fail}, nil
}

type brokenFile struct {
	fs.File
	fail string
}

func (b brokenFile) Stat() (fs.FileInfo, error) {
	if b.fail == "stat" {
		return nil, fs.ErrPermission
	}
	return b.File.Stat()
}

func (b brokenFile) Read(p []byte) (int, error) {
	if b.fail == "read" {
		return 0, fs.ErrPermission
	}
	return b.File.Read(p)
}

func TestUnreadableFiles(t *testing.T) {
	for _, fail := range []string{"open", "read", "stat"} {
		m, err := OpenFS(brokenFS{newPackage().memory(), fail}, "test.mlpackage")
		checkRefused(t, m, err, ErrLoad, "weight.bin\": cannot be read: permission denied")
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got %v, want fs.ErrPermission", fail, err)
		}
	}
}

func TestDigestFails(t *testing.T) {
	p := newPackage()
	p.extra = map[string]string{"Data/a\nb": "x"}
	m, err := OpenFS(p.memory(), "test.mlpackage")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Digest(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a name of two lines: got %v, want ErrInvalid", err)
	}
	m.tree.files = brokenFS{newPackage().memory(), "read"}
	if _, err := m.Digest(); !errors.Is(err, ErrLoad) {
		t.Errorf("a file that cannot be read: got %v, want ErrLoad", err)
	}
}

// The digest of a bare model file takes in its weights.
func TestDigestCoversTheWeights(t *testing.T) {
	p := newPackage()
	read := func() string {
		return digest(t, filepath.Join(p.write(t), "Data/com.apple.CoreML/model.mlmodel"))
	}
	before := read()
	p.weights[130] ^= 1
	if read() == before {
		t.Error("the digest does not depend on the weights")
	}
}

func TestErrorKeepsWhatItIsAbout(t *testing.T) {
	if err := at("somewhere", io.EOF); err != io.EOF {
		t.Errorf("got %v, want an error of others as it was", err)
	}
	err := at("a", at("b", &Error{Kind: ErrLoad, What: "c", Cause: io.EOF, Want: "d"}))
	if err.Error() != "mlmodel: a: b: c: EOF: want d" || !errors.Is(err, ErrLoad) || !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func feature(t *spec.FeatureType) *spec.FeatureDescription {
	return &spec.FeatureDescription{Name: "x", Type: t}
}

// What none of the models in testdata declares.
func TestRarerFeatures(t *testing.T) {
	size := &spec.SizeRange{LowerBound: 1, UpperBound: 4}
	optional := func(a *spec.ArrayFeatureType) *spec.FeatureDescription { return arrayFeature("x", a) }
	one := schema.Number(1)
	for name, c := range map[string]struct {
		feature *spec.FeatureDescription
		want    schema.Feature
	}{
		"sequence of strings": {
			feature(&spec.FeatureType{Type: &spec.FeatureType_SequenceType{SequenceType: &spec.SequenceFeatureType{
				Type: &spec.SequenceFeatureType_StringType{}, SizeRange: size}}}),
			schema.Feature{Type: schema.TypeSequence, Sequence: &schema.SequenceConstraint{ElementType: schema.TypeString, SizeRange: &schema.Range{Lower: 1, Upper: 4}}},
		},
		"sequence of integers": {
			feature(&spec.FeatureType{Type: &spec.FeatureType_SequenceType{SequenceType: &spec.SequenceFeatureType{
				Type: &spec.SequenceFeatureType_Int64Type{}}}}),
			schema.Feature{Type: schema.TypeSequence, Sequence: &schema.SequenceConstraint{ElementType: schema.TypeInt64}},
		},
		"dictionary of integers": {
			feature(&spec.FeatureType{Type: &spec.FeatureType_DictionaryType{DictionaryType: &spec.DictionaryFeatureType{
				KeyType: &spec.DictionaryFeatureType_Int64KeyType{}}}}),
			schema.Feature{Type: schema.TypeDictionary, Dictionary: &schema.DictionaryConstraint{KeyType: schema.TypeInt64}},
		},
		"dictionary of unknown keys": {
			feature(&spec.FeatureType{Type: &spec.FeatureType_DictionaryType{DictionaryType: &spec.DictionaryFeatureType{}}}),
			schema.Feature{Type: schema.TypeDictionary, Dictionary: &schema.DictionaryConstraint{}},
		},
		"integer default": {
			optional(&spec.ArrayFeatureType{DefaultOptionalValue: &spec.ArrayFeatureType_IntDefaultValue{IntDefaultValue: 1}}),
			schema.Feature{Type: schema.TypeTensor, Tensor: &schema.TensorConstraint{Default: &one}},
		},
		"double default": {
			optional(&spec.ArrayFeatureType{DefaultOptionalValue: &spec.ArrayFeatureType_DoubleDefaultValue{DoubleDefaultValue: 1}}),
			schema.Feature{Type: schema.TypeTensor, Tensor: &schema.TensorConstraint{Default: &one}},
		},
		"integer": {feature(&spec.FeatureType{Type: &spec.FeatureType_Int64Type{}, IsOptional: true}), schema.Feature{Type: schema.TypeInt64, Optional: true}},
	} {
		got, err := describeFeature(c.feature)
		c.want.Name = "x"
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
	}
}

func TestClassLabelsOfEveryClassifier(t *testing.T) {
	strs := &spec.StringVector{Vector: []string{"a", "b"}}
	ints := &spec.Int64Vector{Vector: []int64{1, 2}}
	wantStrings, wantInts := &schema.ClassLabels{Strings: strs.Vector}, &schema.ClassLabels{Int64s: ints.Vector}
	neural := func(c *spec.NeuralNetworkClassifier) *spec.Model {
		return &spec.Model{Type: &spec.Model_NeuralNetworkClassifier{NeuralNetworkClassifier: c}}
	}
	withStrings := neural(&spec.NeuralNetworkClassifier{ClassLabels: &spec.NeuralNetworkClassifier_StringClassLabels{StringClassLabels: strs}})
	pipeline := &spec.PipelineClassifier{Pipeline: &spec.Pipeline{Models: []*spec.Model{withStrings, described()}, Names: []string{"first"}}}
	for name, c := range map[string]struct {
		model *spec.Model
		want  *schema.ClassLabels
	}{
		"neural network": {withStrings, wantStrings},
		"no labels":      {neural(&spec.NeuralNetworkClassifier{}), nil},
		"generalised linear": {&spec.Model{Type: &spec.Model_GlmClassifier{GlmClassifier: &spec.GLMClassifier{
			ClassLabels: &spec.GLMClassifier_Int64ClassLabels{Int64ClassLabels: ints}}}}, wantInts},
		"support vectors": {&spec.Model{Type: &spec.Model_SupportVectorClassifier{SupportVectorClassifier: &spec.SupportVectorClassifier{
			ClassLabels: &spec.SupportVectorClassifier_Int64ClassLabels{Int64ClassLabels: ints}}}}, wantInts},
		"trees": {&spec.Model{Type: &spec.Model_TreeEnsembleClassifier{TreeEnsembleClassifier: &spec.TreeEnsembleClassifier{
			ClassLabels: &spec.TreeEnsembleClassifier_Int64ClassLabels{Int64ClassLabels: ints}}}}, wantInts},
		"neighbours": {&spec.Model{Type: &spec.Model_KNearestNeighborsClassifier{KNearestNeighborsClassifier: &spec.KNearestNeighborsClassifier{
			ClassLabels: &spec.KNearestNeighborsClassifier_StringClassLabels{StringClassLabels: strs}}}}, wantStrings},
		"suppression": {&spec.Model{Type: &spec.Model_NonMaximumSuppression{NonMaximumSuppression: &spec.NonMaximumSuppression{
			ClassLabels: &spec.NonMaximumSuppression_StringClassLabels{StringClassLabels: strs}}}}, wantStrings},
		"text": {&spec.Model{Type: &spec.Model_TextClassifier{TextClassifier: &spec.TextClassifier{
			ClassLabels: &spec.TextClassifier_StringClassLabels{StringClassLabels: strs}}}}, wantStrings},
		"pipeline": {&spec.Model{Description: &spec.ModelDescription{PredictedFeatureName: "label"},
			Type: &spec.Model_PipelineClassifier{PipelineClassifier: pipeline}}, wantStrings},
		"pipeline without an answer": {&spec.Model{Type: &spec.Model_PipelineClassifier{PipelineClassifier: pipeline}}, nil},
		"pipeline without labels": {&spec.Model{Description: &spec.ModelDescription{PredictedFeatureName: "label"},
			Type: &spec.Model_Pipeline{Pipeline: &spec.Pipeline{Models: []*spec.Model{described()}}}}, nil},
		"pipeline of a regressor": {&spec.Model{Description: &spec.ModelDescription{PredictedFeatureName: "value"},
			Type: &spec.Model_PipelineRegressor{PipelineRegressor: &spec.PipelineRegressor{}}}, nil},
	} {
		d, err := describe(c.model)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, d.ClassLabels); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

func TestErrorsInPartsNameThePart(t *testing.T) {
	bad := arrayFeature("x", &spec.ArrayFeatureType{Shape: []int64{-1}})
	part := described(bad)
	inFunction := functions("a", "a")
	inFunction.Description.Functions[0].State = []*spec.FeatureDescription{bad}
	for text, m := range map[string]*spec.Model{
		`model 1 of the pipeline: input "x"`: {Type: &spec.Model_Pipeline{Pipeline: &spec.Pipeline{Models: []*spec.Model{part}}}},
		`function "a": state "x"`:            inFunction,
		`output "x"`:                         {Description: &spec.ModelDescription{Output: []*spec.FeatureDescription{bad}}},
		`training input "x"`:                 {Description: &spec.ModelDescription{TrainingInput: []*spec.FeatureDescription{bad}}},
		`input "x": width`: described(imageFeature(&spec.ImageFeatureType{SizeFlexibility: &spec.ImageFeatureType_ImageSizeRange_{
			ImageSizeRange: &spec.ImageFeatureType_ImageSizeRange{WidthRange: &spec.SizeRange{LowerBound: 2, UpperBound: 1}}}})),
		`input "x": height`: described(imageFeature(&spec.ImageFeatureType{SizeFlexibility: &spec.ImageFeatureType_ImageSizeRange_{
			ImageSizeRange: &spec.ImageFeatureType_ImageSizeRange{HeightRange: &spec.SizeRange{LowerBound: 2, UpperBound: 1}}}})),
	} {
		if _, err := describe(m); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want ErrInvalid with %s", err, text)
		}
	}
}

// A model opened from an archive: its sizes are claims, and it has no links.
func TestOpenFSOfAFolderWithOneModel(t *testing.T) {
	fsys := newPackage().memory()
	fsys["README"] = &fstest.MapFile{Data: []byte("x")}
	m, err := OpenFS(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Blob(weightFile, 64); err != nil {
		t.Error(err)
	}
	m, err = OpenFS(fsys, "none")
	checkRefused(t, m, err, ErrLoad, "none: cannot be opened")
}
