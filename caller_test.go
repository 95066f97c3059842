package coreml_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"strings"
	"testing"
	"time"

	"coreml"
	"coreml/internal/spec"
	"coreml/internal/testkit"
	"coreml/tensor"
)

// picture is an image type of the caller's own, with a method that panics.
type picture struct {
	rect     image.Rectangle
	atBounds bool
}

func (p picture) ColorModel() color.Model { return color.RGBAModel }
func (p picture) At(int, int) color.Color { panic("no pixel here") }
func (p picture) Bounds() image.Rectangle {
	if p.atBounds {
		panic("no bounds")
	}
	return p.rect
}

// stacks are the programs that may stand between the caller and the engine.
func stacks() map[string]coreml.Options {
	pass := func(next coreml.Predictor) coreml.Predictor { return next }
	return map[string]coreml.Options{
		"cpu":       {},
		"reference": {Backend: "reference"},
		"copies":    {Fallback: &coreml.Fallback{}, Wrap: pass},
		"child":     {Isolate: &coreml.Isolation{}},
	}
}

// TestUnreadableImages: what cannot be read is the error of that call, whoever reads it first.
func TestUnreadableImages(t *testing.T) {
	r := image.Rect(0, 0, 64, 64)
	for way, o := range stacks() {
		t.Run(way, func(t *testing.T) {
			m := open(t, classifier, o)
			for i, img := range []any{
				(*image.RGBA)(nil), (*image.Gray)(nil), (*image.YCbCr)(nil), (*picture)(nil), (*coreml.Tensor)(nil), &coreml.Tensor{},
				&image.RGBA{Rect: r}, &image.NRGBA{Rect: r}, &image.Gray{Rect: r}, &image.YCbCr{Rect: r}, &image.RGBA{Rect: image.Rect(0, 0, 100, 80)},
				image.NewRGBA(image.Rect(0, 0, 0, 0)), picture{rect: r}, picture{rect: image.Rect(0, 0, 99, 99)}, picture{atBounds: true},
			} {
				_, err := m.Predict(ctx, coreml.Features{"image": img})
				if !errors.Is(err, coreml.ErrSchema) || !strings.Contains(err.Error(), "image") || len(err.Error()) > 400 {
					t.Errorf("%d: %T: %v, want %v", i, img, err, coreml.ErrSchema)
				}
			}
			if out, err := m.Predict(ctx, coreml.Features{"image": redSquare()}); err != nil || out["classLabel"] != "red" {
				t.Errorf("afterwards: %v, %v", out["classLabel"], err)
			}
		})
	}
}

// TestNumbersOfGo: every type of number is taken for a single number.
func TestNumbersOfGo(t *testing.T) {
	fsys := testkit.Program{In: vars{testkit.I32("n"), testkit.F32("x", 1)}, Out: []string{"y"}, Ops: []op{
		{Type: "cast", In: args{"x": "%n", "dtype": "fp32"}, Out: vars{testkit.F32("f")}},
		{Type: "add", In: args{"x": "%x", "y": "%f"}, Out: vars{testkit.F32("y", 1)}}}}.FS()
	for way, o := range stacks() {
		if way == "child" {
			o.Threads = 1
		}
		m, err := coreml.OpenFS(fsys, testkit.ModelFile, o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, v := range []any{int(1), int8(1), int16(1), int32(1), int64(1), uint(1), uint8(1), uint16(1), uint32(1), uint64(1), true, float32(1), float64(1)} {
			out, err := m.Predict(ctx, coreml.Features{"n": v, "x": v})
			if err != nil {
				t.Errorf("%s: %T: %v", way, v, err)
			} else if got := out["y"].(*coreml.Tensor).Float32s(); !equal(got, []float32{2}) {
				t.Errorf("%s: %T: %v, want 2", way, v, got)
			}
		}
		for _, v := range []any{uint32(1 << 31), uint64(math.MaxUint64), int64(math.MaxInt64), complex(1, 0), uintptr(1), []int{1}, struct{}{}, (*coreml.Tensor)(nil)} {
			if _, err := m.Predict(ctx, coreml.Features{"n": v, "x": 1}); !errors.Is(err, coreml.ErrSchema) {
				t.Errorf("%s: %T: %v, want %v", way, v, err, coreml.ErrSchema)
			}
		}
	}
}

// counting adds x to a state and gives it as y, and as z where x is not zero.
func counting(t *testing.T, o coreml.Options) *coreml.Model {
	t.Helper()
	m, err := coreml.OpenFS(testkit.Program{
		In: vars{testkit.F32("x", 4)}, States: vars{testkit.F32("s", 4)}, Out: []string{"y", "z"},
		Ops: []op{
			{Type: "read_state", In: args{"input": "%s"}, Out: vars{testkit.F32("old", 4)}},
			{Type: "add", In: args{"x": "%old", "y": "%x"}, Out: vars{testkit.F32("y", 4)}},
			{Type: "write_state", In: args{"input": "%s", "data": "%y"}},
			{Type: "non_zero", In: args{"x": "%x"}, Out: vars{testkit.I32("z", -1, 1)}},
		}}.FS(), testkit.ModelFile, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestWrongOutputsDoNotTouchTheState: what does not fit is refused before the run, and
// what only the run can tell leaves a state that has made the step.
func TestWrongOutputsDoNotTouchTheState(t *testing.T) {
	for way, o := range stacks() {
		t.Run(way, func(t *testing.T) {
			m := counting(t, o)
			s, err := m.NewState()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			in := coreml.Features{"x": floats(t, 1, 0, 1, 0)}
			holds := func(what string, n float32) {
				t.Helper()
				f, err := s.Save()
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got := f["s"].(*coreml.Tensor).Float32s(); !equal(got, []float32{n, 0, n, 0}) {
					t.Errorf("%s: the state is %v, want %v", what, got, n)
				}
			}
			step := func(out coreml.Features) error { return m.PredictInto(ctx, in, out, s) }
			if err := step(coreml.Features{"y": nil, "z": (*coreml.Tensor)(nil)}); err != nil {
				t.Fatalf("outputs to be filled in: %v", err)
			}
			holds("after one step", 1)
			known := float32(1)
			for what, out := range map[string]coreml.Features{
				"shape": {"y": floats(t, 0)}, "rank": {"y": make32(t, 2, 2)}, "name": {"typo": floats(t, 1, 2, 3, 4)},
				"dtype": {"y": tensor.New(tensor.Float8E5M2, 4)}, "nothing": {"y": &coreml.Tensor{}},
			} {
				err := step(out)
				if way == "reference" && (what == "shape" || what == "rank") {
					known++ // it plans nothing, and so cannot know
				}
				if !errors.Is(err, coreml.ErrSchema) || !strings.Contains(err.Error(), "output ") {
					t.Errorf("%s: %v, want %v", what, err, coreml.ErrSchema)
				}
				holds(what, known)
			}
			if err := step(coreml.Features{"z": tensor.New(tensor.Int32, 3, 1)}); !errors.Is(err, coreml.ErrSchema) {
				t.Errorf("a shape that only the run knows: %v, want %v", err, coreml.ErrSchema)
			}
			holds("after the run", known+1)
			out := coreml.Features{"y": tensor.New(tensor.Float16, 4), "z": tensor.New(tensor.Int64, 2, 1)}
			y := out["y"]
			if err := step(out); err != nil || out["y"] != y || !equal(y.(*coreml.Tensor).Float32s(), []float32{known + 2, 0, known + 2, 0}) {
				t.Errorf("into tensors that fit: %v, %v", out, err)
			}
		})
	}
}

// TestOutputsBeforeTheRun: of flexible models too, and of results that are no tensors.
func TestOutputsBeforeTheRun(t *testing.T) {
	m := typed(t)
	in := coreml.Features{"x": make32(t, 2, 3), "n": floats(t, 1, 2, 3), "free": make32(t, 2, 4)}
	for name, v := range map[string]any{"y": make32(t, 3, 2), "z": nil, "": make32(t, 1), "x": make32(t, 2, 3)} {
		err := m.PredictInto(ctx, in, coreml.Features{name: v}, nil)
		if !errors.Is(err, coreml.ErrSchema) || !strings.Contains(err.Error(), fmt.Sprintf("output %q", name)) || !strings.Contains(err.Error(), "2") && !strings.Contains(err.Error(), `want "y"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := open(t, classifier, coreml.Options{})
	pic := coreml.Features{"image": redSquare()}
	if err := c.PredictInto(ctx, pic, coreml.Features{"classLabel": floats(t, 1)}, nil); !errors.Is(err, coreml.ErrSchema) || !strings.Contains(err.Error(), "classLabel") {
		t.Errorf("a tensor for a label: %v", err)
	}
	out := coreml.Features{"classLabel": "green"}
	for range 2 { // what an earlier call has left there is replaced
		if err := c.PredictInto(ctx, pic, out, nil); err != nil || out["classLabel"] != "red" {
			t.Errorf("%v, %v", out["classLabel"], err)
		}
	}
}

// TestOutputIsFloat16Image: one is given as a tensor, and into the caller's.
func TestOutputIsFloat16Image(t *testing.T) {
	p := testkit.Program{In: vars{testkit.F32("x", 1, 1, 2, 3)}, Out: []string{"y"}, Ops: one("relu", args{"x": "%x"}, testkit.F32("y", 1, 1, 2, 3))}.Model()
	p.Description.Output[0].Type = imageType(&spec.ImageFeatureType{Width: 3, Height: 2, ColorSpace: spec.ImageFeatureType_GRAYSCALE_FLOAT16})
	m, err := coreml.OpenFS(testkit.FileOf(p), testkit.ModelFile)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	in, out := coreml.Features{"x": tensor.Of([]float32{1, 2, 3, 4, 5, 6}, 1, 1, 2, 3)}, coreml.Features{"y": make32(t, 2, 3)}
	y := out["y"].(*coreml.Tensor)
	for range 2 {
		if err := m.PredictInto(ctx, in, out, nil); err != nil || out["y"] != any(y) || !equal(y.Float32s(), []float32{1, 2, 3, 4, 5, 6}) {
			t.Errorf("%v, %v", out, err)
		}
	}
	if err := m.PredictInto(ctx, in, coreml.Features{"y": make32(t, 3, 2)}, nil); !errors.Is(err, coreml.ErrSchema) {
		t.Errorf("of another shape: %v", err)
	}
}

// TestWrongStates: each is refused, by name, and leaves the state as it was.
func TestWrongStates(t *testing.T) {
	for way, o := range stacks() {
		t.Run(way, func(t *testing.T) {
			m := counting(t, o)
			s, err := m.NewState()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Load(coreml.Features{"s": floats(t, 1, 2, 3, 4)}); err != nil {
				t.Fatal(err)
			}
			for what, f := range map[string]coreml.Features{
				"nil tensor": {"s": (*coreml.Tensor)(nil)}, "nil": {"s": nil}, "shape": {"s": floats(t, 1)}, "text": {"s": strings.Repeat("x", 3000)},
				"zero tensor": {"s": &coreml.Tensor{}}, "name": {"s": floats(t, 5, 6, 7, 8), "q": floats(t, 1)}, "image": {"s": image.NewGray(image.Rect(0, 0, 2, 2))},
			} {
				err := s.Load(f)
				if !errors.Is(err, coreml.ErrSchema) || len(err.Error()) > 300 {
					t.Errorf("%s: %v, want %v", what, err, coreml.ErrSchema)
				} else if name := map[bool]string{true: `"q"`, false: `"s"`}[what == "name"]; !strings.Contains(err.Error(), name) {
					t.Errorf("%s: %v does not name it", what, err)
				}
			}
			f, err := s.Save()
			if err != nil {
				t.Fatal(err)
			}
			if got := f["s"].(*coreml.Tensor).Float32s(); !equal(got, []float32{1, 2, 3, 4}) {
				t.Errorf("the state is %v", got)
			}
		})
	}
}

func imageType(i *spec.ImageFeatureType) *spec.FeatureType {
	return &spec.FeatureType{Type: &spec.FeatureType_ImageType{ImageType: i}}
}

// TestTensorsForImages: of the sizes that an image may have as it is, and no others.
func TestTensorsForImages(t *testing.T) {
	upTo := func(n int64) *spec.SizeRange { return &spec.SizeRange{LowerBound: 16, UpperBound: n} }
	sizes := &spec.ImageFeatureType_EnumeratedImageSizes{}
	for _, s := range [][2]uint64{{16, 16}, {8, 8}, {64, 32}} {
		sizes.Sizes = append(sizes.Sizes, &spec.ImageFeatureType_ImageSize{Width: s[0], Height: s[1]})
	}
	for _, c := range []struct {
		name        string
		image       *spec.ImageFeatureType
		good, wrong [][]int
		says        []string
	}{
		{"range", &spec.ImageFeatureType{Width: 16, Height: 16, SizeFlexibility: &spec.ImageFeatureType_ImageSizeRange_{
			ImageSizeRange: &spec.ImageFeatureType_ImageSizeRange{WidthRange: upTo(96), HeightRange: upTo(-1)}}},
			[][]int{{16, 16}, {200, 96}, {17, 31}}, [][]int{{16, 97}, {15, 16}, {2, 2}}, []string{"RGB", "16…96 × 16…", "[1 3 16… 16…96]"}},
		{"enumeration", &spec.ImageFeatureType{Width: 16, Height: 16, SizeFlexibility: &spec.ImageFeatureType_EnumeratedSizes{EnumeratedSizes: sizes}},
			[][]int{{16, 16}, {8, 8}, {32, 64}}, [][]int{{64, 32}, {9, 9}, {100, 100}}, []string{"RGB", "16 × 16 or 8 × 8 or 64 × 32", "[1 3 height width]"}},
		{"fixed", &spec.ImageFeatureType{Width: 12, Height: 8}, [][]int{{8, 12}}, [][]int{{12, 8}, {9, 12}}, []string{"RGB, 12 × 8", "[1 3 8 12]"}},
	} {
		c.image.ColorSpace = spec.ImageFeatureType_RGB
		p := testkit.Program{In: vars{testkit.F32("x", 1, 3, -1, -1)}, Out: []string{"y"}, Ops: one("relu", args{"x": "%x"}, testkit.F32("y", 1, 3, -1, -1))}.Model()
		p.Description.Input[0].Type = imageType(c.image)
		m, err := coreml.OpenFS(testkit.FileOf(p), testkit.ModelFile)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		for _, s := range c.good {
			if _, err := m.Predict(ctx, coreml.Features{"x": make32(t, 1, 3, s[0], s[1])}); err != nil {
				t.Errorf("%s: %v: %v", c.name, s, err)
			}
		}
		for _, v := range append(c.wrong, nil) {
			x := any("a text")
			if v != nil {
				x = make32(t, 1, 3, v[0], v[1])
			}
			_, err := m.Predict(ctx, coreml.Features{"x": x})
			if !errors.Is(err, coreml.ErrSchema) {
				t.Errorf("%s: %v: %v, want %v", c.name, v, err, coreml.ErrSchema)
				continue
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%s: %q does not say %q", c.name, err, s)
				}
			}
		}
	}
}

// TestDescriptionIsOfTheOpenedFunction: what the model takes and gives, not what the default would.
func TestDescriptionIsOfTheOpenedFunction(t *testing.T) {
	p := testkit.Program{In: vars{testkit.F32("x", 4)}, Out: []string{"y"}, Ops: one("relu", args{"x": "%x"}, testkit.F32("y", 4))}.Model()
	other := testkit.Program{In: vars{testkit.F32("a", 2)}, Out: []string{"b"}, Ops: one("exp", args{"x": "%a"}, testkit.F32("b", 2))}.Model()
	p.GetMlProgram().Functions["other"] = other.GetMlProgram().Functions["main"]
	p.Description = &spec.ModelDescription{DefaultFunctionName: "main", Functions: []*spec.FunctionDescription{
		{Name: "main", Input: p.Description.Input, Output: p.Description.Output},
		{Name: "other", Input: other.Description.Input, Output: other.Description.Output}}}
	for name, want := range map[string]string{"": "main x y", "main": "main x y", "other": "other a b"} {
		m, err := coreml.OpenFS(testkit.FileOf(p), testkit.ModelFile, coreml.Options{Function: name})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		d := m.Description()
		if got := fmt.Sprint(d.Name, " ", d.Inputs[0].Name, " ", d.Outputs[0].Name); got != want || len(d.Functions) != 2 {
			t.Errorf("opened %q: described as %s with %d functions, want %s", name, got, len(d.Functions), want)
		}
		if _, err := m.Predict(context.Background(), defaults(t, m, 1)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestResultTwice: a program may give one value twice; the caller gets it once.
func TestResultTwice(t *testing.T) {
	p := testkit.Program{In: vars{testkit.F32("x", 2)}, Out: []string{"y"}, Ops: one("relu", args{"x": "%x"}, testkit.F32("y", 2))}.Model()
	for _, b := range p.GetMlProgram().Functions["main"].BlockSpecializations {
		b.Outputs = []string{"y", "y"}
	}
	for _, backend := range []string{"cpu", "reference"} {
		m, err := coreml.OpenFS(testkit.FileOf(p), testkit.ModelFile, coreml.Options{Backend: backend})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		out := coreml.Features{}
		for range 2 {
			if err := m.PredictInto(ctx, coreml.Features{"x": floats(t, 1, 2)}, out, nil); err != nil || len(out) != 1 || !equal(out["y"].(*coreml.Tensor).Float32s(), []float32{1, 2}) {
				t.Errorf("%s: %v, %v", backend, out, err)
			}
		}
		if err := m.PredictInto(ctx, coreml.Features{"x": floats(t, 1, 2)}, coreml.Features{"y": nil, "z": nil}, nil); !errors.Is(err, coreml.ErrSchema) {
			t.Errorf("%s: %v", backend, err)
		}
	}
}

// TestStateOfARunThatWasCutOff is neither what it was nor what it was to be, on any backend.
func TestStateOfARunThatWasCutOff(t *testing.T) {
	for _, backend := range []string{"cpu", "reference"} {
		m := endless(t, coreml.Options{Backend: backend})
		s, err := m.NewState()
		if err != nil {
			t.Fatal(err)
		}
		step := func(ctx context.Context, on int) error {
			return m.PredictInto(ctx, coreml.Features{"x": floats(t, 1, 2, 3, 4), "go": on}, coreml.Features{}, s)
		}
		soon, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		if err := step(soon, 1); !errors.Is(err, coreml.ErrTimeout) {
			t.Errorf("%s: %v, want %v", backend, err, coreml.ErrTimeout)
		}
		cancel()
		if err := step(ctx, 0); !errors.Is(err, coreml.ErrState) {
			t.Errorf("%s: %v, want %v", backend, err, coreml.ErrState)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := step(ctx, 0); !errors.Is(err, coreml.ErrClosed) {
			t.Errorf("%s: %v, want %v", backend, err, coreml.ErrClosed)
		}
	}
}
