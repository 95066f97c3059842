package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"coreml"
	"coreml/internal/mlmodel"
	"coreml/internal/testkit"
	"coreml/internal/verify"
)

// TestPrintedCommandRuns: the command that predict prints runs as it stands, for
// every model of the sample that runs at all, but for a few operators alone: of
// flexible shapes whose defaults do not fit each other, and one that takes a shape.
func TestPrintedCommandRuns(t *testing.T) {
	if testkit.Race {
		t.Skip("slow under the race detector, and no goroutine of its own")
	}
	cases, err := filepath.Abs("../../testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	set, err := verify.Find(cases)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	ran, unfit := 0, 0
	for _, c := range set.Cases {
		m, err := mlmodel.OpenFS(c.FS, c.Model())
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		t.Chdir(dir) // where the states go
		ending, err := m.Copy(dir, "model")
		if err != nil {
			t.Fatal(err)
		}
		path := "model." + ending
		if err := tryOpen(path, coreml.Options{Function: c.Function}); errors.Is(err, coreml.ErrUnsupported) {
			continue
		}
		f, err := mlmodel.FunctionNamed(m.Description, c.Function)
		if err != nil {
			t.Fatal(err)
		}
		root := rootCommand()
		root.SetArgs(exampleArgs(path, c.Function, f))
		root.SetOut(io.Discard)
		if err := root.ExecuteContext(context.Background()); err != nil {
			unfit++
			t.Logf("%s: %q: %v", c.ID, exampleArgs(path, c.Function, f), err)
		}
		ran++
	}
	if ran < 500 || unfit > 6 {
		t.Errorf("%d models, of which %d do not take the values", ran, unfit)
	}
}
