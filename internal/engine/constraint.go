package engine

import (
	"fmt"
	"strconv"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/picture"
	"coreml/schema"
	"coreml/tensor"
)

// fit checks a shape. A single number may come as [1] where a scalar is declared, and the other way round.
func (in *input) fit(have []int) ([]int, error) {
	want := in.value.Type.Shape
	if len(have) != len(want) {
		n, _ := tensor.Elements(have)
		if len(have) <= 1 && len(want) <= 1 && n == 1 && (len(want) == 0 || want[0] == 1 || want[0] < 0) {
			return unit[:len(want)], nil
		}
		return nil, fmt.Errorf("shape %v: %w: want rank %d, %s", have, fault.Schema, len(want), in.wants())
	}
	for i, d := range want {
		if d >= 0 && have[i] != d {
			return nil, fmt.Errorf("shape %v: %w: want %s", have, fault.Schema, in.wants())
		}
	}
	if !in.allows(have) {
		return nil, fmt.Errorf("shape %v: %w: want %s", have, fault.Schema, in.wants())
	}
	return have, nil
}

var unit = []int{1}

// allows reports whether the description permits a shape that the program takes.
func (in *input) allows(have []int) bool {
	d, n := in.desc, len(have)
	switch {
	case d == nil:
	case d.Image != nil:
		return n < 2 || picture.Allows(d.Image, have[n-1], have[n-2])
	case d.Tensor != nil:
		return allows(d.Tensor, have)
	}
	return true
}

func allows(c *schema.TensorConstraint, have []int) bool {
	switch {
	case len(c.EnumeratedShapes) > 0:
		if tensor.EqualShape(have, c.Shape) {
			return true
		}
		for _, s := range c.EnumeratedShapes {
			if tensor.EqualShape(have, s) {
				return true
			}
		}
		return false
	case len(c.ShapeRange) == len(have):
		for i, r := range c.ShapeRange {
			if have[i] < r.Lower || r.Upper != schema.Unbounded && have[i] > r.Upper {
				return false
			}
		}
		return true
	}
	return c.Shape == nil || len(c.Shape) != len(have) || tensor.EqualShape(have, c.Shape)
}

// wants says what the input takes, for errors.
func (in *input) wants() string {
	d := in.desc
	switch {
	case d != nil && d.Image != nil:
		return picture.Wants(d.Image) + ", or a tensor " + in.sizes()
	case d == nil || d.Tensor == nil:
		return in.value.Type.String()
	}
	dtype := d.Tensor.DType
	if dtype == tensor.Invalid {
		dtype = in.value.Type.DType
	}
	if len(d.Tensor.EnumeratedShapes) > 0 && in.flexible() {
		return fmt.Sprintf("%v of one of the shapes %s", dtype, listed(d.Tensor))
	}
	return fmt.Sprintf("%v %s", dtype, in.sizes())
}

// listed are the first of the shapes that an enumeration allows.
func listed(c *schema.TensorConstraint) string {
	const most = 8
	var words []string
	if c.Shape != nil {
		words = append(words, fmt.Sprint(c.Shape))
	}
	for _, s := range c.EnumeratedShapes {
		if len(words) == most {
			words = append(words, "…")
			break
		}
		if !tensor.EqualShape(s, c.Shape) {
			words = append(words, fmt.Sprint(s))
		}
	}
	return strings.Join(words, " ")
}

// sizes is the shape that the input takes: [1 3 16…96 16…96].
func (in *input) sizes() string {
	words := make([]string, len(in.value.Type.Shape))
	for i, n := range in.value.Type.Shape {
		if words[i] = strconv.Itoa(n); n < 0 {
			words[i] = in.open(i)
		}
	}
	return "[" + strings.Join(words, " ") + "]"
}

// open is what the description says of a size that the program leaves open.
func (in *input) open(i int) string {
	rank := len(in.value.Type.Shape)
	if c := in.desc.Image; c != nil && i >= rank-2 {
		name, only, r := "height", c.Height, c.HeightRange
		if i == rank-1 {
			name, only, r = "width", c.Width, c.WidthRange
		}
		switch {
		case len(c.EnumeratedSizes) > 0:
			return name
		case r != nil:
			return r.String()
		case only > 0:
			return strconv.Itoa(only)
		}
		return "?"
	}
	if c := in.desc.Tensor; c != nil && len(c.ShapeRange) == rank {
		return c.ShapeRange[i].String()
	} else if c != nil && len(c.Shape) == rank {
		return strconv.Itoa(c.Shape[i])
	}
	return "?"
}

// flexible reports whether more than one shape may be given.
func (in *input) flexible() bool { return !in.value.Type.Static() }

// defaultShape is the shape that an input has when nobody says more; nil if the file leaves it open.
func (in *input) defaultShape() []int {
	t := in.value.Type
	if t.Static() {
		return t.Shape
	}
	d := in.desc
	switch {
	case d == nil:
	case d.Tensor != nil && len(d.Tensor.Shape) == len(t.Shape):
		return d.Tensor.Shape
	case d.Image != nil:
		return in.imageShape(d.Image.Width, d.Image.Height)
	}
	return nil
}

// imageShape is the shape of an image of a size; nil if the program leaves more open than that.
func (in *input) imageShape(w, h int) []int {
	t := in.value.Type.Shape
	if len(t) != 4 || t[0] < 0 || t[1] < 0 {
		return nil
	}
	return []int{t[0], t[1], h, w}
}

// enumerated are the shapes to choose from, of images the first few.
func (in *input) enumerated() [][]int {
	d := in.desc
	switch {
	case d == nil:
	case d.Tensor != nil:
		return d.Tensor.EnumeratedShapes
	case d.Image != nil:
		var out [][]int
		for _, s := range d.Image.EnumeratedSizes[:min(len(d.Image.EnumeratedSizes), maxRehearsals)] {
			if shape := in.imageShape(s.Width, s.Height); shape != nil {
				out = append(out, shape)
			}
		}
		return out
	}
	return nil
}

// extreme is the default shape with every ranged dimension at one end; a range without end keeps the default.
func (in *input) extreme(end func(schema.Range) int) []int {
	s := in.defaultShape()
	d := in.desc
	if s == nil || d == nil {
		return s
	}
	out := append([]int(nil), s...)
	set := func(i int, r *schema.Range) {
		if r != nil && end(*r) >= 0 {
			out[i] = end(*r)
		}
	}
	switch {
	case d.Image != nil && in.flexible():
		set(2, d.Image.HeightRange)
		set(3, d.Image.WidthRange)
	case d.Tensor != nil && len(d.Tensor.ShapeRange) == len(s):
		for i := range d.Tensor.ShapeRange {
			set(i, &d.Tensor.ShapeRange[i])
		}
	}
	return out
}
