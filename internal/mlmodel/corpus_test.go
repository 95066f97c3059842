package mlmodel

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corpusCase is what a recorded case says about reading its model.
type corpusCase struct {
	Kind        string `json:"kind"`
	ModelType   string `json:"model_type"`
	SpecVersion int    `json:"spec_version"`
	Expect      string `json:"expect"`
	Reason      string `json:"reason"`
}

// TestCorpus reads every case under the folders named in COREML_CASES. A case
// is a folder with a case.json and a model. All are read, except those without
// their weights; whether a model can be run is not asked here.
func TestCorpus(t *testing.T) {
	folders := filepath.SplitList(os.Getenv("COREML_CASES"))
	if len(folders) == 0 {
		t.Skip("COREML_CASES names no folders of recorded cases")
	}
	var read, refused, described int
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "case.json" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var c corpusCase
			if err := json.Unmarshal(data, &c); err != nil {
				return err
			}
			switch ok := checkCorpusCase(t, filepath.Dir(path), c); {
			case c.Kind == "onnx" || !ok:
			case c.Reason == "weights absent":
				refused++
			case c.Expect != "":
				described++
			default:
				read++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d models read, %d that cannot be run described, %d without weights refused", read, described, refused)
	if read == 0 {
		t.Error("no case was found")
	}
}

func checkCorpusCase(t *testing.T, dir string, c corpusCase) (ok bool) {
	if c.Kind == "onnx" {
		return true
	}
	m, err := Open(filepath.Join(dir, "model."+c.Kind))
	if c.Reason == "weights absent" {
		if !errors.Is(err, ErrLoad) || !strings.Contains(err.Error(), "weight") {
			t.Errorf("%s: got %v, want ErrLoad naming the weight file", dir, err)
			return false
		}
		d, err := Describe(filepath.Join(dir, "model."+c.Kind))
		if err != nil || d.ModelType != c.ModelType {
			t.Errorf("%s: described as %v, %v", dir, d, err)
		}
		return true
	}
	if err != nil {
		t.Errorf("%s: %v", dir, err)
		return false
	}
	defer m.Close()
	if m.Kind != c.ModelType || m.Description.SpecVersion != c.SpecVersion {
		t.Errorf("%s: read as %s of version %d, want %s of %d", dir, m.Kind, m.Description.SpecVersion, c.ModelType, c.SpecVersion)
	}
	if _, err := json.Marshal(m.Description); err != nil {
		t.Errorf("%s: description: %v", dir, err)
	}
	return true
}
