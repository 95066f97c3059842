package coreml_test

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"log"

	"coreml"
	"coreml/tensor"
)

var ctx = context.Background()

// redSquare stands for a decoded picture.
func redSquare() image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, 64, 48))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.NRGBA{R: 230, G: 40, B: 40, A: 255}), image.Point{}, draw.Src)
	return img
}

// The example of the README: an image in, a label out.
func Example() {
	m, err := coreml.Open("testdata/cases/tiny_classifier/model.mlpackage")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	out, err := m.Predict(ctx, coreml.Features{"image": redSquare()})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out["classLabel"])
	// Output: red
}

// A model says what it takes.
func ExampleModel_Description() {
	m, err := coreml.Open("testdata/cases/sta_accumulators/model.mlpackage")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	for _, in := range m.Description().Inputs {
		fmt.Println(in.Name, in.Tensor.DType, in.Tensor.Shape)
	}
	// Output:
	// x fp32 [3 4]
	// slot int32 [1]
}

// A stateful model keeps what it has seen in a State, and fills tensors that the caller brings.
func ExampleModel_PredictInto() {
	m, err := coreml.Open("testdata/cases/sta_accumulators/model.mlpackage")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	state, err := m.NewState()
	if err != nil {
		log.Fatal(err)
	}
	defer state.Close()

	x := tensor.New(tensor.Float32, 3, 4)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(i)
	}
	in := coreml.Features{"x": x, "slot": tensor.Of([]int32{0})}
	out := coreml.Features{}
	for range 2 {
		if err := m.PredictInto(ctx, in, out, state); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(len(out) > 0)
	// Output: true
}
