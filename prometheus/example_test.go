package promcoreml_test

import (
	"context"
	"fmt"
	"image"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"coreml"
	promcoreml "coreml/prometheus"
)

// A model is registered once; every scrape then reads it.
func ExampleNewCollector() {
	m, err := coreml.Open("../testdata/cases/tiny_classifier/model.mlpackage")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	registry := prometheus.NewRegistry() // or the default one, with promhttp.Handler
	registry.MustRegister(promcoreml.NewCollector(m))

	in := coreml.Features{"image": image.NewNRGBA(image.Rect(0, 0, 8, 8))}
	for range 3 {
		if _, err := m.Predict(context.Background(), in); err != nil {
			log.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "coreml_inference_duration_seconds" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetHistogram().GetSampleCount())
		}
	}
	// Output: coreml_inference_duration_seconds 3
}
