// Package coreml runs Core ML models, from Go, on every machine.
//
//	m, err := coreml.Open("model.mlpackage")
//	out, err := m.Predict(ctx, coreml.Features{"image": img})
//
// The same file that Core ML runs on a Mac runs here on a CPU engine in pure Go.
// What it cannot run is refused when the model is opened, with the operator's name.
package coreml
