package main

import (
	"fmt"
	"image"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"coreml"
	"coreml/internal/graph"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// topClasses is how many entries of a dictionary are shown.
const topClasses = 5

// printOutputs prints outputs for people: in the order of the description, small
// tensors whole, large ones by their figures.
func printOutputs(w io.Writer, f *function, out coreml.Features, whole int) error {
	var b strings.Builder
	for _, name := range outputOrder(f, out) {
		switch v := out[name].(type) {
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
		fmt.Fprintf(w, "  %-10.5g %s\n", e.value, e.key)
	}
}

// firstValues is how many values of a large tensor are shown.
const firstValues = 8

func printTensor(w io.Writer, name string, t *tensor.Tensor, whole int) {
	fmt.Fprintf(w, "%s: %v %s", name, t.DType(), shapeText(t.Shape()))
	v := float64s(t)
	if len(v) <= whole {
		if text, ok := graph.Brackets(numbers(v, t.DType()), t.Shape()); ok {
			fmt.Fprintf(w, " = %s\n", text)
			return
		}
	}
	s := summarise(v)
	fmt.Fprintf(w, "\n  min %.6g, max %.6g, mean %.6g", s.min, s.max, s.mean)
	if s.nan > 0 {
		fmt.Fprintf(w, ", NaN %d times", s.nan)
	}
	fmt.Fprintf(w, "\n  %s, …\n", strings.Join(numbers(v[:min(len(v), firstValues)], t.DType()), ", "))
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

// float64s are a tensor's values; a program's integers have at most 32 bits, so that none loses any.
func float64s(t *tensor.Tensor) []float64 {
	c, err := t.Convert(tensor.Float64)
	if err != nil {
		return nil
	}
	return tensor.Data[float64](c)
}

func numbers(v []float64, d tensor.DType) []string {
	words := make([]string, len(v))
	for i, x := range v {
		words[i] = number(x, d)
	}
	return words
}

// number prints a value with the digits that its type holds.
func number(x float64, d tensor.DType) string {
	switch {
	case d == tensor.Bool:
		return strconv.FormatBool(x != 0)
	case d == tensor.Float16:
		return strconv.FormatFloat(x, 'g', 5, 64)
	case d == tensor.Float32:
		return strconv.FormatFloat(x, 'g', -1, 32)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// jsonTensor is a tensor in JSON; data is flat and row-major.
type jsonTensor struct {
	Type  string           `json:"type"`
	DType string           `json:"dtype"`
	Shape []int            `json:"shape"`
	Data  []mlmodel.Number `json:"data"`
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
		return jsonTensor{"tensor", v.DType().String(), v.Shape(), finite(float64s(v))}
	case image.Image:
		return jsonImage{"image", v.Bounds().Dx(), v.Bounds().Dy()}
	case string:
		return jsonOther{"string", v}
	case int64:
		return jsonOther{"int64", v}
	case float64:
		return jsonOther{"double", mlmodel.Number(v)}
	case map[string]float64:
		return jsonOther{"dictionary", dictionary(v)}
	case map[int64]float64:
		return jsonOther{"dictionary", dictionary(v)}
	}
	return jsonOther{"sequence", v}
}

func finite(v []float64) []mlmodel.Number {
	out := make([]mlmodel.Number, len(v))
	for i, x := range v {
		out[i] = mlmodel.Number(x)
	}
	return out
}

func dictionary[K string | int64](m map[K]float64) map[string]mlmodel.Number {
	out := map[string]mlmodel.Number{}
	for k, v := range m {
		out[fmt.Sprint(k)] = mlmodel.Number(v)
	}
	return out
}
