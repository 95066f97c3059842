// Package verify checks recorded cases: a model, inputs, and the values that
// were expected of it, with how closely. The conformance test, the command and
// shadow comparison use it.
package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"io/fs"
	"math"
	"path"
	"slices"

	"coreml/tensor"
)

// Case is one recorded case, as its case.json says it.
type Case struct {
	ID        string         `json:"id"`
	Kind      string         `json:"kind"` // file ending of the model: mlpackage, mlmodel
	ModelType string         `json:"model_type"`
	Group     string         `json:"group"`
	Ops       map[string]int `json:"ops"`
	Layers    map[string]int `json:"layers"`
	Function  string         `json:"function_name"`
	MixedFP16 bool           `json:"mixed_fp16"`
	Expect    string         `json:"expect"` // "refused", "describes", or empty: the calls
	Reason    string         `json:"reason"`
	Calls     []Call         `json:"calls"`

	FS  fs.FS  `json:"-"` // where the case lies
	Dir string `json:"-"` // its folder there
}

// Call is one call of a case, in order.
type Call struct {
	Type     string           `json:"type"` // predict, write_state, read_state
	State    *int             `json:"state"`
	Name     string           `json:"name"`
	Inputs   map[string]Value `json:"inputs"`
	Expected map[string]Want  `json:"expected"`
}

// Value is an input.
type Value struct {
	Kind  string          `json:"kind"` // array, image, int, int64, double, string, dict
	NPZ   string          `json:"npz"`
	Mode  string          `json:"mode"` // of an image: RGB, RGBA, L, F
	Data  json.RawMessage `json:"data"`
	Items [][2]any        `json:"items"`
}

// Want is an expected output, and how to compare it.
type Want struct {
	Value
	Shape     []int    `json:"shape"`
	Atol      float64  `json:"atol"`
	Rtol      float64  `json:"rtol"`
	BaseAtol  *float64 `json:"base_atol"`
	BaseRtol  *float64 `json:"base_rtol"`
	Precision string   `json:"precision"` // fp32, fp16
	Metric    string   `json:"metric"`    // rel_max1, snr, max_abs
	SNR       *float64 `json:"snr"`
	PSNR      *float64 `json:"psnr"`
	ShapeOnly bool     `json:"shape_only"`
	// ShapeUnchecked allows another shape of as many elements.
	ShapeUnchecked bool     `json:"shape_unchecked"`
	MismatchRatio  float64  `json:"allow_mismatch_ratio"`
	Flat           bool     `json:"flat"`
	Squeeze        bool     `json:"squeeze"`
	Channels       int      `json:"channels"`
	OmitKeys       []string `json:"omit_keys"`
}

// maxCaseFile bounds case.json and the npz files of a case.
const maxCaseFile = 1 << 30

// Read reads the case in folder dir of fsys.
func Read(fsys fs.FS, dir string) (*Case, error) {
	b, err := fs.ReadFile(fsys, path.Join(dir, "case.json"))
	if err != nil {
		return nil, fmt.Errorf("verify: %s: %w", dir, err)
	}
	c := &Case{FS: fsys, Dir: dir}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("verify: %s/case.json: %w", dir, err)
	}
	if c.ID == "" {
		c.ID = dir
	}
	return c, nil
}

// Model is the name of the case's model in FS.
func (c *Case) Model() string { return path.Join(c.Dir, "model."+c.Kind) }

// arrays reads inputs.npz or expected.npz; none if the file is absent.
func (c *Case) arrays(name string) (map[string]*tensor.Tensor, error) {
	b, err := fs.ReadFile(c.FS, path.Join(c.Dir, name))
	if err != nil {
		return nil, nil
	}
	a, err := tensor.ReadNpz(bytes.NewReader(b), int64(len(b)), maxCaseFile)
	if err != nil {
		return nil, fmt.Errorf("verify: %s/%s: %w", c.Dir, name, err)
	}
	return a.Tensors, nil
}

// features are the inputs of a call as a caller would give them.
func features(in map[string]Value, arrays map[string]*tensor.Tensor) (tensor.Features, error) {
	f := tensor.Features{}
	for name, v := range in {
		x, err := v.decode(arrays)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", name, err)
		}
		f[name] = x
	}
	return f, nil
}

func (v *Value) decode(arrays map[string]*tensor.Tensor) (any, error) {
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
