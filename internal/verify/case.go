// Package verify checks recorded cases: a model, inputs, and the values that
// were expected of it, with how closely. The conformance test, the command and
// shadow comparison use it.
package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"

	"coreml/internal/record"
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
	Type     string                  `json:"type"` // predict, write_state, read_state
	State    *int                    `json:"state"`
	Name     string                  `json:"name"`
	Inputs   map[string]record.Value `json:"inputs"`
	Expected map[string]Want         `json:"expected"`
}

// Want is an expected output, and how to compare it.
type Want struct {
	record.Value
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
func features(in map[string]record.Value, arrays map[string]*tensor.Tensor) (tensor.Features, error) {
	f := tensor.Features{}
	for name, v := range in {
		x, err := v.Decode(arrays)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", name, err)
		}
		f[name] = x
	}
	return f, nil
}
