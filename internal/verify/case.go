// Package verify checks recorded cases: a model, inputs, and the values that
// were expected of it, with how closely. The conformance test, the command and
// shadow comparison use it.
package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"coreml/internal/fault"
	"coreml/internal/mlmodel"
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

	FS     fs.FS  `json:"-"` // where the case lies
	Dir    string `json:"-"` // its folder there
	Broken error  `json:"-"` // why case.json is none; the case fails with it

	readOps sync.Once
	ops     []string
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

// maxCaseFile bounds case.json.
const maxCaseFile = 4 << 20

// Read reads the case in folder dir of fsys. Numbers in case.json may be NaN and
// Infinity, as Python writes them.
func Read(fsys fs.FS, dir string) (*Case, error) {
	c := &Case{FS: fsys, Dir: dir}
	folder := folderName(fsys, dir)
	b, err := readFile(fsys, path.Join(dir, "case.json"), maxCaseFile)
	if err == nil {
		err = json.Unmarshal(record.QuoteNonFinite(b), c)
	}
	if err == nil {
		err = c.valid()
	}
	if err != nil {
		return nil, fmt.Errorf("verify: %s: %w", path.Join(folder, "case.json"), err)
	}
	if c.ID == "" {
		c.ID = folder
	}
	return c, nil
}

// readFile reads a file of at most limit bytes.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", fault.Limit, limit)
	}
	return b, err
}

// folderName names a case after its folder.
func folderName(fsys fs.FS, dir string) string {
	d, ok := fsys.(diskFS)
	if dir != "." || !ok {
		return dir
	}
	if abs, err := filepath.Abs(string(d)); err == nil {
		return filepath.Base(abs)
	}
	return dir
}

// valid reports what can be wrong with a case without looking at its model.
func (c *Case) valid() error {
	if c.Kind == "" || strings.ContainsAny(c.Kind, `/\`) {
		return fmt.Errorf("kind %q: want the model's ending, such as mlpackage", c.Kind)
	}
	for i, call := range c.Calls {
		for name, w := range call.Expected {
			if err := w.valid(); err != nil {
				return fmt.Errorf("call %d, %s: %w", i, name, err)
			}
		}
	}
	return nil
}

// valid refuses what would let every value pass, or none.
func (w *Want) valid() error {
	for name, v := range map[string]*float64{"atol": &w.Atol, "rtol": &w.Rtol, "base_atol": w.BaseAtol, "base_rtol": w.BaseRtol} {
		if v != nil && *v < 0 {
			return fmt.Errorf("%s %g: want 0 or more", name, *v)
		}
	}
	if !(w.MismatchRatio >= 0 && w.MismatchRatio < 1) {
		return fmt.Errorf("allow_mismatch_ratio %g: want 0 or more and less than 1", w.MismatchRatio)
	}
	return nil
}

// checks reports whether anything is expected of the model.
func (c *Case) checks() bool {
	return c.Expect != "" || slices.ContainsFunc(c.Calls, func(call Call) bool { return len(call.Expected) > 0 })
}

// Operators are the operators and layers that the case lists or, if it lists
// none, those of its model; nil if that cannot be read.
func (c *Case) Operators() []string {
	c.readOps.Do(func() {
		listed := c.Ops
		if c.Ops == nil && c.Layers == nil {
			listed = c.countOps()
		}
		c.ops = slices.AppendSeq(slices.Collect(maps.Keys(listed)), maps.Keys(c.Layers))
		slices.Sort(c.ops)
	})
	return c.ops
}

func (c *Case) countOps() map[string]int {
	m, err := c.inspect()
	if err != nil {
		return nil
	}
	defer m.Close()
	return record.CountOps(m, c.Function)
}

// inspect reads the case's model without its weights.
func (c *Case) inspect() (*mlmodel.Model, error) {
	if d, ok := c.FS.(diskFS); ok {
		return mlmodel.Inspect(d.path(c.Model()))
	}
	return mlmodel.InspectFS(c.FS, c.Model())
}

// Model is the name of the case's model in FS.
func (c *Case) Model() string { return path.Join(c.Dir, "model."+c.Kind) }

// arrays reads inputs.npz or expected.npz; none if the file is absent.
func (c *Case) arrays(name string) (map[string]*tensor.Tensor, error) {
	b, err := fs.ReadFile(c.FS, path.Join(c.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var a *tensor.Archive
	if err == nil {
		n := int64(len(b))
		a, err = tensor.ReadNpz(bytes.NewReader(b), n, 4*n+256<<20) // as tensor.OpenNpz
	}
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
