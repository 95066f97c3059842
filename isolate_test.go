package coreml_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"coreml"
	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/engine"
	"coreml/internal/mlmodel"
)

// TestAnyProgramCanIsolate: this test's own main knows nothing of children.
func TestAnyProgramCanIsolate(t *testing.T) {
	if runtime.GOOS != "linux" && os.Getenv("CI") == "" {
		t.Skip("children have been run on Linux only")
	}
	m, err := mlmodel.Open("testdata/cases/tiny_classifier/model.mlpackage")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, b := range []backend.Backend{engine.CPU{}, engine.Reference{}} {
		p, err := backend.Isolate(b, guards.Isolation{}).Load(context.Background(), m, backend.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if unit := p.Capabilities().Unit; unit == "" {
			t.Errorf("%s: no unit", b.Name())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestNoChildCostsNothing: what every program that imports the package pays at its start.
func TestNoChildCostsNothing(t *testing.T) {
	_ = coreml.Options{}
	best := time.Hour
	for range 100 {
		start := time.Now()
		backend.ServeIsolated(engine.CPU{}, engine.Reference{})
		best = min(best, time.Since(start))
	}
	t.Logf("%v", best)
	if best > time.Microsecond {
		t.Errorf("%v, want at most 1 µs", best)
	}
}
