package main

import (
	"fmt"
	"hash/fnv"
	"image"
	"math/rand/v2"

	"coreml"
	"coreml/schema"
	"coreml/tensor"
)

// The values of an input that need no file.
const (
	fillRandom = "random"
	fillZeros  = "zeros"
	fillOnes   = "ones"
)

func isMadeUp(text string) bool { return text == fillRandom || text == fillZeros || text == fillOnes }

// madeUpInputs give every required input a value: random numbers and pictures, and 1 for integers.
func madeUpInputs(f *function) (coreml.Features, error) {
	in := coreml.Features{}
	for i := range f.Inputs {
		d := &f.Inputs[i]
		if d.Optional {
			continue
		}
		how := fillRandom
		switch {
		case d.Type == schema.TypeDouble:
			in[d.Name] = 1.0
			continue
		case d.Type == schema.TypeInt64:
			in[d.Name] = int64(1)
			continue
		case d.Tensor != nil && !isFloat(d.Tensor):
			how = fillOnes
		}
		v, err := madeUp(d, how)
		if err != nil {
			return nil, inputError{fmt.Errorf("input %q: %w; give --inputs", d.Name, err)}
		}
		in[d.Name] = v
	}
	return in, nil
}

// isFloat reports whether a tensor may have values between the integers.
func isFloat(c *schema.TensorConstraint) bool {
	return c.DType == tensor.Invalid || c.DType.IsFloat()
}

// madeUp is a picture or a tensor of the default size, the same one each time:
// noise, normal numbers, or integers of 0 and 1; black or 0; white or 1.
func madeUp(d *coreml.Feature, how string) (any, error) {
	h := fnv.New64a()
	h.Write([]byte(d.Name))
	r := rand.New(rand.NewPCG(h.Sum64(), 0))
	switch {
	case d.Image != nil:
		return madeUpPicture(r, d.Image, how), nil
	case d.Tensor != nil && d.Tensor.Shape != nil:
		return madeUpTensor(r, d.Tensor, how)
	}
	return nil, fmt.Errorf("no value can be made up for %s", typeName(d))
}

// maxMadeUp bounds the elements of a made-up input.
const maxMadeUp = 1 << 28

func madeUpTensor(r *rand.Rand, c *schema.TensorConstraint, how string) (*tensor.Tensor, error) {
	n, ok := tensor.Elements(c.Shape)
	if !ok || n > maxMadeUp {
		return nil, fmt.Errorf("shape %v is too large to be made up", c.Shape)
	}
	t, err := tensor.Make(tensor.Float32, c.Shape)
	if err != nil {
		return t, err
	}
	v := tensor.Data[float32](t)
	for i := range v {
		switch {
		case how == fillOnes:
			v[i] = 1
		case how == fillRandom && isFloat(c):
			v[i] = float32(r.NormFloat64())
		case how == fillRandom:
			v[i] = float32(r.IntN(2))
		}
	}
	if c.DType == tensor.Invalid {
		return t, nil
	}
	return t.Convert(c.DType)
}

func madeUpPicture(r *rand.Rand, c *schema.ImageConstraint, how string) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, min(max(c.Width, 1), maxSide), min(max(c.Height, 1), maxSide/4)))
	for i := range img.Pix {
		switch {
		case i%4 == 3 || how == fillOnes:
			img.Pix[i] = 255
		case how == fillRandom:
			img.Pix[i] = byte(r.Uint32())
		}
	}
	return img
}
