// Package record writes recorded cases, and reads and writes the features in them.
package record

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"io"
	"io/fs"
	"math"
	"slices"
	"sort"
	"strconv"

	"coreml/internal/fault"
	"coreml/schema"
	"coreml/tensor"
)

// metaMember is the npz member that describes the features which are no plain
// arrays: UTF-8 JSON in uint8, name → Value.
const metaMember = "__meta__"

// ReadFeatures reads the features of one call from an npz file: a member for
// each array, and what [WriteFeatures] says of the rest.
func ReadFeatures(name string) (tensor.Features, error) {
	a, err := tensor.OpenNpz(name)
	var file *fs.PathError
	if errors.As(err, &file) {
		return nil, err // which names it
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f, err := DecodeFeatures(a.Tensors)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// DecodeFeatures makes features of the members of an npz file.
func DecodeFeatures(arrays map[string]*tensor.Tensor) (tensor.Features, error) {
	meta := map[string]Value{}
	if t := arrays[metaMember]; t != nil {
		if t.DType() != tensor.UInt8 {
			return nil, fmt.Errorf("member %s: %v: %w: want JSON in uint8", metaMember, t, fault.Invalid)
		}
		if err := json.Unmarshal(QuoteNonFinite(t.Bytes()), &meta); err != nil {
			return nil, fmt.Errorf("member %s: %w: %w", metaMember, fault.Invalid, err)
		}
	}
	f := tensor.Features{}
	for name, t := range arrays {
		if name != metaMember {
			f[name] = t
		}
	}
	for name, v := range meta {
		v.NPZ = name
		if t := arrays[name]; v.Data == nil && v.isNumber() && t != nil && t.Len() == 1 {
			continue // a number that is stored as an array of one element
		}
		x, err := v.Decode(arrays)
		if err != nil {
			return nil, fmt.Errorf("feature %q: %w: %w", name, fault.Invalid, err)
		}
		f[name] = x
	}
	return f, nil
}

func (v *Value) isNumber() bool { return v.Kind == "int" || v.Kind == "int64" || v.Kind == "double" }

// WriteFeatures writes features as an npz file that ReadFeatures reads. The
// descriptions, which may be nil, tell a tensor from an image whose pixels are
// no bytes. The same features give the same bytes.
func WriteFeatures(w io.Writer, f tensor.Features, described []schema.Feature) error {
	arrays := map[string]*tensor.Tensor{}
	meta := []byte("{")
	for _, name := range sortedNames(f) {
		if name == metaMember {
			return fmt.Errorf("record: feature %q: the name is taken: %w", name, fault.Invalid)
		}
		value, t, err := encodeValue(f[name], name, imageNamed(described, name))
		if err != nil {
			return fmt.Errorf("record: feature %q: %w", name, err)
		}
		if t != nil {
			arrays[name] = t
		}
		if value.Kind == "array" {
			continue
		}
		value.NPZ = ""
		if len(meta) > 1 {
			meta = append(meta, ',')
		}
		meta = appendJSON(meta, name)
		meta = append(meta, ':')
		meta = value.appendJSON(meta)
	}
	if len(meta) > 1 {
		arrays[metaMember] = tensor.Of(append(meta, '}'))
	}
	return tensor.WriteNpz(w, nil, arrays)
}

func sortedNames(f tensor.Features) []string {
	var names []string
	for n := range f {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func imageNamed(l []schema.Feature, name string) bool {
	return slices.ContainsFunc(l, func(f schema.Feature) bool { return f.Name == name && f.Image != nil })
}

// encodeValue describes a feature's value; its array, if it has one, is to be stored as member.
func encodeValue(v any, member string, isImage bool) (Value, *tensor.Tensor, error) {
	switch v := v.(type) {
	case *tensor.Tensor:
		if s := v.Shape(); isImage && len(s) >= 2 {
			t, err := v.Reshape(s[len(s)-2], s[len(s)-1])
			return Value{Kind: "image", NPZ: member, Mode: "F"}, t, err
		}
		return Value{Kind: "array", NPZ: member}, v, nil
	case image.Image:
		t, mode := encodeImage(v)
		return Value{Kind: "image", NPZ: member, Mode: mode}, t, nil
	case string:
		return Value{Kind: "string", Data: appendJSON(nil, v)}, nil, nil
	case []string, []int64:
		return Value{Kind: "sequence", Data: appendJSON(nil, v)}, nil, nil
	case int64:
		return Value{Kind: "int", Data: strconv.AppendInt(nil, v, 10)}, nil, nil
	case float64:
		return Value{Kind: "double", Data: appendNumber(nil, v)}, nil, nil
	case map[string]float64:
		x := Value{Kind: "dict", Items: [][2]any{}}
		for k, n := range v {
			x.Items = append(x.Items, [2]any{k, n})
		}
		slices.SortFunc(x.Items, func(a, b [2]any) int { return cmp.Compare(a[0].(string), b[0].(string)) })
		return x, nil, nil
	case map[int64]float64:
		x := Value{Kind: "dict", Items: [][2]any{}}
		for k, n := range v {
			x.Items = append(x.Items, [2]any{k, n})
		}
		slices.SortFunc(x.Items, func(a, b [2]any) int { return cmp.Compare(a[0].(int64), b[0].(int64)) })
		return x, nil, nil
	}
	return Value{}, nil, fmt.Errorf("%T: %w: want a tensor, image, number, string, dictionary or sequence", v, fault.Invalid)
}

// encodeImage gives H × W for gray, H × W × 3 for opaque and H × W × 4 for other images.
func encodeImage(img image.Image) (*tensor.Tensor, string) {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	if _, ok := img.(*image.Gray); ok {
		g := image.NewGray(image.Rect(0, 0, w, h))
		draw.Draw(g, g.Rect, img, b.Min, draw.Src)
		return tensor.Of(g.Pix, h, w), "L"
	}
	n := image.NewNRGBA(image.Rect(0, 0, w, h))
	draw.Draw(n, n.Rect, img, b.Min, draw.Src)
	if !n.Opaque() {
		return tensor.Of(n.Pix, h, w, 4), "RGBA"
	}
	rgb := make([]byte, 3*w*h)
	for i := range w * h {
		copy(rgb[3*i:3*i+3], n.Pix[4*i:])
	}
	return tensor.Of(rgb, h, w, 3), "RGB"
}

// appendJSON writes a Value as the protocol spells it: numbers that are not
// finite as NaN and Infinity, which JSON lacks and Python's json reads and writes.
func (v Value) appendJSON(b []byte) []byte {
	b = append(b, `{"kind":`...)
	b = appendJSON(b, v.Kind)
	if v.NPZ != "" {
		b = append(b, `,"npz":`...)
		b = appendJSON(b, v.NPZ)
	}
	if v.Mode != "" {
		b = append(b, `,"mode":`...)
		b = appendJSON(b, v.Mode)
	}
	if v.Data != nil {
		b = append(b, `,"data":`...)
		b = append(b, v.Data...)
	}
	if v.Items != nil {
		b = append(b, `,"items":[`...)
		for i, kv := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '[')
			b = appendJSON(b, kv[0])
			b = append(b, ',')
			b = appendNumber(b, kv[1].(float64))
			b = append(b, ']')
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendJSON(b []byte, v any) []byte {
	j, err := json.Marshal(v)
	if err != nil {
		panic("BUG: strings and integers are JSON: " + err.Error())
	}
	return append(b, j...)
}

func appendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// QuoteNonFinite puts NaN, Infinity and -Infinity outside strings into quotes.
func QuoteNonFinite(b []byte) []byte {
	if !bytes.Contains(b, []byte("NaN")) && !bytes.Contains(b, []byte("Infinity")) {
		return b
	}
	var out []byte
	inString := false
	for i := 0; i < len(b); i++ {
		if inString && b[i] == '\\' && i+1 < len(b) {
			out = append(out, b[i], b[i+1])
			i++
			continue
		}
		if b[i] == '"' {
			inString = !inString
		}
		word := ""
		if !inString {
			for _, w := range []string{"NaN", "Infinity", "-Infinity"} {
				if bytes.HasPrefix(b[i:], []byte(w)) {
					word = w
				}
			}
		}
		if word == "" {
			out = append(out, b[i])
			continue
		}
		out = append(out, '"')
		out = append(out, word...)
		out = append(out, '"')
		i += len(word) - 1
	}
	return out
}

// float reads a number of JSON, or one of the words that QuoteNonFinite quotes.
func float(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil
	}
	return 0, false
}
