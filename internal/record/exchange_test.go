package record

import (
	"bytes"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"coreml/schema"
	"coreml/tensor"
)

func roundTrip(t *testing.T, f tensor.Features, d []schema.Feature) tensor.Features {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f.npz")
	w, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFeatures(w, f, d); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, err := ReadFeatures(name)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFeaturesRoundTrip(t *testing.T) {
	rgb := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	rgb.Set(0, 0, color.NRGBA{1, 2, 3, 255})
	rgb.Set(1, 0, color.NRGBA{4, 5, 6, 255})
	clear := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	clear.Set(0, 0, color.NRGBA{9, 8, 7, 100})
	gray := image.NewGray(image.Rect(0, 0, 2, 1))
	gray.Pix[1] = 77
	in := tensor.Features{
		"int": int64(-7), "word": `a "b" NaN`, "double": 1.5, "nan": math.NaN(), "inf": math.Inf(-1),
		"labels": map[string]float64{"Infinity": math.Inf(1), "b\\": math.NaN(), "c": 0.25}, "empty": map[string]float64{},
		"ids": map[int64]float64{-3: 1, 5: 2}, "words": []string{"x", ""}, "numbers": []int64{1, 2},
		"rgb": rgb, "clear": clear, "gray": gray,
		"half": tensor.Float16Of([]uint16{0x3c00, 0x4000}, 2),
	}
	got := roundTrip(t, in, nil)
	same := cmp.Options{cmpopts.EquateNaNs(), cmp.Comparer(func(a, b *tensor.Tensor) bool {
		return a.String() == b.String() && bytes.Equal(a.Bytes(), b.Bytes())
	})}
	if diff := cmp.Diff(map[string]any(in), map[string]any(got), same); diff != "" {
		t.Errorf("what comes back differs (-want +got):\n%s", diff)
	}
}

func TestFloatImage(t *testing.T) {
	d := []schema.Feature{{Name: "depth", Image: &schema.ImageConstraint{ColorSpace: "GRAYSCALE_FLOAT16"}}}
	got := roundTrip(t, tensor.Features{"depth": tensor.Of([]float32{0.5, 1, 2, 3}, 2, 2)}, d)
	if x, ok := got["depth"].(*tensor.Tensor); !ok || x.String() != "tensor<fp32, [1, 1, 2, 2]>" {
		t.Errorf("a picture of mode F comes back as %v, want a tensor as the model takes it", got["depth"])
	}
}

// TestMetaOfPython reads what Python's json writes.
func TestMetaOfPython(t *testing.T) {
	meta := `{"a": {"kind": "double", "data": NaN}, "b": {"kind": "dict", "items": [["x", Infinity], ["y", 1]]}, "c": {"kind": "int", "data": 3}, "d": {"kind": "double", "data": 2}}`
	one := tensor.Of([]float64{7}, 1)
	f, err := DecodeFeatures(map[string]*tensor.Tensor{metaMember: tensor.Of([]byte(meta)), "x": one})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"a": math.NaN(), "b": map[string]float64{"x": math.Inf(1), "y": 1}, "c": int64(3), "d": 2.0, "x": one}
	if diff := cmp.Diff(want, map[string]any(f), cmpopts.EquateNaNs(), cmp.Comparer(func(a, b *tensor.Tensor) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestMetaRefused(t *testing.T) {
	for _, meta := range []string{`{`, `[]`, `{"a": {"kind": "banana"}}`, `{"a": {"kind": "image", "mode": "RGB"}}`, `{"a": {"kind": "dict", "items": [[1.5]]}}`,
		`{"a": {"kind": "double", "data": "x"}}`, `{"a": {"kind": "int"}}`, `{"a": {"kind": "dict", "items": [[null, 1]]}}`, `{"a": {"kind": "dict", "items": [[1.5, 1]]}}`} {
		if f, err := DecodeFeatures(map[string]*tensor.Tensor{metaMember: tensor.Of([]byte(meta))}); err == nil {
			t.Errorf("%s gives %v, want an error", meta, f)
		}
	}
	for mode, shape := range map[string][]int{"L": {1, 1, 300}, "RGB": {1, 1, 300}, "RGBA": {1, 1, 3}, "F": {2}, "CMYK": {1, 1, 4}} {
		f, err := DecodeFeatures(map[string]*tensor.Tensor{"a": tensor.New(tensor.UInt8, shape...), metaMember: tensor.Of([]byte(`{"a": {"kind": "image", "mode": "` + mode + `"}}`))})
		if err == nil {
			t.Errorf("an image of mode %s and shape %v gives %v, want an error", mode, shape, f)
		}
	}
	if _, err := DecodeFeatures(map[string]*tensor.Tensor{metaMember: tensor.Of([]float32{1})}); err == nil {
		t.Error("a float array as the description is taken, want an error")
	}
}

func TestReservedName(t *testing.T) {
	if err := WriteFeatures(&bytes.Buffer{}, tensor.Features{metaMember: int64(1)}, nil); err == nil {
		t.Error("a feature named as the description is written, want an error")
	}
}
