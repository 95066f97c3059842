package coreml_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"path/filepath"
	"runtime"
	"slices"
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
	case backend == "cpu" && spent > uint64(4*size+overhead+openLimit)+uint64(stated):
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

// agrees compares outputs with the reference's.
func agrees(model, weights []byte, out coreml.Features) error {
	if bytes.Contains(model, []byte("random_")) {
		return nil
	}
	want, refused, broken := survive(model, weights, "reference")
	if broken != nil {
		return fmt.Errorf("the reference: %w", broken)
	}
	if refused != nil {
		return nil // for an operation whose result nobody reads, and which the engine leaves out
	}
	for name, w := range want {
		w, ok := w.(*coreml.Tensor)
		g, ok2 := out[name].(*coreml.Tensor)
		if !ok || !ok2 {
			continue
		}
		if d := parts(g, w); d != "" {
			return fmt.Errorf("output %q: %s", name, d)
		}
	}
	return nil
}

// parts says how two outputs differ by more than rounding explains; "" if they do not.
func parts(got, want *coreml.Tensor) string {
	if !slices.Equal(got.Shape(), want.Shape()) {
		return fmt.Sprintf("shape %v, the reference has %v", got.Shape(), want.Shape())
	}
	g, w := got.Float32s(), want.Float32s()
	most := float32(1e-30)
	for _, x := range w {
		if a := max(x, -x); a <= math.MaxFloat32 {
			most = max(most, a)
		}
	}
	for i := range w {
		if w[i]-w[i] != 0 {
			continue // an infinite weight beside padding: zero times it is no number, or is left out
		}
		if d := g[i] - w[i]; g[i] != w[i] && !(max(d, -d) <= 1e-3*most) {
			return fmt.Sprintf("element %d is %g, the reference has %g", i, g[i], w[i])
		}
	}
	return ""
}

// TestMutants damages fields of the sample's models, opens what comes of it and runs what opens.
func TestMutants(t *testing.T) {
	all := seeds(t, 12<<10)
	start, n, ran, refusals := time.Now(), 0, 0, 0
	goroutines := runtime.NumGoroutine()
	r := rand.New(rand.NewPCG(*mutantSeed, 5))
	want := *mutants
	if testkit.Race {
		want /= 10
	}
	for ; n < want && time.Since(start) < *mutantTime; n++ {
		s := all[r.IntN(len(all))]
		seed := r.Uint64()
		model := testkit.NewMutator(s.model, seed).Mutant()
		out, refused, broken := survive(model, s.weights, "cpu")
		if broken == nil && refused == nil {
			broken = agrees(model, s.weights, out)
		}
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
	if n < min(want, 300) || ran == 0 || refusals < n/4 {
		t.Errorf("%d of %d models, %d ran, %d refused", n, want, ran, refusals)
	}
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
}

// FuzzProgram is TestMutants without a plan: anything may be a model file.
func FuzzProgram(f *testing.F) {
	for i, s := range seeds(f, 2<<10) {
		if i%8 == 0 {
			f.Add(s.model, s.weights)
		}
	}
	for _, shape := range [][]int{{1 << 20, 1 << 20, 1 << 24}, {1000, 1000, 0}} {
		p := testkit.Program{In: vars{testkit.F32("x", 4)}, Ops: one("add", args{"x": "%x", "y": testkit.Weights{Shape: shape}}), Out: []string{"y"}}
		f.Add(p.FS()[testkit.ModelFile].Data, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, model, weights []byte) {
		if err := listed(packaged(model, weights), "m.mlpackage", len(model)); err != nil {
			t.Error(err)
		}
		if _, _, broken := survive(model, weights, "cpu"); broken != nil {
			t.Error(broken)
		}
	})
}

// TestTruncated cuts models at many places, and sets every byte near their
// beginning to other values: each gives an error of a kind, or runs.
func TestTruncated(t *testing.T) {
	const places, head = 256, 4 << 10
	files, all := 5, seeds(t, 12<<10)
	if testkit.Race {
		files = 1
	}
	step := len(all) / files
	for k := range files {
		s := all[k*step+step/2]
		try := func(what string, model []byte) {
			if _, _, broken := survive(model, s.weights, "cpu"); broken != nil {
				t.Errorf("%s, %s: %v", s.id, what, broken)
			}
		}
		for i := range places {
			n := len(s.model) * i / places
			try(fmt.Sprintf("cut to %d bytes", n), s.model[:n])
		}
		b := append([]byte(nil), s.model...)
		for i := range min(len(b), head) {
			for _, v := range []byte{0, 0xff, s.model[i] ^ 1} {
				b[i] = v
				try(fmt.Sprintf("byte %d = %d", i, v), b)
			}
			b[i] = s.model[i]
		}
	}
}

// TestTruncatedWeights cuts and lengthens a weight file.
func TestTruncatedWeights(t *testing.T) {
	for _, s := range seeds(t, 12<<10) {
		if len(s.weights) == 0 || len(s.weights) > 8<<10 {
			continue
		}
		for _, n := range []int{0, 1, 63, 64, 65, 127, 128, len(s.weights) / 2, len(s.weights) - 64, len(s.weights) - 1} {
			if n < 0 || n >= len(s.weights) {
				continue
			}
			_, refused, broken := survive(s.model, s.weights[:n], "cpu")
			if broken != nil {
				t.Errorf("%s, weights cut to %d of %d bytes: %v", s.id, n, len(s.weights), broken)
			}
			if refused == nil && n < 64 {
				t.Errorf("%s: runs with %d of %d bytes of weights", s.id, n, len(s.weights))
			}
		}
		if _, refused, broken := survive(s.model, append(s.weights[:len(s.weights):len(s.weights)], make([]byte, 1000)...), "cpu"); broken != nil {
			t.Errorf("%s, longer weights: %v, %v", s.id, refused, broken)
		}
	}
}
