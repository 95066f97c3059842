package main

import (
	"encoding/json"
	"fmt"
	"image"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"coreml"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/schema"
	"coreml/tensor"
)

// topClasses is how many entries of a dictionary are shown.
const topClasses = 5

// printOutputs prints outputs for people: in the order of the description, small
// tensors whole, large ones by their figures.
func printOutputs(w io.Writer, f *function, out coreml.Features, whole int) error {
	var b strings.Builder
	for _, key := range outputOrder(f, out) {
		name := fault.Name(key)
		switch v := out[key].(type) {
		case *tensor.Tensor:
			printTensor(&b, name, v, whole)
		case image.Image:
			fmt.Fprintf(&b, "%s: image, %d × %d; --output out.png saves it\n", name, v.Bounds().Dx(), v.Bounds().Dy())
		case string:
			fmt.Fprintf(&b, "%s: %q\n", name, v)
		case map[string]float64:
			printTop(&b, name, sorted(v))
		case map[int64]float64:
			printTop(&b, name, sorted(v))
		default:
			fmt.Fprintf(&b, "%s: %v\n", name, v)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// outputOrder is the order of the description, then the names that it lacks.
func outputOrder(f *function, out coreml.Features) []string {
	var names, rest []string
	for i := range f.Outputs {
		if _, ok := out[f.Outputs[i].Name]; ok {
			names = append(names, f.Outputs[i].Name)
		}
	}
	for n := range out {
		if !slices.Contains(names, n) {
			rest = append(rest, n)
		}
	}
	sort.Strings(rest)
	return append(names, rest...)
}

type entry struct {
	key   string
	value float64
}

// sorted has the largest value first; equal ones by key, so that the order is always the same.
func sorted[K string | int64](m map[K]float64) []entry {
	var l []entry
	for k, v := range m {
		l = append(l, entry{fmt.Sprint(k), v})
	}
	slices.SortFunc(l, func(a, b entry) int {
		switch {
		case a.value > b.value || math.IsNaN(b.value) && !math.IsNaN(a.value):
			return -1
		case a.value < b.value || math.IsNaN(a.value) && !math.IsNaN(b.value):
			return 1
		}
		return strings.Compare(a.key, b.key)
	})
	return l
}

func printTop(w io.Writer, name string, l []entry) {
	fmt.Fprintf(w, "%s: dictionary of %d", name, len(l))
	if len(l) > topClasses {
		fmt.Fprintf(w, ", the top %d", topClasses)
	}
	fmt.Fprintln(w)
	for _, e := range l[:min(topClasses, len(l))] {
		fmt.Fprintf(w, "  %-10.5g %s\n", e.value, cut(e.key, 200))
	}
}

// firstValues is how many values of a large tensor are shown.
const firstValues = 8

func printTensor(w io.Writer, name string, t *tensor.Tensor, whole int) {
	fmt.Fprintf(w, "%s: %v %s", name, t.DType(), shapeText(t.Shape()))
	if t.Len() <= whole {
		if text, ok := graph.Brackets(words(t, t.Len()), t.Shape()); ok {
			fmt.Fprintf(w, " = %s\n", text)
			return
		}
	}
	s := summarise(float64s(t))
	least, most := fmt.Sprintf("%.6g", s.min), fmt.Sprintf("%.6g", s.max)
	if t.DType().IsInt() {
		least, most = fmt.Sprintf("%.0f", s.min), fmt.Sprintf("%.0f", s.max)
	}
	fmt.Fprintf(w, "\n  min %s, max %s, mean %.6g", least, most, s.mean)
	if s.nan > 0 {
		fmt.Fprintf(w, ", NaN %d times", s.nan)
	}
	fmt.Fprintf(w, "\n  %s, …\n", strings.Join(words(t, firstValues), ", "))
}

type summary struct {
	min, max, mean float64
	nan            int
}

// summarise leaves NaN out of the figures and counts them.
func summarise(v []float64) summary {
	s := summary{min: math.Inf(1), max: math.Inf(-1)}
	sum := 0.0
	for _, x := range v {
		if math.IsNaN(x) {
			s.nan++
			continue
		}
		s.min, s.max, sum = min(s.min, x), max(s.max, x), sum+x
	}
	if n := len(v) - s.nan; n > 0 {
		s.mean = sum / float64(n)
		return s
	}
	return summary{math.NaN(), math.NaN(), math.NaN(), s.nan}
}

// float64s are a tensor's values; integers of 64 bits lose their last digits.
func float64s(t *tensor.Tensor) []float64 {
	c, err := t.Convert(tensor.Float64)
	if err != nil {
		return nil
	}
	return tensor.Data[float64](c)
}

// words are the first n values of a tensor, with the digits that its type holds.
func words(t *tensor.Tensor, n int) []string {
	n = min(n, t.Len())
	if t.DType().IsInt() {
		return integers(t)[:n]
	}
	l := make([]string, n)
	for i, x := range float64s(t)[:n] {
		switch t.DType() {
		case tensor.Bool:
			l[i] = strconv.FormatBool(x != 0)
		case tensor.Float16:
			l[i] = strconv.FormatFloat(x, 'g', 5, 64)
		case tensor.Float32:
			l[i] = strconv.FormatFloat(x, 'g', -1, 32)
		default:
			l[i] = strconv.FormatFloat(x, 'g', -1, 64)
		}
	}
	return l
}

// integers are all values of a tensor of integers, exactly.
func integers(t *tensor.Tensor) []string {
	l := make([]string, 0, t.Len())
	wide := tensor.UInt64
	if t.DType().IsSigned() {
		wide = tensor.Int64
	}
	c, err := t.Convert(wide)
	if err != nil {
		panic("BUG: integers widen: " + err.Error())
	}
	for _, x := range tensor.Data[int64](c) {
		l = append(l, strconv.FormatInt(x, 10))
	}
	for _, x := range tensor.Data[uint64](c) {
		l = append(l, strconv.FormatUint(x, 10))
	}
	return l
}

// jsonTensor is a tensor in JSON; data is flat and row-major.
type jsonTensor struct {
	Type  string `json:"type"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Data  any    `json:"data"`
}

type jsonImage struct {
	Type   string `json:"type"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

type jsonOther struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

func printOutputsJSON(w io.Writer, p *prediction) error {
	out := map[string]any{}
	for name, v := range p.out {
		out[name] = jsonOutput(v)
	}
	return printJSON(w, struct {
		Outputs map[string]any `json:"outputs"`
		LoadMS  float64        `json:"load_ms"`
		TookMS  float64        `json:"predict_ms"`
	}{out, milliseconds(p.load), milliseconds(p.took)})
}

func jsonOutput(v any) any {
	switch v := v.(type) {
	case *tensor.Tensor:
		return jsonTensor{"tensor", v.DType().String(), v.Shape(), jsonNumbers(v)}
	case image.Image:
		return jsonImage{"image", v.Bounds().Dx(), v.Bounds().Dy()}
	case string:
		return jsonOther{"string", v}
	case int64:
		return jsonOther{"int64", v}
	case float64:
		return jsonOther{"double", schema.Number(v)}
	case map[string]float64:
		return jsonOther{"dictionary", dictionary(v)}
	case map[int64]float64:
		return jsonOther{"dictionary", dictionary(v)}
	}
	return jsonOther{"sequence", v}
}

// jsonNumbers are a tensor's values: integers as such, others as numbers that may be NaN.
func jsonNumbers(t *tensor.Tensor) any {
	if t.DType().IsInt() {
		l := []json.Number{}
		for _, x := range integers(t) {
			l = append(l, json.Number(x))
		}
		return l
	}
	l := []schema.Number{}
	for _, x := range float64s(t) {
		l = append(l, schema.Number(x))
	}
	return l
}

func dictionary[K string | int64](m map[K]float64) map[string]schema.Number {
	out := map[string]schema.Number{}
	for k, v := range m {
		out[fmt.Sprint(k)] = schema.Number(v)
	}
	return out
}
