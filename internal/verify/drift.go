package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"coreml"
	"coreml/internal/atomicfile"
)

// RecordDrift makes the folder dir a case of an answer that parts from the
// reference: the inputs and what the reference says, which is what a backend has
// to give again. Beside it are the answer, got.npz, and how they differ, drift.json.
func RecordDrift(dir, model, function string, d coreml.Drift) error {
	err := Record(dir, Recording{
		Model: model, Function: function, By: fmt.Sprintf("%s, for an answer of %s that drifted", d.Reference, d.By),
		In: d.In, Out: d.Want, Before: d.Before, After: d.After,
	})
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(struct {
		By          string `json:"by"`
		Reference   string `json:"reference"`
		Error       string `json:"error"`
		Differences any    `json:"differences"`
	}{d.By, d.Reference, d.Err.Error(), d.Differences}, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "drift.json"), append(text, '\n'), 0o666),
		atomicfile.Write(filepath.Join(dir, "got.npz"), func(w io.Writer) error { return WriteFeatures(w, d.Got, nil) }))
}
