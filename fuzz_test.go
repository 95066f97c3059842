package coreml_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"coreml"
	"coreml/internal/fault"
	"coreml/internal/testkit"
	"coreml/internal/verify"
	"coreml/tensor"
)

var (
	mutants    = flag.Int("mutants", 5000, "damaged models of TestMutants")
	mutantTime = flag.Duration("mutanttime", 60*time.Second, "TestMutants starts no model after this time")
	mutantSeed = flag.Uint64("mutantseed", 1, "where TestMutants starts")
)

// packaged is a model and its weights as a package.
func packaged(model, weights []byte) fstest.MapFS {
	const data = "m.mlpackage/Data/com.apple.CoreML/"
	m := fstest.MapFS{
		"m.mlpackage/Manifest.json": &fstest.MapFile{Data: []byte(`{"fileFormatVersion":"1.0.0","itemInfoEntries":{"A":{"author":"com.apple.CoreML","description":"","name":"model.mlmodel","path":"com.apple.CoreML/model.mlmodel"},"B":{"author":"com.apple.CoreML","description":"","name":"weights","path":"com.apple.CoreML/weights"}},"rootModelIdentifier":"A"}`)},
		data + "model.mlmodel":      &fstest.MapFile{Data: model},
	}
	if weights != nil {
		m[data+"weights/weight.bin"] = &fstest.MapFile{Data: weights}
	}
	return m
}

// seedModel is a model of the sample.
type seedModel struct {
	id             string
	model, weights []byte
}

// seeds are the sample's models whose own file is small.
func seeds(t testing.TB, most int) []seedModel {
	set, err := verify.Find(filepath.Join("testdata", "cases"))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var out []seedModel
	for _, c := range set.Cases {
		if c.ModelType != "mlProgram" {
			continue
		}
		s := seedModel{id: c.ID}
		err := fs.WalkDir(c.FS, c.Model(), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			switch path.Base(name) {
			case "model.mlmodel":
				s.model, err = fs.ReadFile(c.FS, name)
			case "weight.bin":
				s.weights, err = fs.ReadFile(c.FS, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.model) > 0 && len(s.model) <= most && len(s.weights) <= 64<<10 {
			out = append(out, s)
		}
	}
	return out
}

const (
	openLimit = 64 << 20 // MemoryLimit of models that are opened here
	slowest   = 2 * time.Second
	overhead  = 256 << 20
)

// survive opens a model and runs it once, and says what it did that no model may.
// It returns the error that the model was refused with.
func survive(model, weights []byte, backend string) (out coreml.Features, refused, broken error) {
	before, start := allocated(), time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), slowest/2)
	defer cancel()
	m, refused := coreml.OpenFS(packaged(model, weights), "m.mlpackage", coreml.Options{MemoryLimit: openLimit, Backend: backend, Threads: 1})
	stated := int64(0)
	if refused == nil {
		if in, ok := smallInputs(m.Description()); ok {
			out, refused = m.Predict(ctx, in)
		}
		stated = m.Memory().Weights + m.Memory().Activations
		if err := m.Close(); err != nil {
			return nil, refused, err
		}
	}
	took, spent := time.Since(start), allocated()-before
	switch size := len(model) + len(weights); {
	case refused != nil && !known(refused):
		broken = fmt.Errorf("error of no kind: %w", refused)
	case refused != nil && panicked(refused):
		broken = fmt.Errorf("panics: %w", refused)
	case took > slowest:
		broken = fmt.Errorf("takes %v: %v", took, refused)
	case spent > uint64(4*size+overhead+openLimit)+uint64(stated):
		broken = fmt.Errorf("allocates %d bytes for a file of %d: %v", spent, size, refused)
	}
	return out, refused, broken
}

// panicked reports whether an error was a panic, or a broken invariant.
func panicked(err error) bool {
	text := err.Error()
	return strings.Contains(text, "runtime error: runtime error") || strings.Contains(text, "BUG: ") || strings.Contains(text, "goroutine")
}

func known(err error) bool {
	for _, k := range fault.Kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// smallInputs are inputs as the description asks for; false if they would be large.
func smallInputs(d *coreml.Description) (coreml.Features, bool) {
	f := coreml.Features{}
	r := rand.New(rand.NewPCG(1, 4))
	for _, in := range d.Inputs {
		if in.Tensor == nil {
			return nil, false
		}
		shape := in.Tensor.Shape
		if n, ok := tensor.Elements(shape); !ok || n > 1<<20 {
			return nil, false
		}
		t, err := tensor.Make(tensor.Float32, shape)
		if err != nil {
			return nil, false
		}
		for i := range tensor.Data[float32](t) {
			tensor.Data[float32](t)[i] = float32(r.IntN(5) - 1)
		}
		f[in.Name] = t
	}
	return f, true
}

// TestMutants damages fields of the sample's models, opens what comes of it and runs what opens.
func TestMutants(t *testing.T) {
	all := seeds(t, 12<<10)
	start, n, ran, refusals := time.Now(), 0, 0, 0
	goroutines := runtime.NumGoroutine()
	r := rand.New(rand.NewPCG(*mutantSeed, 5))
	for ; n < *mutants && time.Since(start) < *mutantTime; n++ {
		s := all[r.IntN(len(all))]
		seed := r.Uint64()
		model := testkit.NewMutator(s.model, seed).Mutant()
		_, refused, broken := survive(model, s.weights, "cpu")
		if broken != nil {
			t.Errorf("%s, mutant %d: %.1500v", s.id, seed, broken)
		}
		if refused != nil {
			refusals++
			continue
		}
		ran++
	}
	t.Logf("%d models in %v: %d ran, %d were refused", n, time.Since(start).Round(time.Millisecond), ran, refusals)
	if n < min(*mutants, 500) || ran == 0 || refusals < n/4 {
		t.Errorf("%d of %d models, %d ran, %d refused", n, *mutants, ran, refusals)
	}
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
}
