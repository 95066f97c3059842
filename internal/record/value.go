package record

import (
	"encoding/json"
	"fmt"
	"image"
	"math"
	"slices"

	"coreml/tensor"
)

// Value is a feature as case.json and the meta member of an npz file describe it.
type Value struct {
	Kind  string          `json:"kind"` // array, image, int, int64, double, string, dict
	NPZ   string          `json:"npz"`
	Mode  string          `json:"mode"` // of an image: RGB, RGBA, L, F
	Data  json.RawMessage `json:"data"`
	Items [][2]any        `json:"items"`
}

// Decode is the value as a caller would give it; arrays are those of the npz file beside it.
func (v *Value) Decode(arrays map[string]*tensor.Tensor) (any, error) {
	switch v.Kind {
	case "array", "image":
		t := arrays[v.NPZ]
		if t == nil {
			return nil, fmt.Errorf("no array %q is recorded", v.NPZ)
		}
		if v.Kind == "image" {
			return decodeImage(t, v.Mode)
		}
		return t, nil
	case "int", "int64":
		var i int64
		return i, json.Unmarshal(v.Data, &i)
	case "double":
		var x any
		err := json.Unmarshal(v.Data, &x)
		d, ok := float(x)
		if err == nil && !ok {
			err = fmt.Errorf("%s, want a number", v.Data)
		}
		return d, err
	case "string":
		var s string
		err := json.Unmarshal(v.Data, &s)
		return s, err
	case "sequence":
		return decodeSequence(v.Data)
	case "dict":
		return decodeDict(v.Items)
	}
	return nil, fmt.Errorf("kind %q: want array, image, int, double, string, sequence or dict", v.Kind)
}

func decodeSequence(data []byte) (any, error) {
	var numbers []int64
	if json.Unmarshal(data, &numbers) == nil {
		return numbers, nil
	}
	var words []string
	err := json.Unmarshal(data, &words)
	return words, err
}

func decodeDict(items [][2]any) (any, error) {
	byName, byNumber := map[string]float64{}, map[int64]float64{}
	for _, kv := range items {
		n, ok := float(kv[1])
		if !ok {
			return nil, fmt.Errorf("dictionary value %v: want a number", kv[1])
		}
		switch k := kv[0].(type) {
		case string:
			byName[k] = n
		case float64:
			if k != math.Trunc(k) || math.Abs(k) > 1<<53 {
				return nil, fmt.Errorf("dictionary key %v: want a string or an integer", k)
			}
			byNumber[int64(k)] = n
		default:
			return nil, fmt.Errorf("dictionary key %v: want a string or an integer", kv[0])
		}
	}
	if len(byNumber) > 0 {
		return byNumber, nil
	}
	return byName, nil
}

// decodeImage makes an image of an H×W×C or H×W array; mode F stays a tensor.
func decodeImage(t *tensor.Tensor, mode string) (any, error) {
	s := t.Shape()
	if mode == "F" {
		if len(s) != 2 {
			return nil, fmt.Errorf("image of shape %v: want H × W", s)
		}
		return t.Reshape(1, 1, s[0], s[1])
	}
	pix := tensor.Data[uint8](t)
	channels, known := map[string][]int{"L": {}, "RGB": {3}, "RGBA": {4}}[mode]
	if pix == nil || !known || len(s) < 2 || !slices.Equal(s[2:], channels) {
		return nil, fmt.Errorf("image of mode %q and shape %v: want RGB, RGBA or L of uint8", mode, s)
	}
	r := image.Rect(0, 0, s[1], s[0])
	switch mode {
	case "L":
		return &image.Gray{Pix: pix, Stride: s[1], Rect: r}, nil
	case "RGBA":
		return &image.NRGBA{Pix: pix, Stride: 4 * s[1], Rect: r}, nil
	}
	img := image.NewNRGBA(r)
	for i := 0; i < len(pix)/3; i++ {
		copy(img.Pix[4*i:], pix[3*i:3*i+3])
		img.Pix[4*i+3] = 255
	}
	return img, nil
}
