package coreml_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"coreml"
)

// A model whose backend fails is answered by the CPU engine, and says so.
func ExampleModel_PredictWith() {
	m, err := coreml.Open("testdata/cases/tiny_classifier/model.mlpackage", coreml.Options{
		Fallback: &coreml.Fallback{},
		Wrap: func(coreml.Predictor) coreml.Predictor {
			return func(context.Context, coreml.Features) (coreml.Features, error) {
				return nil, errors.New("the device is gone")
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	r, err := m.PredictWith(ctx, coreml.Request{In: coreml.Features{"image": redSquare()}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Out["classLabel"])
	fmt.Printf("%s for %s: %s\n", r.Backend, r.Requested, r.Reason)
	// Output:
	// red
	// cpu for cpu-wrapped: the device is gone
}
