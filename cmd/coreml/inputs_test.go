package main

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"coreml"
	"coreml/schema"
	"coreml/tensor"
)

func tensorFeature(shape ...int) *coreml.Feature {
	return &coreml.Feature{Name: "x", Type: schema.TypeTensor, Tensor: &schema.TensorConstraint{DType: tensor.Float32, Shape: append([]int{}, shape...)}}
}

func TestParseInput(t *testing.T) {
	of := func(k schema.FeatureType) *coreml.Feature { return &coreml.Feature{Type: k} }
	words := &coreml.Feature{Type: schema.TypeSequence, Sequence: &schema.SequenceConstraint{ElementType: schema.TypeString}}
	ints := &coreml.Feature{Type: schema.TypeSequence, Sequence: &schema.SequenceConstraint{ElementType: schema.TypeInt64}}
	byInt := &coreml.Feature{Type: schema.TypeDictionary, Dictionary: &schema.DictionaryConstraint{KeyType: schema.TypeInt64}}
	for _, c := range []struct {
		d    *coreml.Feature
		text string
		want string // as printed; empty: refused
	}{
		{tensorFeature(), "1.5", "tensor<fp64, []> [1.5]"},
		{tensorFeature(1), "-1e3", "tensor<fp64, [1]> [-1000]"},
		{tensorFeature(2, 2), "[1,2,3,4]", "tensor<fp64, [2, 2]> [1 2 3 4]"},
		{tensorFeature(2, 2), "[1,2,3]", "tensor<fp64, [3]> [1 2 3]"},
		{tensorFeature(2, 2), "[[1,2],[3,4]]", "tensor<fp64, [2, 2]> [1 2 3 4]"},
		{tensorFeature(2), "[true, false]", "tensor<fp64, [2]> [1 0]"},
		{tensorFeature(0), "[]", "tensor<fp64, [0]> []"},
		{tensorFeature(2), "[[1],[2,3]]", ""},
		{tensorFeature(2), "[[1],2]", ""},
		{tensorFeature(2), `["a"]`, ""},
		{tensorFeature(2), "[1,2", ""},
		{tensorFeature(2), "[1] 2", ""},
		{tensorFeature(2), "", ""},
		{of(schema.TypeString), "[1]", "[1]"},
		{of(schema.TypeInt64), "-7", "-7"},
		{of(schema.TypeInt64), "1.5", ""},
		{of(schema.TypeDouble), "1.5", "1.5"},
		{of(schema.TypeDouble), "x", ""},
		{of(schema.TypeDictionary), `{"a": 1, "b": 2.5}`, "map[a:1 b:2.5]"},
		{of(schema.TypeDictionary), `{"a": "b"}`, ""},
		{byInt, `{"3": 1}`, "map[3:1]"},
		{byInt, `{"a": 1}`, ""},
		{byInt, `{"3": "x"}`, ""},
		{byInt, `{"3": 1, "03": 2}`, ""},
		{words, `["a","b"]`, "[a b]"},
		{ints, `[1,2]`, "[1 2]"},
		{ints, `["a"]`, ""},
	} {
		v, err := parseInput(c.d, c.text)
		got := fmt.Sprint(v)
		if x, ok := v.(*tensor.Tensor); ok && err == nil {
			got = fmt.Sprint(x, tensor.Data[float64](x))
		}
		if (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("parseInput(%s, %q) = %s, %v; want %q", c.d.Type, c.text, got, err, c.want)
		}
	}
}

func TestAssignment(t *testing.T) {
	f := &function{Inputs: []coreml.Feature{{Name: "x"}, {Name: "x=y"}, {Name: ""}}}
	for text, want := range map[string]string{"x=1": "x 1", "x=": "x ", "x=y=2": "x=y 2", "x=z=2": "x z=2", "=3": " 3", "y=1": "", "x": ""} {
		i, value, err := assignment(f, text)
		got := ""
		if err == nil {
			got = f.Inputs[i].Name + " " + value
		}
		if got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "512MiB": 512 << 20, "2GB": 2e9, "1.5k": 1536, "3 GiB": 3 << 30, "7b": 7,
		"": 0, "0": 0, "-1": 0, "x": 0, "MiB": 0, "1e30": 0, "NaN": 0} {
		var b byteSize
		if err := b.Set(text); int64(b) != want || (err == nil) != (want > 0) {
			t.Errorf("Set(%q) = %d, %v; want %d", text, b, err, want)
		}
	}
}

func TestPercentile(t *testing.T) {
	l := make([]float64, 100)
	for i := range l {
		l[i] = float64(i + 1)
	}
	for q, want := range map[float64]float64{0.5: 50, 0.95: 95, 0.99: 99} {
		if got := percentile(l, q); got != want {
			t.Errorf("percentile(1…100, %g) = %g, want %g", q, got, want)
		}
	}
	if got := percentile([]float64{3}, 0.99); got != 3 {
		t.Errorf("percentile of one = %g, want it", got)
	}
}

func TestSummary(t *testing.T) {
	s := summarise([]float64{1, math.NaN(), -3, 5})
	if s.min != -3 || s.max != 5 || s.mean != 1 || s.nan != 1 {
		t.Errorf("summary %+v, want -3, 5, 1 and one NaN", s)
	}
	if s := summarise(nil); !math.IsNaN(s.mean) {
		t.Errorf("summary of nothing %+v, want NaN", s)
	}
	l := sorted(map[string]float64{"b": 1, "a": 1, "c": math.NaN(), "d": 2})
	if fmt.Sprint(l) != "[{d 2} {a 1} {b 1} {c NaN}]" {
		t.Errorf("sorted %v: want the largest first, equal ones by name, NaN last", l)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"a/b.c": "a/b.c", "x=[1,2]": "'x=[1,2]'", "": "''", "it's": `'it'\''s'`,
		"a\nb'\\": `$'a\x0ab\'\\'`, "\x1b[31mgröße\xff": `$'\x1b[31mgröße\xff'`, "a b": "'a b'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

// TestEmptyDictionary: the type is the description's, also where no key shows it.
func TestEmptyDictionary(t *testing.T) {
	for k, want := range map[schema.FeatureType]any{schema.TypeInt64: map[int64]float64{}, schema.TypeString: map[string]float64{}} {
		d := &coreml.Feature{Type: schema.TypeDictionary, Dictionary: &schema.DictionaryConstraint{KeyType: k}}
		got, err := parseInput(d, "{}")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("by %v: %#v, %v; want %#v", k, got, err, want)
		}
	}
}
