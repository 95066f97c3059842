package verify

import (
	"encoding/json"
	"image"
	"math"
	"os"
	"path/filepath"
	"testing"

	"coreml/internal/mlmodel"
	"coreml/internal/record"
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
