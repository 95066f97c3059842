// Package schema says what models take and give, in the terms of Core ML's description:
// features with their types and constraints. It marshals to JSON.
package schema

import (
	"encoding/json"
	"math"
	"strconv"

	"coreml/tensor"
)

// Description says what a model takes and gives, as far as its file says so:
// what the file leaves open is absent here. It marshals to JSON.
type Description struct {
	SpecVersion int      `json:"specificationVersion"`
	ModelType   string   `json:"modelType"` // mlProgram, neuralNetwork, pipeline, treeEnsembleRegressor, …
	IsUpdatable bool     `json:"isUpdatable,omitempty"`
	Metadata    Metadata `json:"metadata,omitzero"`

	// Function is the interface of the default function, of an open model that of
	// the function it was opened for, and of the model where there are no
	// functions. Its Name is empty in the last case.
	Function

	// Functions are those of an ML Program: one in most files, in the order
	// in which the file describes them.
	Functions []Function `json:"functions,omitempty"`

	TrainingInputs []Feature      `json:"trainingInputs,omitempty"`
	Pipeline       []PipelineStep `json:"pipeline,omitempty"`
}

// PipelineStep is one model of a pipeline.
type PipelineStep struct {
	Name        string       `json:"name,omitempty"`
	Description *Description `json:"description"`
}

// Function describes one function of a model.
type Function struct {
	Name    string    `json:"functionName,omitempty"`
	Opset   string    `json:"opset,omitempty"` // CoreML5, CoreML6, …
	Inputs  []Feature `json:"inputs"`
	Outputs []Feature `json:"outputs"`
	States  []Feature `json:"states,omitempty"`

	// PredictedFeatureName and PredictedProbabilitiesName are the outputs of
	// a classifier or regressor that hold its answer and the scores behind it.
	PredictedFeatureName       string       `json:"predictedFeatureName,omitempty"`
	PredictedProbabilitiesName string       `json:"predictedProbabilitiesName,omitempty"`
	ClassLabels                *ClassLabels `json:"classLabels,omitempty"`
}

// ClassLabels are a classifier's classes in the order of its scores. One of the
// two is set. The slices belong to the model.
type ClassLabels struct {
	Strings []string `json:"strings,omitempty"`
	Int64s  []int64  `json:"int64s,omitempty"`
}

// Metadata is what the author says about a model.
type Metadata struct {
	ShortDescription string            `json:"shortDescription,omitempty"`
	Version          string            `json:"versionString,omitempty"`
	Author           string            `json:"author,omitempty"`
	License          string            `json:"license,omitempty"`
	UserDefined      map[string]string `json:"userDefined,omitempty"`
}

// FeatureType is the kind of a feature's value.
type FeatureType string

const (
	TypeUnknown    FeatureType = ""
	TypeTensor     FeatureType = "tensor"
	TypeImage      FeatureType = "image"
	TypeInt64      FeatureType = "int64"
	TypeDouble     FeatureType = "double"
	TypeString     FeatureType = "string"
	TypeDictionary FeatureType = "dictionary"
	TypeSequence   FeatureType = "sequence"
	TypeState      FeatureType = "state"
)

// Feature describes one input, output or state. The constraint that belongs to
// its type is set: Tensor also for a state.
type Feature struct {
	Name             string      `json:"name"`
	ShortDescription string      `json:"shortDescription,omitempty"`
	Type             FeatureType `json:"type,omitempty"`
	Optional         bool        `json:"isOptional,omitempty"`

	Tensor     *TensorConstraint     `json:"tensor,omitempty"`
	Image      *ImageConstraint      `json:"image,omitempty"`
	Dictionary *DictionaryConstraint `json:"dictionary,omitempty"`
	Sequence   *SequenceConstraint   `json:"sequence,omitempty"`
}

// TensorConstraint is the constraint on a tensor, which Core ML calls a multi-array.
type TensorConstraint struct {
	DType tensor.DType // Invalid when not declared
	Shape []int        // the default shape; nil when not declared
	// At most one of the two is set: the shapes allowed besides Shape, or a
	// range for each dimension.
	EnumeratedShapes [][]int
	ShapeRange       []Range
	// Default is the value of every element when an optional input is absent.
	Default *Number
}

// MarshalJSON spells the element type as MIL does.
func (t TensorConstraint) MarshalJSON() ([]byte, error) {
	var dtype string
	if t.DType != tensor.Invalid {
		dtype = t.DType.String()
	}
	return json.Marshal(struct {
		DType            string  `json:"dataType,omitempty"`
		Shape            []int   `json:"shape,omitempty"`
		EnumeratedShapes [][]int `json:"enumeratedShapes,omitempty"`
		ShapeRange       []Range `json:"shapeRange,omitempty"`
		Default          *Number `json:"defaultValue,omitempty"`
	}{dtype, t.Shape, t.EnumeratedShapes, t.ShapeRange, t.Default})
}

// Unbounded is the Upper of a range that has no end.
const Unbounded = -1

// Range is a range of sizes, both ends included.
type Range struct {
	Lower int `json:"lowerBound"`
	Upper int `json:"upperBound"` // Unbounded: no limit
}

// String is 16…96, 16… without an end, or 16 for the only size.
func (r Range) String() string {
	switch r.Upper {
	case r.Lower:
		return strconv.Itoa(r.Lower)
	case Unbounded:
		return strconv.Itoa(r.Lower) + "…"
	}
	return strconv.Itoa(r.Lower) + "…" + strconv.Itoa(r.Upper)
}

// ImageConstraint is the constraint on an image.
type ImageConstraint struct {
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	ColorSpace string `json:"colorSpace,omitempty"` // RGB, BGR, GRAYSCALE, GRAYSCALE_FLOAT16
	// At most one of EnumeratedSizes and the two ranges is set.
	EnumeratedSizes []ImageSize `json:"enumeratedSizes,omitempty"`
	WidthRange      *Range      `json:"widthRange,omitempty"`
	HeightRange     *Range      `json:"heightRange,omitempty"`
}

// ImageSize is a size in pixels.
type ImageSize struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

// DictionaryConstraint is the constraint on a dictionary; its values are numbers.
type DictionaryConstraint struct {
	KeyType FeatureType `json:"keyType,omitempty"` // int64 or string
}

// SequenceConstraint is the constraint on a sequence.
type SequenceConstraint struct {
	ElementType FeatureType `json:"elementType,omitempty"` // int64 or string
	SizeRange   *Range      `json:"sizeRange,omitempty"`
}

// Number is a float64 that marshals to JSON whatever its value: NaN and the
// infinities become the strings of protobuf's JSON form.
type Number float64

func (n Number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	switch {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 0):
		if f > 0 {
			return []byte(`"Infinity"`), nil
		}
		return []byte(`"-Infinity"`), nil
	}
	return strconv.AppendFloat(nil, f, 'g', -1, 64), nil
}
