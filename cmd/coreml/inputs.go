package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"coreml"
	"coreml/internal/graph"
	"coreml/internal/record"
	"coreml/schema"
	"coreml/tensor"
)

type function = schema.Function

// readInputs takes the first call in file, if there is one, and then the
// assignments. Further calls are told of on w.
func readInputs(w io.Writer, f *function, file string, assignments []string) (coreml.Features, error) {
	in := coreml.Features{}
	if file != "" {
		calls, _, err := readCalls(file)
		if err != nil {
			return nil, err
		}
		in = calls[0]
		if n := len(calls); n > 1 {
			fmt.Fprintf(w, "--inputs %s: holds %d calls, as members c<call>/<input>; this is call 0\n", file, n)
		}
	}
	given := map[string]bool{}
	for _, a := range assignments {
		i, text, err := assignment(f, a)
		if err != nil {
			return nil, err
		}
		name := f.Inputs[i].Name
		if given[name] {
			return nil, usageError{fmt.Errorf("input %q: given twice", name)}
		}
		given[name] = true
		v, err := parseInput(&f.Inputs[i], text)
		if err != nil {
			return nil, inputError{fmt.Errorf("input %q: %w", name, err)}
		}
		in[name] = v
	}
	return in, nil
}

// assignment finds the input that NAME=VALUE sets, and the value. A name may itself
// have a =; then the longest one that fits is meant.
func assignment(f *function, text string) (input int, value string, err error) {
	input = -1
	for i := range f.Inputs {
		name := f.Inputs[i].Name
		if rest, ok := strings.CutPrefix(text, name+"="); ok && (input < 0 || len(name) > len(f.Inputs[input].Name)) {
			input, value = i, rest
		}
	}
	name, _, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		err = usageError{fmt.Errorf("argument %q: want NAME=VALUE; the model takes %s", text, inputNames(f))}
	case input < 0:
		err = inputError{fmt.Errorf("input %q: the model takes %s", name, inputNames(f))}
	}
	return input, value, err
}

func inputNames(f *function) string {
	var names []string
	for i := range f.Inputs {
		names = append(names, f.Inputs[i].Name)
	}
	if len(names) == 0 {
		return "no inputs"
	}
	return strings.Join(names, ", ")
}

// parseInput reads the value of an input as the command line has it.
func parseInput(d *coreml.Feature, text string) (any, error) {
	switch d.Type {
	case schema.TypeString:
		return text, nil
	case schema.TypeInt64:
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: want an integer", text)
		}
		return v, nil
	case schema.TypeDouble:
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%q: want a number", text)
		}
		return v, nil
	case schema.TypeDictionary:
		return parseDictionary(d, text)
	case schema.TypeSequence:
		return parseSequence(d, text)
	}
	if isMadeUp(text) {
		return madeUp(d, text)
	}
	if v, ok, err := readArray(text); ok {
		return v, err
	}
	if d.Type == schema.TypeImage {
		return readPicture(text)
	}
	return parseTensor(d, text)
}

// readArray reads FILE.npy and FILE.npz:MEMBER; ok: text names one of them.
func readArray(text string) (v any, ok bool, err error) {
	if strings.HasSuffix(text, ".npy") {
		t, err := openNpy(text)
		return t, true, err
	}
	file, member, found := strings.Cut(text, ".npz:")
	if !found && !strings.HasSuffix(text, ".npz") {
		return nil, false, nil
	}
	if !found {
		file = strings.TrimSuffix(text, ".npz")
	}
	f, err := record.ReadFeatures(file + ".npz")
	if err != nil {
		return nil, true, err
	}
	if v, ok := f[member]; ok {
		return v, true, nil
	}
	names := make([]string, 0, len(f))
	for n := range f {
		names = append(names, n)
	}
	slices.Sort(names)
	return nil, true, fmt.Errorf("%q: want FILE.npz:MEMBER; the members are %s", text, strings.Join(names, ", "))
}

func openNpy(name string) (*tensor.Tensor, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	t, err := tensor.ReadNpy(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// parseTensor reads a number or a list of numbers, nested as the shape is.
func parseTensor(d *coreml.Feature, text string) (any, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return takeShape(d, tensor.Of([]float64{f})), nil
	}
	if !strings.HasPrefix(text, "[") {
		return nil, fmt.Errorf("%q: want a number, a list such as [1,2,3], a file .npy or .npz:MEMBER, or random, zeros or ones%s", text, pictureHint(text))
	}
	var list any
	if err := decodeJSON(text, &list); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	shape := []int{}
	for l, ok := list.([]any); ok; l, ok = l[0].([]any) {
		if len(shape) == graph.MaxRank {
			return nil, fmt.Errorf("list: nested deeper than %d", graph.MaxRank)
		}
		if shape = append(shape, len(l)); len(l) == 0 {
			break
		}
	}
	data, err := flatten(nil, list, shape)
	if err != nil {
		return nil, err
	}
	return takeShape(d, tensor.Of(data, shape...)), nil
}

// takeShape gives a vector the input's shape where that has as many elements.
func takeShape(d *coreml.Feature, t *tensor.Tensor) *tensor.Tensor {
	if d.Tensor == nil || d.Tensor.Shape == nil || len(t.Shape()) != 1 {
		return t
	}
	if n, ok := tensor.Elements(d.Tensor.Shape); !ok || n != t.Len() {
		return t
	}
	r, err := t.Reshape(d.Tensor.Shape...)
	if err != nil {
		return t
	}
	return r
}

func pictureHint(text string) string {
	if isPicture(text) {
		return "; a picture is for inputs of type image, and this one is a tensor"
	}
	return ""
}

// flatten appends the numbers of a nested list, which has to be as shape says.
func flatten(data []float64, v any, shape []int) ([]float64, error) {
	l, isList := v.([]any)
	switch {
	case len(shape) == 0 && !isList:
		n, ok := jsonNumber(v)
		if !ok {
			return nil, fmt.Errorf("list: %v: want numbers", v)
		}
		return append(data, n), nil
	case !isList || len(shape) == 0 || len(l) != shape[0]:
		return nil, errors.New("list: its rows differ in length")
	}
	var err error
	for _, x := range l {
		if data, err = flatten(data, x, shape[1:]); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func jsonNumber(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// decodeJSON decodes the whole of text, keeping numbers as they are written.
func decodeJSON(text string, v any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("text after its end, at %d", d.InputOffset())
	}
	return nil
}

func parseDictionary(d *coreml.Feature, text string) (any, error) {
	var m map[string]json.Number
	if err := decodeJSON(text, &m); err != nil {
		return nil, fmt.Errorf(`%q: want a dictionary such as {"a": 1.5}: %w`, text, err)
	}
	if d.Dictionary != nil && d.Dictionary.KeyType == schema.TypeInt64 {
		return dictionaryOf(m, func(k string) (int64, error) {
			i, err := strconv.ParseInt(k, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("key %q: want an integer", k)
			}
			return i, nil
		})
	}
	return dictionaryOf(m, func(k string) (string, error) { return k, nil })
}

func dictionaryOf[K comparable](m map[string]json.Number, key func(string) (K, error)) (map[K]float64, error) {
	out := map[K]float64{}
	for text, x := range m {
		k, err := key(text)
		if err != nil {
			return nil, err
		}
		if _, twice := out[k]; twice {
			return nil, fmt.Errorf("key %q: given twice", text)
		}
		if out[k], err = x.Float64(); err != nil {
			return nil, fmt.Errorf("key %q: %w", text, err)
		}
	}
	return out, nil
}

func parseSequence(d *coreml.Feature, text string) (any, error) {
	var err error
	if d.Sequence != nil && d.Sequence.ElementType == schema.TypeInt64 {
		var l []int64
		if err = decodeJSON(text, &l); err == nil {
			return l, nil
		}
	} else {
		var l []string
		if err = decodeJSON(text, &l); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf(`%q: want a list such as ["a","b"] or [1,2]: %w`, text, err)
}
