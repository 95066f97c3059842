package record

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"os"
	"path/filepath"

	"coreml/internal/atomicfile"
	"coreml/internal/listing"
	"coreml/internal/mlmodel"
	"coreml/schema"
	"coreml/tensor"
)

// The default tolerances of recorded outputs: of the largest value, and of the
// value itself. Those that leave as float16 are rounded to 11 bits.
const (
	tolerance   = 1e-4
	tolerance16 = 1e-3
	// tolerancePixel allows a value that lies on the edge between two bytes.
	tolerancePixel = 1
)

// Recording is one call that was made, to be kept as a case.
type Recording struct {
	Model    *mlmodel.Model
	Function string
	By       string // what computed Out, and its version
	In, Out  tensor.Features
	// Before and After are the states, of a call that was given one; nil otherwise.
	Before, After tensor.Features
}

// Record makes the folder dir a case of the call: the model's copy, the inputs,
// what came out, with the default tolerances. Dir must not exist; it appears when
// it is whole. The folders above it are made.
func Record(dir string, r Recording) error { return r.record(dir, func(string) error { return nil }) }

// record makes a case, with what more adds to its folder.
func (r *Recording) record(dir string, more func(dir string) error) error {
	err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o777)
	if err == nil {
		err = atomicfile.Folder(dir, func(tmp string) error {
			if err := r.write(tmp, filepath.Base(dir)); err != nil {
				return err
			}
			return more(tmp)
		})
	}
	if err != nil {
		return fmt.Errorf("record: %s: %w", dir, err)
	}
	return nil
}

func (r *Recording) write(dir, id string) error {
	m := r.Model
	f, err := mlmodel.FunctionNamed(m.Description, r.Function)
	if err != nil {
		return err
	}
	kind, err := m.Copy(dir, "model")
	if err != nil {
		return err
	}
	in, want := &side{member: "c0/"}, &side{member: "c0/", images: f.Outputs, judged: true}
	calls, err := r.calls(in, want)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(recorded{
		ID: id, Kind: kind, ModelType: m.Description.ModelType, SpecVersion: m.Description.SpecVersion, Group: "recorded",
		Ops: CountOps(m, r.Function), Function: r.Function, Source: r.By,
		Note:  "what came out when it was recorded, with the default tolerance",
		Calls: calls,
	}, "", " ")
	if err != nil {
		return err
	}
	return errors.Join(saveText(filepath.Join(dir, "case.json"), append(b, '\n')),
		in.save(filepath.Join(dir, "inputs.npz")), want.save(filepath.Join(dir, "expected.npz")))
}

// recorded is case.json as Record writes it.
type recorded struct {
	ID          string         `json:"id"`
	Kind        string         `json:"kind"`
	ModelType   string         `json:"model_type"`
	SpecVersion int            `json:"spec_version"`
	Group       string         `json:"group"`
	Ops         map[string]int `json:"ops,omitempty"`
	Function    string         `json:"function_name,omitempty"`
	Source      string         `json:"expected_source"`
	Note        string         `json:"note"`
	Calls       []recordedCall `json:"calls"`
}

type recordedCall struct {
	Type     string                     `json:"type"`
	State    *int                       `json:"state"`
	Name     string                     `json:"name,omitempty"`
	Inputs   map[string]json.RawMessage `json:"inputs,omitempty"`
	Expected map[string]json.RawMessage `json:"expected,omitempty"`
}

// calls are the call itself and, where it has a state, what set and what reads that.
func (r *Recording) calls(in, want *side) ([]recordedCall, error) {
	var calls []recordedCall
	add := func(kind, name string, inputs, expected tensor.Features) error {
		in.member, want.member = fmt.Sprintf("c%d/", len(calls)), fmt.Sprintf("c%d/", len(calls))
		c := recordedCall{Type: kind, Name: name}
		if r.After != nil {
			c.State = new(int)
		}
		var err error
		if c.Inputs, err = in.values(inputs); err != nil {
			return err
		}
		c.Expected, err = want.values(expected)
		calls = append(calls, c)
		return err
	}
	for _, n := range sortedNames(r.Before) {
		if err := add("write_state", n, tensor.Features{n: r.Before[n]}, nil); err != nil {
			return nil, err
		}
	}
	if err := add("predict", "", r.In, r.Out); err != nil {
		return nil, err
	}
	for _, n := range sortedNames(r.After) {
		if err := add("read_state", n, nil, tensor.Features{n: r.After[n]}); err != nil {
			return nil, err
		}
	}
	return calls, nil
}

// side is one of a case's two npz files, as it grows.
type side struct {
	member string // prefix of the next call
	images []schema.Feature
	judged bool // with tolerances
	arrays map[string]*tensor.Tensor
}

func (s *side) save(name string) error {
	if len(s.arrays) == 0 {
		return nil
	}
	return save(name, func(w io.Writer) error { return tensor.WriteNpz(w, nil, s.arrays) })
}

// save writes a file that must not be there: a weight of the model may have its name.
func save(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(write(w), w.Flush(), f.Close())
}

func saveText(name string, text []byte) error {
	return save(name, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

func (s *side) values(f tensor.Features) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for name, x := range f {
		v, t, err := encodeValue(x, s.member+name, imageNamed(s.images, name))
		if err != nil {
			return nil, fmt.Errorf("feature %q: %w", name, err)
		}
		b := QuoteNonFinite(v.appendJSON(nil))
		b = b[:len(b)-1]
		if t != nil {
			if s.arrays == nil {
				s.arrays = map[string]*tensor.Tensor{}
			}
			s.arrays[v.NPZ] = t
			b = append(b, fmt.Sprintf(`,"dtype":%q,"shape":%s`, numpyName(t.DType()), appendJSON(nil, t.Shape()))...)
		}
		if s.judged {
			atol, rtol := defaultTolerance(x)
			b = append(b, fmt.Sprintf(`,"atol":%g,"rtol":%g`, atol, rtol)...)
		}
		out[name] = append(b, '}')
	}
	return out, nil
}

// numpyName is how case.json spells the type of an array.
func numpyName(d tensor.DType) string {
	if d.IsFloat() {
		return fmt.Sprint("float", d.Bits())
	}
	return d.String()
}

// defaultTolerance is what a recorded output may differ by.
func defaultTolerance(v any) (atol, rtol float64) {
	switch v := v.(type) {
	case image.Image:
		return tolerancePixel, 0
	case float64, map[string]float64, map[int64]float64:
		return tolerance, tolerance
	case *tensor.Tensor:
		if !v.DType().IsFloat() {
			return 0, 0
		}
		t := tolerance
		if v.DType() == tensor.Float16 {
			t = tolerance16
		}
		return t * largest(v), t
	}
	return 0, 0
}

func largest(t *tensor.Tensor) float64 {
	m := 0.0
	for _, x := range t.Float32s() {
		if a := math.Abs(float64(x)); a > m && !math.IsInf(a, 0) {
			m = a
		}
	}
	return m
}

// CountOps counts the operators of a function, and layers; nil if there is no such function.
func CountOps(m *mlmodel.Model, function string) map[string]int {
	f, err := mlmodel.FunctionNamed(m.Description, function)
	if err != nil {
		return nil
	}
	return listing.Ops(m.Spec, f.Name)
}
