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

// TestDriftBecomesACase: what a shadow finds is recorded with the state before, and
// the case holds for the engine and not for the backend that drifted.
func TestDriftBecomesACase(t *testing.T) {
	const model = "../../testdata/cases/sta_accumulators/model.mlpackage"
	dir := filepath.Join(t.TempDir(), "drift")
	errs := make(chan error, 10)
	n := 0
	m, err := coreml.Open(model, coreml.Options{Wrap: scaled, Shadow: &coreml.Shadow{Share: 1, OnDrift: func(d coreml.Drift) {
		if n++; n == 2 { // by then the state is not zero any more
			errs <- RecordDrift(dir, model, "", d)
		}
	}}})
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
	for range 2 {
		if err := m.PredictInto(context.Background(), coreml.Features{"x": x, "slot": tensor.Of([]int32{1})}, coreml.Features{}, st); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-errs:
		if err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatal("no drift was found")
	}
	set, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, c := range []struct {
		open coreml.Options
		want Status
	}{{coreml.Options{}, Passed}, {coreml.Options{Wrap: scaled}, Failed}} {
		if r := Run(context.Background(), set.Cases, Options{Open: c.open}); len(r) != 1 || r[0].Status != c.want {
			t.Errorf("%+v, want %s", r, c.want)
		}
	}
	for _, name := range []string{"drift.json", "got.npz"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
