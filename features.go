package coreml

import (
	"coreml/schema"
	"coreml/tensor"
)

// Features are the inputs or outputs of one prediction, by name: *Tensor,
// image.Image, string, int64, float64, map[string]float64, map[int64]float64,
// []string or []int64. Inputs may be numbers of Go's other types too, and bools.
type Features = tensor.Features

// Tensor is a dense tensor; package tensor makes and reads them.
type Tensor = tensor.Tensor

// Description says what a model takes and gives. What the file does not say is absent.
type Description = schema.Description

// Feature describes one input, output or state.
type Feature = schema.Feature
