package verify

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"coreml"
	"coreml/tensor"
)

// scaled makes a backend's tensors wrong.
func scaled(next coreml.Predictor) coreml.Predictor {
	return func(ctx context.Context, in coreml.Features) (coreml.Features, error) {
		out, err := next(ctx, in)
		for _, v := range out {
			if t, ok := v.(*tensor.Tensor); ok {
				for i := range tensor.Data[float32](t) {
					tensor.Data[float32](t)[i] = tensor.Data[float32](t)[i]*1.5 + 1
				}
			}
		}
		return out, err
	}
}

// TestDriftBecomesACase: what a shadow finds is kept with the state before, held or not,
// and the case holds for the engine and not for the backend that drifted. So it is
// for a model that did not come from the disk.
func TestDriftBecomesACase(t *testing.T) {
	const model = "sta_accumulators/model.mlpackage"
	for _, c := range []struct{ embedded, hold bool }{{false, false}, {true, false}, {false, true}} {
		dir := filepath.Join(t.TempDir(), "made", "here")
		o := coreml.Options{Wrap: scaled, Shadow: &coreml.Shadow{Share: 1, Hold: c.hold, Evidence: dir}}
		var m *coreml.Model
		var err error
		if c.embedded {
			m, err = coreml.OpenFS(os.DirFS(sample), model, o)
		} else {
			m, err = coreml.Open(filepath.Join(sample, model), o)
		}
		if err != nil {
			t.Fatal(err)
		}
		st, err := m.NewState()
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.New(tensor.Float32, 3, 4)
		for i := range tensor.Data[float32](x) {
			tensor.Data[float32](x)[i] = float32(i)
		}
		for range 2 { // the second begins with a state that is not zero
			err := m.PredictInto(context.Background(), coreml.Features{"x": x, "slot": tensor.Of([]int32{1})}, coreml.Features{}, st)
			if (err != nil) != c.hold {
				t.Fatal(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		wantCases(t, dir, 2)
	}
}

// wantCases wants n cases that hold for the engine and not for one whose answers are scaled.
func wantCases(t *testing.T, dir string, n int) {
	t.Helper()
	set, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, c := range []struct {
		open coreml.Options
		want Status
	}{{coreml.Options{}, Passed}, {coreml.Options{Wrap: scaled}, Failed}} {
		results := Run(context.Background(), set.Cases, Options{Open: c.open})
		if len(results) != n {
			t.Errorf("%d cases, want %d", len(results), n)
		}
		for _, r := range results {
			if r.Status != c.want {
				t.Errorf("%+v, want %s", r, c.want)
			}
		}
	}
	for _, c := range set.Cases {
		for _, name := range []string{"drift.json", "got.npz", "left.npz"} {
			if info, err := os.Stat(filepath.Join(dir, c.Dir, name)); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
