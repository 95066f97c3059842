package main

import (
	"bytes"
	"image"
	"testing"

	"coreml"
	"coreml/schema"
	"coreml/tensor"
)

// TestDestination: a file of one output is chosen by the description, before there is one.
func TestDestination(t *testing.T) {
	picture := func(space string) coreml.Feature {
		return coreml.Feature{Name: space, Type: schema.TypeImage, Image: &schema.ImageConstraint{ColorSpace: space}}
	}
	numbers := coreml.Feature{Name: "numbers", Type: schema.TypeTensor, Tensor: &schema.TensorConstraint{}}
	word := coreml.Feature{Name: "word", Type: schema.TypeString}
	for _, c := range []struct {
		file    string
		outputs []coreml.Feature
		want    string // "": refused
	}{
		{"a.npy", []coreml.Feature{word, numbers, picture("RGB")}, "numbers"},
		{"a.NPY", []coreml.Feature{picture("GRAYSCALE_FLOAT16")}, "GRAYSCALE_FLOAT16"},
		{"a.png", []coreml.Feature{numbers, picture("GRAYSCALE"), picture("GRAYSCALE_FLOAT16")}, "GRAYSCALE"},
		{"a.jpeg", []coreml.Feature{word, picture("BGR")}, "BGR"},
		{"a.png", []coreml.Feature{picture("GRAYSCALE_FLOAT16")}, ""},
		{"a.npy", []coreml.Feature{numbers, numbers}, ""},
		{"a.txt", []coreml.Feature{numbers}, ""},
		{"a.npz", nil, "all"},
		{"a", nil, "all"},
	} {
		o := predictFlags{output: c.file}
		to, err := o.destination(&function{Outputs: c.outputs})
		got := ""
		if err == nil {
			if got = to.output; to.format == nil {
				got = "all"
			}
		}
		if got != c.want || err != nil && exitCode(err) != exitUsage {
			t.Errorf("%s: %q, %v; want %q", c.file, got, err, c.want)
		}
	}
}

func TestFormatOfAnotherType(t *testing.T) {
	var b bytes.Buffer
	if err := pngFile.write(&b, tensor.New(tensor.Float32, 1)); err == nil {
		t.Error("a tensor is written as a picture")
	}
	if err := pngFile.write(&b, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil || b.Len() == 0 {
		t.Errorf("a picture: %d bytes, %v", b.Len(), err)
	}
}
