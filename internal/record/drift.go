package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"coreml/guards"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// Drift makes the folder dir a case of an answer that parts from the reference: the
// inputs and what the reference says, which is what a backend has to give again.
// Beside it are the answer, got.npz, the state that it left, left.npz, and how they
// differ, drift.json. Dir must not exist; it appears when it is whole.
func Drift(dir string, m *mlmodel.Model, function string, d guards.Drift) error {
	r := Recording{
		Model: m, Function: function, By: fmt.Sprintf("%s, for an answer of %s that drifted", d.Reference, d.By),
		In: d.In, Out: d.Want, Before: d.Before, After: d.After,
	}
	text, err := json.MarshalIndent(struct {
		By          string `json:"by"`
		Reference   string `json:"reference"`
		Held        bool   `json:"held"`
		Error       string `json:"error"`
		Differences any    `json:"differences"`
	}{d.By, d.Reference, d.Held, d.Err.Error(), d.Differences}, "", " ")
	if err != nil {
		return fmt.Errorf("record: %s: %w", dir, err)
	}
	return r.record(dir, func(dir string) error {
		return errors.Join(saveText(filepath.Join(dir, "drift.json"), append(text, '\n')),
			saveFeatures(filepath.Join(dir, "got.npz"), d.Got), saveFeatures(filepath.Join(dir, "left.npz"), d.Left))
	})
}

func saveFeatures(name string, f tensor.Features) error {
	if len(f) == 0 {
		return nil
	}
	return save(name, func(w io.Writer) error { return WriteFeatures(w, f, nil) })
}
