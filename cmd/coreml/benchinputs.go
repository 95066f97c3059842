package main

import (
	"fmt"
	"image"
	"math/rand/v2"
	"regexp"
	"strconv"

	"coreml"
	"coreml/internal/mlmodel"
	"coreml/internal/record"
	"coreml/tensor"
)

var callMember = regexp.MustCompile(`^c([0-9]{1,6})/(.+)$`)

// benchInputs are the calls to measure: those of a file, or one of made-up
// values. Sequence: the file holds calls that belong together.
func benchInputs(f *function, file string) (calls []coreml.Features, sequence bool, err error) {
	if file == "" {
		in, err := madeUp(f)
		return []coreml.Features{in}, false, err
	}
	all, err := record.ReadFeatures(file)
	if err != nil {
		return nil, false, fmt.Errorf("--inputs: %w", err)
	}
	byCall := map[int]coreml.Features{}
	for name, v := range all {
		m := callMember.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		i, _ := strconv.Atoi(m[1])
		if byCall[i] == nil {
			byCall[i] = coreml.Features{}
		}
		byCall[i][m[2]] = v
		delete(all, name)
	}
	if len(byCall) == 0 {
		return []coreml.Features{all}, false, nil
	}
	if len(all) > 0 {
		return nil, false, inputError{fmt.Errorf("--inputs %s: has members with and without a call; want c0/NAME, c1/NAME, …, or none of them", file)}
	}
	for i := range len(byCall) {
		if byCall[i] == nil {
			return nil, false, inputError{fmt.Errorf("--inputs %s: has %d calls, but no member c%d/NAME", file, len(byCall), i)}
		}
		calls = append(calls, byCall[i])
	}
	return calls, true, nil
}

// madeUp gives every required input a value of its default shape, the same ones each time.
func madeUp(f *function) (coreml.Features, error) {
	r := rand.New(rand.NewPCG(1, 2))
	in := coreml.Features{}
	for i := range f.Inputs {
		d := &f.Inputs[i]
		if d.Optional {
			continue
		}
		switch {
		case d.Image != nil:
			in[d.Name] = noise(r, d.Image)
		case d.Type == mlmodel.TypeDouble:
			in[d.Name] = 1.0
		case d.Type == mlmodel.TypeInt64:
			in[d.Name] = int64(1)
		case d.Tensor != nil && d.Tensor.Shape != nil:
			t, err := randomTensor(r, d.Tensor)
			if err != nil {
				return nil, fmt.Errorf("input %q: %w", d.Name, err)
			}
			in[d.Name] = t
		default:
			return nil, inputError{fmt.Errorf("input %q: no value can be made up for %s; give --inputs", d.Name, typeName(d))}
		}
	}
	return in, nil
}

// maxMadeUp bounds the elements of a made-up input.
const maxMadeUp = 1 << 28

func randomTensor(r *rand.Rand, c *mlmodel.TensorConstraint) (*tensor.Tensor, error) {
	n, ok := tensor.Elements(c.Shape)
	if !ok || n > maxMadeUp {
		return nil, inputError{fmt.Errorf("shape %v is too large to be made up; give --inputs", c.Shape)}
	}
	t, err := tensor.Make(tensor.Float32, c.Shape)
	if err != nil {
		return nil, err
	}
	v := tensor.Data[float32](t)
	for i := range v {
		v[i] = 1
		if c.DType.IsFloat() {
			v[i] = float32(r.NormFloat64())
		}
	}
	if c.DType == tensor.Invalid {
		return t, nil
	}
	return t.Convert(c.DType)
}

func noise(r *rand.Rand, c *mlmodel.ImageConstraint) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, min(max(c.Width, 1), maxSide), min(max(c.Height, 1), maxSide/4)))
	for i := range img.Pix {
		img.Pix[i] = byte(r.Uint32())
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return img
}
