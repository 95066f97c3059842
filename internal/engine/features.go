package engine

import (
	"fmt"
	"image"
	"sort"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/mlmodel"
	"coreml/internal/picture"
	"coreml/tensor"
)

// features turns what callers give into the memory of a function's inputs, and
// its results into what callers get, as the model's description says.
type features struct {
	in  []input
	out []output
}

type input struct {
	name  string
	value *graph.Value
	desc  *mlmodel.Feature // nil: the file does not describe it
}

type output struct {
	name  string
	value *graph.Value
	desc  *mlmodel.Feature
}

func newFeatures(fn *graph.Function, d *mlmodel.Function) (*features, error) {
	f := &features{}
	find := func(l []mlmodel.Feature, name string) *mlmodel.Feature {
		for i := range l {
			if l[i].Name == name {
				return &l[i]
			}
		}
		return nil
	}
	for _, v := range fn.Body.Inputs {
		if v.Type.Kind != graph.KindState {
			f.in = append(f.in, input{v.Name, v, find(d.Inputs, v.Name)})
		}
	}
	for _, v := range fn.Body.Outputs {
		f.out = append(f.out, output{v.Name, v, find(d.Outputs, v.Name)})
	}
	for i := range d.Outputs {
		if !hasOutput(f.out, d.Outputs[i].Name) {
			return nil, fmt.Errorf("output %q: %w: the program does not compute it", d.Outputs[i].Name, fault.Invalid)
		}
	}
	return f, nil
}

func hasOutput(l []output, name string) bool {
	for _, o := range l {
		if o.name == name {
			return true
		}
	}
	return false
}

// read converts the features of one prediction, in the order of in. A slot shares
// the caller's memory where that is already as the function wants it.
func (f *features) read(given tensor.Features, set func(v *graph.Value, t graph.Type, s graph.Slot)) error {
	used := 0
	for i := range f.in {
		in := &f.in[i]
		v, ok := given[in.name]
		if ok {
			used++
		}
		t, s, err := in.convert(v, ok)
		if err != nil {
			return fmt.Errorf("input %q: %w", in.name, err)
		}
		set(in.value, t, s)
	}
	if used < len(given) {
		return f.stranger(given)
	}
	return nil
}

func (f *features) stranger(given tensor.Features) error {
	known := map[string]bool{}
	var names []string
	for _, in := range f.in {
		known[in.name] = true
		names = append(names, in.name)
	}
	var extra []string
	for n := range given {
		if !known[n] {
			extra = append(extra, n)
		}
	}
	sort.Strings(extra)
	return fmt.Errorf("input %q: %w: the model takes %s", extra[0], fault.Schema, strings.Join(names, ", "))
}

func (in *input) convert(v any, ok bool) (graph.Type, graph.Slot, error) {
	if !ok || v == nil {
		return in.absent()
	}
	var t *tensor.Tensor
	switch v := v.(type) {
	case *tensor.Tensor:
		t = v
	case image.Image:
		if in.desc == nil || in.desc.Image == nil {
			return graph.Type{}, graph.Slot{}, fmt.Errorf("an image: %w: want %s", fault.Schema, in.wants())
		}
		p, err := picture.ToTensor(v, in.desc.Image)
		if err != nil {
			return graph.Type{}, graph.Slot{}, err
		}
		t = p
	case float64:
		t = tensor.Scalar(v)
	case float32:
		t = tensor.Scalar(v)
	case int64:
		t = tensor.Scalar(v)
	case int:
		t = tensor.Scalar(int64(v))
	default:
		return graph.Type{}, graph.Slot{}, fmt.Errorf("%T: %w: want %s", v, fault.Schema, in.wants())
	}
	return in.tensor(t)
}

// absent is the value of an input that was not given.
func (in *input) absent() (graph.Type, graph.Slot, error) {
	d := in.desc
	if d == nil || !d.Optional {
		return graph.Type{}, graph.Slot{}, fmt.Errorf("%w: not given, want %s", fault.Schema, in.wants())
	}
	if d.Tensor == nil || d.Tensor.Shape == nil {
		return graph.Type{}, graph.Slot{}, fmt.Errorf("%w: not given, and the model has no default shape for it", fault.Schema)
	}
	t, err := tensor.Make(tensor.Float32, d.Tensor.Shape)
	if err != nil {
		return graph.Type{}, graph.Slot{}, err
	}
	if d.Tensor.Default != nil {
		f := tensor.Data[float32](t)
		for i := range f {
			f[i] = float32(*d.Tensor.Default)
		}
	}
	return in.tensor(t)
}

// tensor checks a tensor against the constraint and brings it into Plain form.
func (in *input) tensor(t *tensor.Tensor) (graph.Type, graph.Slot, error) {
	want := in.value.Type
	shape, err := in.fit(t.Shape())
	if err != nil {
		return graph.Type{}, graph.Slot{}, err
	}
	typ := graph.Type{DType: want.DType, Shape: shape}
	if t.DType() == tensor.String || t.DType() == tensor.Invalid {
		return typ, graph.Slot{}, fmt.Errorf("dtype %v: %w: want numbers", t.DType(), fault.Schema)
	}
	store := graph.StoreDType(want.DType)
	if want.DType.IsInt() { // narrow integers are checked against their own range
		if t, err = t.Convert(want.DType); err != nil {
			return typ, graph.Slot{}, fmt.Errorf("%w: %w", fault.Schema, err)
		}
	}
	if t.DType() != store {
		if t, err = t.Convert(store); err != nil {
			return typ, graph.Slot{}, fmt.Errorf("%w: %w", fault.Schema, err)
		}
	}
	return typ, graph.Slot{Data: t.Bytes(), Shape: shape}, nil
}

// fit checks a shape. A single number may come as [1] where a scalar is declared, and the other way round.
func (in *input) fit(have []int) ([]int, error) {
	want := in.value.Type.Shape
	if len(have) != len(want) {
		if len(have) <= 1 && len(want) <= 1 && elements(have) == 1 && (len(want) == 0 || want[0] == 1 || want[0] < 0) {
			return unit[:len(want)], nil
		}
		return nil, fmt.Errorf("shape %v: %w: want rank %d, %s", have, fault.Schema, len(want), in.wants())
	}
	for i, d := range want {
		if d >= 0 && have[i] != d {
			return nil, fmt.Errorf("shape %v: %w: want %s", have, fault.Schema, in.wants())
		}
	}
	if in.desc == nil || in.desc.Tensor == nil {
		return have, nil
	}
	if !allows(in.desc.Tensor, have) {
		return nil, fmt.Errorf("shape %v: %w: want %s", have, fault.Schema, in.wants())
	}
	return have, nil
}

var unit = []int{1}

func allows(c *mlmodel.TensorConstraint, have []int) bool {
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
			if have[i] < r.Lower || r.Upper != mlmodel.Unbounded && have[i] > r.Upper {
				return false
			}
		}
		return true
	}
	return c.Shape == nil || len(c.Shape) != len(have) || tensor.EqualShape(have, c.Shape)
}

// wants says what the input takes, for errors.
func (in *input) wants() string {
	if in.desc == nil {
		return in.value.Type.String()
	}
	if i := in.desc.Image; i != nil {
		return fmt.Sprintf("an image, %s, %d × %d", i.ColorSpace, i.Width, i.Height)
	}
	t := in.desc.Tensor
	if t == nil {
		return in.value.Type.String()
	}
	switch {
	case len(t.EnumeratedShapes) > 0:
		return fmt.Sprintf("%v of one of the shapes %v", t.DType, t.EnumeratedShapes)
	case len(t.ShapeRange) > 0:
		var b strings.Builder
		for i, r := range t.ShapeRange {
			if i > 0 {
				b.WriteString(", ")
			}
			switch {
			case r.Lower == r.Upper:
				fmt.Fprint(&b, r.Lower)
			case r.Upper == mlmodel.Unbounded:
				fmt.Fprintf(&b, "%d…", r.Lower)
			default:
				fmt.Fprintf(&b, "%d…%d", r.Lower, r.Upper)
			}
		}
		return fmt.Sprintf("%v [%s]", t.DType, b.String())
	}
	return fmt.Sprintf("%v %v", t.DType, in.value.Type.Shape)
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// write gives one result to the caller: into the tensor that it brought, or a new one.
func (o *output) write(t graph.Type, s graph.Slot, out tensor.Features) error {
	if s.Obj != nil {
		v, err := object(s.Obj, o.desc)
		out[o.name] = v
		return err
	}
	if o.desc != nil && o.desc.Image != nil {
		img, err := picture.FromTensor(tensor.View[float32](s.Data), s.Shape, o.desc.Image)
		out[o.name] = img
		return err
	}
	want := t.DType
	if o.desc != nil && o.desc.Tensor != nil && o.desc.Tensor.DType != tensor.Invalid {
		want = o.desc.Tensor.DType
	}
	if want == tensor.Float16 {
		want = tensor.Float32 // as it was computed; who wants it rounded brings a float16 tensor
	}
	given, _ := out[o.name].(*tensor.Tensor)
	if given == nil {
		g, err := tensor.Make(want, s.Shape)
		if err != nil {
			return err
		}
		given = g
		out[o.name] = g
	}
	if !tensor.EqualShape(given.Shape(), s.Shape) {
		return fmt.Errorf("given a tensor of shape %v: %w: the result has %v", given.Shape(), fault.Schema, s.Shape)
	}
	return store(given, graph.StoreDType(t.DType), s.Data)
}

// store converts Plain memory into a tensor.
func store(dst *tensor.Tensor, from tensor.DType, data []byte) error {
	if dst.DType() == from || from == tensor.Bool && dst.DType() == tensor.UInt8 {
		copy(dst.Bytes(), data)
		return nil
	}
	if from == tensor.Float32 && dst.DType() == tensor.Float16 {
		tensor.F16Slice(tensor.Data[uint16](dst), tensor.View[float32](data))
		return nil
	}
	src, err := tensor.FromBytes(from, dst.Shape(), data)
	if err != nil {
		return err
	}
	conv, err := src.Convert(dst.DType())
	if err != nil {
		return fmt.Errorf("%w: %w", fault.Runtime, err)
	}
	copy(dst.Bytes(), conv.Bytes())
	return nil
}

// object gives results that are no tensors: labels and dictionaries.
func object(v any, d *mlmodel.Feature) (any, error) {
	if l, ok := v.([]string); ok && len(l) == 1 && (d == nil || d.Type != mlmodel.TypeSequence) {
		return l[0], nil
	}
	return v, nil
}
