package verify

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"coreml"
	"coreml/internal/mlmodel"
	"coreml/internal/record"
	"coreml/internal/spec"
	"coreml/tensor"
)

func TestRecord(t *testing.T) {
	m, err := mlmodel.Open(filepath.Join(sample, "tiny_classifier", "model.mlpackage"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	out := tensor.Features{"classLabel": "green", "classLabel_probs": map[string]float64{"green": 1, "red": math.NaN()},
		"score": tensor.Of([]float32{1, -4}, 2), "n": tensor.Of([]int32{3}, 1)}
	dir := filepath.Join(t.TempDir(), "case")
	r := record.Recording{Model: m, By: "test", In: tensor.Features{"image": image.NewGray(image.Rect(0, 0, 2, 2))}, Out: out}
	if err := record.Record(dir, r); err != nil {
		t.Fatal(err)
	}
	c, err := Read(os.DirFS(dir), ".")
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "case" || c.Kind != "mlpackage" || c.Ops["softmax"] != 1 || len(c.Calls) != 1 {
		t.Errorf("case %+v", c)
	}
	want, err := c.arrays("expected.npz")
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range c.Calls[0].Expected {
		if m := w.compare(out[name], want, false, false); m != nil {
			t.Errorf("%s: what was recorded does not agree with itself: %v", name, m)
		}
	}
	score := c.Calls[0].Expected["score"]
	if m := score.compare(tensor.Of([]float32{1, -4.002}, 2), want, false, false); m == nil {
		t.Error("a difference of 5e-4 passes, want it to fail")
	}
	if math.Abs(score.Atol-4e-4) > 1e-12 {
		t.Errorf("tolerance %g, want 1e-4 of the largest value", score.Atol)
	}
	if err := record.Record(dir, r); err == nil {
		t.Error("a case is written over, want an error")
	}
	left, _ := os.ReadDir(filepath.Dir(dir))
	if len(left) != 1 {
		t.Errorf("the folder holds %v, want the case alone", left)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "case.json")); err != nil || !json.Valid(b) {
		t.Errorf("case.json is no JSON (%v)", err)
	}
}

// bareModel puts the network's model file and its weights side by side in a folder, without a package.
func bareModel(t *testing.T) string {
	t.Helper()
	m := copyCase(t, network)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "weights"), 0o777); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "net.mlmodel")
	for to, base := range map[string]string{name: "model.mlmodel", filepath.Join(dir, "weights", "weight.bin"): "weight.bin"} {
		if err := os.WriteFile(to, find(t, m, base).Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

// recordCase records a prediction of a model for zeros.
func recordCase(t *testing.T, dir, model string) error {
	t.Helper()
	m, err := coreml.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	in := coreml.Features{}
	for _, f := range m.Description().Inputs {
		in[f.Name] = tensor.New(tensor.Float32, f.Tensor.Shape...)
	}
	out, err := m.Predict(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	file, err := mlmodel.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return record.Record(dir, record.Recording{Model: file, By: "test", In: in, Out: out})
}

// TestRecordBareModel: the weights beside a model file are part of its case,
// however it was named; folders above the case are made.
func TestRecordBareModel(t *testing.T) {
	model := bareModel(t)
	for _, name := range []string{model, filepath.Dir(model)} {
		dir := filepath.Join(t.TempDir(), "a", "b")
		if err := recordCase(t, dir, name); err != nil {
			t.Fatal(err)
		}
		if r := verdicts(t, dir)["b"]; r.Status != Passed {
			t.Errorf("%s: %s %s, want the case to pass", name, r.Status, r.Reason)
		}
	}
}

// TestRecordWritesNothingOver: no weight of the model takes the place of a file of the case.
func TestRecordWritesNothingOver(t *testing.T) {
	model := bareModel(t)
	b, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	m := new(spec.Model)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.GetMlProgram().GetFunctions() {
		for _, o := range f.GetBlockSpecializations()[f.GetOpset()].GetOperations() {
			for _, v := range o.GetAttributes() {
				if v := v.GetBlobFileValue(); v != nil {
					v.FileName = "@model_path/expected.npz"
				}
			}
		}
	}
	if b, err = proto.Marshal(m); err != nil {
		t.Fatal(err)
	}
	weights := filepath.Join(filepath.Dir(model), "weights", "weight.bin")
	if err := errors.Join(os.WriteFile(model, b, 0o666), os.Rename(weights, filepath.Join(filepath.Dir(model), "expected.npz"))); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "case")
	if err := recordCase(t, dir, model); err == nil || !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v, want that the file is there", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("half a case is there")
	}
}
