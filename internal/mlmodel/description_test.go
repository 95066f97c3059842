package mlmodel

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"coreml/internal/spec"
	"coreml/schema"

	"github.com/google/go-cmp/cmp"
)

func TestNumberMarshalsEveryValue(t *testing.T) {
	for n, want := range map[schema.Number]string{
		schema.Number(math.NaN()):   `"NaN"`,
		schema.Number(math.Inf(1)):  `"Infinity"`,
		schema.Number(math.Inf(-1)): `"-Infinity"`,
		0.25:                        `0.25`,
		-1e300:                      `-1e+300`,
		2147483647:                  `2.147483647e+09`,
	} {
		got, err := json.Marshal(n)
		if err != nil || string(got) != want {
			t.Errorf("%v marshals to %s (%v), want %s", float64(n), got, err, want)
		}
	}
}

func arrayFeature(name string, a *spec.ArrayFeatureType) *spec.FeatureDescription {
	return &spec.FeatureDescription{Name: name, Type: &spec.FeatureType{Type: &spec.FeatureType_MultiArrayType{MultiArrayType: a}}}
}

func imageFeature(i *spec.ImageFeatureType) *spec.FeatureDescription {
	return &spec.FeatureDescription{Name: "x", Type: &spec.FeatureType{Type: &spec.FeatureType_ImageType{ImageType: i}}}
}

func described(inputs ...*spec.FeatureDescription) *spec.Model {
	return &spec.Model{SpecificationVersion: 1, Description: &spec.ModelDescription{Input: inputs},
		Type: &spec.Model_Identity{Identity: &spec.Identity{}}}
}

func ranges(lower uint64, upper int64) *spec.ArrayFeatureType {
	r := &spec.ArrayFeatureType_ShapeRange{SizeRanges: []*spec.SizeRange{{LowerBound: lower, UpperBound: upper}}}
	return &spec.ArrayFeatureType{ShapeFlexibility: &spec.ArrayFeatureType_ShapeRange_{ShapeRange: r}}
}

func TestDescriptionRefusesNonsense(t *testing.T) {
	enumerated := &spec.ArrayFeatureType_EnumeratedShapes{Shapes: []*spec.ArrayFeatureType_Shape{{Shape: []int64{-1}}}}
	sizes := &spec.ImageFeatureType_EnumeratedImageSizes{Sizes: []*spec.ImageFeatureType_ImageSize{{Width: math.MaxUint64}}}
	for name, f := range map[string]*spec.FeatureDescription{
		"negative size":         arrayFeature("x", &spec.ArrayFeatureType{Shape: []int64{2, -1}}),
		"size 2^41":             arrayFeature("x", &spec.ArrayFeatureType{Shape: []int64{1 << 41}}),
		"elements wrap around":  arrayFeature("x", &spec.ArrayFeatureType{Shape: []int64{1 << 32, 1 << 32}}),
		"enumerated size":       arrayFeature("x", &spec.ArrayFeatureType{ShapeFlexibility: &spec.ArrayFeatureType_EnumeratedShapes_{EnumeratedShapes: enumerated}}),
		"range upside down":     arrayFeature("x", ranges(5, 4)),
		"lower bound 2^63":      arrayFeature("x", ranges(1<<63, -1)),
		"negative width":        imageFeature(&spec.ImageFeatureType{Width: -1}),
		"negative height":       imageFeature(&spec.ImageFeatureType{Height: -1}),
		"enumerated image size": imageFeature(&spec.ImageFeatureType{SizeFlexibility: &spec.ImageFeatureType_EnumeratedSizes{EnumeratedSizes: sizes}}),
	} {
		_, err := describe(described(f))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `input "x"`) {
			t.Errorf("%s: got %v, want ErrInvalid naming input x", name, err)
		}
	}
	twice := arrayFeature("x", &spec.ArrayFeatureType{})
	if _, err := describe(described(twice, twice)); !errors.Is(err, ErrInvalid) {
		t.Errorf("two inputs of one name: got %v, want ErrInvalid", err)
	}
}

func TestUnboundedRanges(t *testing.T) {
	for _, upper := range []int64{-1, math.MinInt64, math.MaxInt64} {
		d, err := describe(described(arrayFeature("x", ranges(3, upper))))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff([]schema.Range{{Lower: 3, Upper: schema.Unbounded}}, d.Inputs[0].Tensor.ShapeRange); diff != "" {
			t.Errorf("upper bound %d (-want +got)\n%s", upper, diff)
		}
	}
}

// What a file does not say stays absent.
func TestUnknownStaysUnknown(t *testing.T) {
	d, err := describe(described(&spec.FeatureDescription{Name: "a"}, arrayFeature("b", &spec.ArrayFeatureType{DataType: 77})))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specificationVersion":1,"modelType":"identity","inputs":[{"name":"a"},{"name":"b","type":"tensor","tensor":{}}],"outputs":[]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func functions(defaultName string, names ...string) *spec.Model {
	m := newProgram()
	for _, name := range names {
		m.Description.Functions = append(m.Description.Functions, &spec.FunctionDescription{Name: name})
		m.GetMlProgram().Functions[name] = &spec.Function{Opset: "CoreML8"}
	}
	m.Description.DefaultFunctionName = defaultName
	return m
}

func TestFunctions(t *testing.T) {
	d, err := describe(functions("b", "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "b" || d.Opset != "CoreML8" || len(d.Functions) != 2 {
		t.Errorf("default is %q of opset %q, of %d functions", d.Name, d.Opset, len(d.Functions))
	}
	for name, want := range map[string]string{"": "b", "a": "a", "b": "b"} {
		if f, err := FunctionNamed(d, name); err != nil || f.Name != want {
			t.Errorf("function %q: %v, %v", name, f, err)
		}
	}
	if _, err := FunctionNamed(d, "c"); err == nil || !strings.Contains(err.Error(), `want one of "a" "b"`) {
		t.Errorf("function c: got %v, want the names that there are", err)
	}
	for name, m := range map[string]*spec.Model{
		"no default":      functions("", "a"),
		"unknown default": functions("c", "a"),
		"a name twice":    functions("a", "a", "a"),
	} {
		if _, err := describe(m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}

func stringValue(labels ...string) *spec.Value {
	t := &spec.TensorValue{Value: &spec.TensorValue_Strings{Strings: &spec.TensorValue_RepeatedStrings{Values: labels}}}
	return &spec.Value{Value: &spec.Value_ImmediateValue_{ImmediateValue: &spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_Tensor{Tensor: t}}}}
}

func intValue(labels ...int32) *spec.Value {
	t := &spec.TensorValue{Value: &spec.TensorValue_Ints{Ints: &spec.TensorValue_RepeatedInts{Values: labels}}}
	return &spec.Value{Value: &spec.Value_ImmediateValue_{ImmediateValue: &spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_Tensor{Tensor: t}}}}
}

func listValue(values ...*spec.Value) *spec.Value {
	l := &spec.ListValue{Values: values}
	return &spec.Value{Value: &spec.Value_ImmediateValue_{ImmediateValue: &spec.Value_ImmediateValue{Value: &spec.Value_ImmediateValue_List{List: l}}}}
}

// The classes of a program are the operand of its classify operation.
func TestProgramLabels(t *testing.T) {
	for name, c := range map[string]struct {
		classes *spec.Value
		want    *schema.ClassLabels
	}{
		"strings":           {stringValue("a", "b"), &schema.ClassLabels{Strings: []string{"a", "b"}}},
		"list of strings":   {listValue(stringValue("a"), stringValue("b")), &schema.ClassLabels{Strings: []string{"a", "b"}}},
		"integers":          {intValue(1, -2), &schema.ClassLabels{Int64s: []int64{1, -2}}},
		"list of integers":  {listValue(intValue(1), intValue(-2)), &schema.ClassLabels{Int64s: []int64{1, -2}}},
		"mixed":             {listValue(stringValue("a"), intValue(1)), nil},
		"mixed, turned":     {listValue(intValue(1), stringValue("a")), nil},
		"not scalars":       {listValue(stringValue("a", "b")), nil},
		"neither":           {listValue(&spec.Value{}), nil},
		"something unknown": {&spec.Value{}, nil},
	} {
		inline := &spec.Argument{Arguments: []*spec.Argument_Binding{{Binding: &spec.Argument_Binding_Value{Value: c.classes}}}}
		named := &spec.Argument{Arguments: []*spec.Argument_Binding{{Binding: &spec.Argument_Binding_Name{Name: "classes"}}}}
		constant := &spec.Operation{Type: "const", Outputs: []*spec.NamedValueType{{Name: "classes"}}, Attributes: map[string]*spec.Value{"val": c.classes}}
		for _, classes := range []*spec.Argument{inline, named} {
			classify := &spec.Operation{Type: "classify", Inputs: map[string]*spec.Argument{"classes": classes}}
			d, err := describe(newProgram(constant, classify))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, d.ClassLabels); diff != "" {
				t.Errorf("%s (-want +got)\n%s", name, diff)
			}
		}
	}
	for name, classes := range map[string]*spec.Argument{
		"computed": {Arguments: []*spec.Argument_Binding{{Binding: &spec.Argument_Binding_Name{Name: "x"}}}},
		"absent":   {},
	} {
		d, err := describe(newProgram(&spec.Operation{Type: "classify", Inputs: map[string]*spec.Argument{"classes": classes}}))
		if err != nil || d.ClassLabels != nil {
			t.Errorf("%s classes: got %v, %v, want none", name, d.ClassLabels, err)
		}
	}
}

// Xcode's edits lie beside the model and replace its words.
func TestOverlays(t *testing.T) {
	p := newPackage()
	p.model.Description.Metadata = &spec.Metadata{Author: "inside", License: "inside"}
	p.model.Description.Input = []*spec.FeatureDescription{{Name: "x", ShortDescription: "inside"}, {Name: "y", ShortDescription: "inside"}}
	p.manifest = []byte(`{"fileFormatVersion":"1.0.0","rootModelIdentifier":"A","itemInfoEntries":{
		"A":{"name":"model.mlmodel","path":"com.apple.CoreML/model.mlmodel"},
		"B":{"name":"Metadata.json","path":"com.apple.CoreML/m.json"},
		"C":{"name":"FeatureDescriptions.json","path":"com.apple.CoreML/f.json"}}}`)
	p.extra = map[string]string{
		"Data/com.apple.CoreML/m.json": `{"MLModelAuthorKey":"outside","MLModelVersionStringKey":"2","MLModelCreatorDefinedKey":{"k":"v"}}`,
		"Data/com.apple.CoreML/f.json": `{"Inputs":{"x":{"MLFeatureShortDescription":"outside"},"z":{"MLFeatureShortDescription":"outside"}}}`,
	}
	d, err := Describe(p.write(t))
	if err != nil {
		t.Fatal(err)
	}
	want := schema.Metadata{Author: "outside", License: "inside", Version: "2", UserDefined: map[string]string{"k": "v"}}
	if diff := cmp.Diff(want, d.Metadata); diff != "" {
		t.Errorf("metadata (-want +got)\n%s", diff)
	}
	for i, words := range []string{"outside", "inside"} {
		// The function and the model describe the same inputs.
		if got := [2]string{d.Inputs[i].ShortDescription, d.Functions[0].Inputs[i].ShortDescription}; got != [2]string{words, words} {
			t.Errorf("input %d is described as %q, want %q", i, got, words)
		}
	}
	p.extra["Data/com.apple.CoreML/m.json"] = "[1,2"
	if _, err := Describe(p.write(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("broken overlay: got %v, want ErrInvalid", err)
	}
	delete(p.extra, "Data/com.apple.CoreML/m.json")
	if d, err := Describe(p.write(t)); err != nil || d.Metadata.Author != "inside" {
		t.Errorf("absent overlay: got %v, want the words inside", err)
	}
}
