package coreml_test

import (
	"context"
	"errors"
	"image"
	"math"
	"strings"
	"testing"
	"time"

	"coreml"
	"coreml/internal/spec"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// typed is a model with inputs of several kinds; it gives x unchanged.
func typed(t *testing.T) *coreml.Model {
	t.Helper()
	p := testkit.Program{
		In:  vars{testkit.F32("x", 2, 3), testkit.I32("n", 3), testkit.F32("free", -1, 4)},
		Out: []string{"y"},
		Ops: []op{
			{Type: "cast", In: args{"x": "%n", "dtype": "fp32"}, Out: vars{testkit.F32("f", 3)}},
			{Type: "add", In: args{"x": "%x", "y": "%f"}, Out: vars{testkit.F32("s", 2, 3)}},
			{Type: "reduce_sum", In: args{"x": "%free", "keep_dims": false}, Out: vars{testkit.F32("r")}},
			{Type: "add", In: args{"x": "%s", "y": "%r"}, Out: vars{testkit.F32("y", 2, 3)}},
		}}
	model := p.Model()
	free := model.Description.Input[2].Type.GetMultiArrayType()
	free.Shape = []int64{1, 4}
	free.ShapeFlexibility = &spec.ArrayFeatureType_ShapeRange_{ShapeRange: &spec.ArrayFeatureType_ShapeRange{
		SizeRanges: []*spec.SizeRange{{LowerBound: 1, UpperBound: 8}, {LowerBound: 4, UpperBound: 4}}}}
	m, err := coreml.OpenFS(testkit.FileOf(model), testkit.ModelFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func make32(t *testing.T, shape ...int) *coreml.Tensor {
	t.Helper()
	x, err := tensor.Make(tensor.Float32, shape)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestWrongInputs: each is refused before any work, by a message that says what was expected.
func TestWrongInputs(t *testing.T) {
	m := typed(t)
	for _, c := range []struct {
		name  string
		input string
		value any
		says  []string
	}{
		{"absent", "x", nil, []string{`input "x"`, "not given", "[2 3]"}},
		{"stranger", "z", make32(t, 1), []string{`input "z"`, "no such input", `"x" "n" "free"`}},
		{"rank", "x", make32(t, 6), []string{`input "x"`, "shape [6]", "rank 2", "[2 3]"}},
		{"shape", "x", make32(t, 3, 2), []string{`input "x"`, "shape [3 2]", "[2 3]"}},
		{"empty", "x", make32(t, 0, 3), []string{`input "x"`, "shape [0 3]", "[2 3]"}},
		{"range", "free", make32(t, 9, 4), []string{`input "free"`, "shape [9 4]", "1…8"}},
		{"below range", "free", make32(t, 0, 4), []string{`input "free"`, "shape [0 4]", "1…8"}},
		{"string", "x", "two", []string{`input "x"`, "string", "[2 3]"}},
		{"image", "x", image.NewGray(image.Rect(0, 0, 3, 2)), []string{`input "x"`, "image", "[2 3]"}},
		{"dictionary", "x", map[string]float64{"a": 1}, []string{`input "x"`, "map[string]float64", "[2 3]"}},
		{"number for a matrix", "x", 1.5, []string{`input "x"`, "rank 2"}},
		{"not a number for an integer", "n", floats(t, 1, float32(math.NaN()), 1), []string{`input "n"`, "NaN"}},
		{"infinite for an integer", "n", floats(t, 1, float32(math.Inf(1)), 1), []string{`input "n"`, "Inf"}},
		{"too large for an integer", "n", floats(t, 1, 3e9, 1), []string{`input "n"`, "int32"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := coreml.Features{"x": make32(t, 2, 3), "n": floats(t, 1, 2, 3), "free": make32(t, 2, 4)}
			if in[c.input] = c.value; c.value == nil {
				delete(in, c.input)
			}
			y := make32(t, 2, 3)
			tensor.Data[float32](y)[0] = 42
			err := m.PredictInto(context.Background(), in, coreml.Features{"y": y}, nil)
			if !errors.Is(err, coreml.ErrSchema) {
				t.Fatalf("%v, want %v", err, coreml.ErrSchema)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if len(err.Error()) > 300 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			if tensor.Data[float32](y)[0] != 42 {
				t.Error("the output was written")
			}
		})
	}
	in := coreml.Features{"x": make32(t, 2, 3), "n": floats(t, 1.9, -1.9, 3), "free": make32(t, 2, 4)}
	out, err := m.Predict(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := out["y"].(*coreml.Tensor).Float32s(); !equal(got, []float32{1, -1, 3, 1, -1, 3}) {
		t.Errorf("%v; want floats truncated toward zero for an integer input", got)
	}
}

// TestWrongOutputs: a caller's tensor that does not fit is refused.
func TestWrongOutputs(t *testing.T) {
	m := typed(t)
	in := coreml.Features{"x": make32(t, 2, 3), "n": floats(t, 1, 2, 3), "free": make32(t, 2, 4)}
	err := m.PredictInto(context.Background(), in, coreml.Features{"y": make32(t, 3, 2)}, nil)
	if !errors.Is(err, coreml.ErrSchema) || !strings.Contains(err.Error(), `output "y"`) || !strings.Contains(err.Error(), "[2 3]") {
		t.Errorf("%v; want %v with the output's name and shape", err, coreml.ErrSchema)
	}
}

func TestWrongOptions(t *testing.T) {
	fsys := testkit.Program{In: vars{testkit.F32("x", 4)}, Out: []string{"y"}, Ops: one("relu", args{"x": "%x"}, testkit.F32("y", 4))}.FS()
	for _, c := range []struct {
		name string
		o    coreml.Options
		says string
	}{
		{"function", coreml.Options{Function: "nobody"}, `"main"`},
		{"backend", coreml.Options{Backend: "gpu"}, "want cpu or reference"},
		{"threads", coreml.Options{Threads: -1}, "Threads is -1: invalid: want 0 or more"},
		{"memory", coreml.Options{MemoryLimit: -5}, "MemoryLimit is -5: invalid: want 0 or more"},
		{"timeout", coreml.Options{Timeout: -time.Second}, "Timeout is -1s: invalid: want 0 or more"},
		{"level", coreml.AtLevel(coreml.Options{}, "mmx"), "want one of"},
	} {
		_, err := coreml.OpenFS(fsys, testkit.ModelFile, c.o)
		if !errors.Is(err, coreml.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it to say %q", c.name, err, c.says)
		}
	}
	if _, err := coreml.Open(t.TempDir() + "/absent.mlpackage"); !errors.Is(err, coreml.ErrLoad) {
		t.Errorf("an absent file: %v, want %v", err, coreml.ErrLoad)
	}
}
