package engine

import (
	"context"
	"testing"

	"coreml/internal/backend"
	"coreml/internal/mlmodel"
)

func TestPreloadPacksEveryWeightWhileLoading(t *testing.T) {
	for _, preload := range []bool{false, true} {
		m, err := mlmodel.Open("../../testdata/cases/tiny_classifier/model.mlpackage")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		loaded, err := CPU{}.Load(context.Background(), m, backend.Config{Preload: preload})
		if err != nil {
			t.Fatal(err)
		}
		defer loaded.Close()
		p := loaded.(*program)
		if len(p.packs) == 0 {
			t.Fatal("no weight is packed in this model")
		}
		for _, k := range p.packs {
			if k.Ready.Load() != preload {
				t.Errorf("preload %v: a weight in form %q is ready: %v", preload, k.Packing.Form, k.Ready.Load())
			}
		}
	}
}
