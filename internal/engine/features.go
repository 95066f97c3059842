package engine

import (
	"fmt"
	"image"
	"runtime/debug"
	"slices"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/picture"
	"coreml/schema"
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
	desc  *schema.Feature // nil: the file does not describe it
}

type output struct {
	name  string
	value *graph.Value
	desc  *schema.Feature
	at    int // among the function's results, of which one may be there twice
}

func newFeatures(fn *graph.Function, d *schema.Function) (*features, error) {
	f := &features{}
	find := func(l []schema.Feature, name string) *schema.Feature {
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
	for i, v := range fn.Body.Outputs {
		if !hasOutput(f.out, v.Name) {
			f.out = append(f.out, output{v.Name, v, find(d.Outputs, v.Name), i})
		}
	}
	for i := range d.Outputs {
		if !hasOutput(f.out, d.Outputs[i].Name) {
			return nil, fmt.Errorf("output %s: %w: the program does not compute it", fault.Quote(d.Outputs[i].Name), fault.Invalid)
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
// the caller's memory where that is already as the function wants it. What the
// caller's own types do when they are read is the error of that input.
func (f *features) read(given tensor.Features, set func(v *graph.Value, t graph.Type, s graph.Slot)) (err error) {
	used, name := 0, ""
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = unreadable("input", name, p)
		}
	}()
	for i := range f.in {
		in := &f.in[i]
		name = in.name
		v, ok := given[name]
		if ok {
			used++
		}
		t, s, err := in.convert(v, ok)
		if err != nil {
			return fmt.Errorf("input %s: %w", fault.Quote(name), err)
		}
		set(in.value, t, s)
	}
	if used < len(given) {
		return f.stranger(given)
	}
	return nil
}

// unreadable is the error of a panic while what the caller brought was read: of its
// own image type, or of memory that is gone.
func unreadable(what, name string, p any) error {
	return fmt.Errorf("%s %s: %w: it cannot be read: %s", what, fault.Quote(name), fault.Schema, describePanic(p))
}

func (f *features) stranger(given tensor.Features) error {
	names := make([]string, len(f.in))
	for i := range f.in {
		names[i] = f.in[i].name
	}
	return stranger("input", given, names)
}

// stranger is the error of the first of the given names that is not one of those known.
func stranger(what string, given tensor.Features, known []string) error {
	var extra []string
	for n := range given {
		if !slices.Contains(known, n) {
			extra = append(extra, n)
		}
	}
	slices.Sort(extra)
	want := "none"
	if len(known) > 0 {
		want = fault.OneOf(known)
	}
	return fmt.Errorf("%s %s: %w: the model has no such %s, want %s", what, fault.Quote(extra[0]), fault.Schema, what, want)
}

func (in *input) convert(v any, ok bool) (graph.Type, graph.Slot, error) {
	if !ok || v == nil {
		return in.absent()
	}
	switch v := v.(type) {
	case *tensor.Tensor:
		if v == nil {
			return graph.Type{}, graph.Slot{}, fmt.Errorf("a nil tensor: %w: want %s", fault.Schema, in.wants())
		}
		return in.tensor(v)
	case image.Image:
		if in.desc == nil || in.desc.Image == nil {
			return graph.Type{}, graph.Slot{}, fmt.Errorf("an image: %w: want %s", fault.Schema, in.wants())
		}
		t, err := picture.ToTensor(v, in.desc.Image)
		if err != nil {
			return graph.Type{}, graph.Slot{}, err
		}
		return in.tensor(t)
	}
	if t, ok := tensor.OfNumber(v); ok {
		return in.tensor(t)
	}
	return graph.Type{}, graph.Slot{}, fmt.Errorf("%T: %w: want %s", v, fault.Schema, in.wants())
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

// room checks what the caller brings for the results before they are computed.
// typeOf is what is known of a value by then.
func (f *features) room(out tensor.Features, typeOf func(*graph.Value) (t graph.Type, ok bool)) error {
	used := 0
	for k := range f.out {
		o := &f.out[k]
		v, ok := out[o.name]
		if ok {
			used++
		}
		given, _ := v.(*tensor.Tensor)
		if given == nil {
			continue
		}
		if err := o.takes(given, typeOf); err != nil {
			return fmt.Errorf("output %s: %w", fault.Quote(o.name), err)
		}
	}
	if used == len(out) {
		return nil
	}
	names := make([]string, len(f.out))
	for k := range f.out {
		names[k] = f.out[k].name
	}
	return stranger("output", out, names)
}

// takes reports why a tensor cannot hold the result.
func (o *output) takes(given *tensor.Tensor, typeOf func(*graph.Value) (graph.Type, bool)) error {
	t, known := typeOf(o.value)
	if !known {
		t = o.value.Type
	}
	switch {
	case t.Kind != graph.KindTensor || t.DType == tensor.String || o.image() && !o.fine():
		kind := schema.TypeUnknown
		if o.desc != nil {
			kind = o.desc.Type
		}
		return fmt.Errorf("given a tensor: %w: the result is none: %s", fault.Schema, kind)
	case !given.DType().IsTarget():
		return fmt.Errorf("given a tensor of %v: %w: want one of numbers", given.DType(), fault.Schema)
	case known:
		return o.shaped(given, t.Shape)
	}
	return nil
}

// image reports whether the result is described as an image, and fine whether it is
// one of float16, which is given as a tensor.
func (o *output) image() bool { return o.desc != nil && o.desc.Image != nil }
func (o *output) fine() bool  { return o.image() && o.desc.Image.ColorSpace == "GRAYSCALE_FLOAT16" }

// shaped checks a tensor that is given for a result of a shape.
func (o *output) shaped(given *tensor.Tensor, shape []int) error {
	if o.fine() && len(shape) > 2 {
		shape = shape[len(shape)-2:]
	}
	if !tensor.EqualShape(given.Shape(), shape) {
		return fmt.Errorf("given a tensor of shape %v: %w: the result has %v", given.Shape(), fault.Schema, shape)
	}
	return nil
}

// write gives one result to the caller: into the tensor that it brought, or a new one.
func (o *output) write(t graph.Type, s graph.Slot, out tensor.Features) error {
	if s.Obj != nil {
		out[o.name] = object(s.Obj, o.desc)
		return nil
	}
	if o.image() {
		img, err := picture.FromTensor(tensor.View[float32](s.Data), s.Shape, o.desc.Image)
		x, ok := img.(*tensor.Tensor)
		if !ok || err != nil {
			out[o.name] = img
			return err
		}
		s = graph.Slot{Data: x.Bytes(), Shape: x.Shape()}
	}
	given, _ := out[o.name].(*tensor.Tensor)
	if given == nil {
		g, err := tensor.Make(o.dtype(t), s.Shape)
		if err != nil {
			return err
		}
		given = g
		out[o.name] = g
	}
	if err := o.shaped(given, s.Shape); err != nil {
		return err
	}
	return store(given, graph.StoreDType(t.DType), s.Data)
}

// dtype is that of a tensor made for a result.
func (o *output) dtype(t graph.Type) tensor.DType {
	d := t.DType
	if o.desc != nil && o.desc.Tensor != nil && o.desc.Tensor.DType != tensor.Invalid {
		d = o.desc.Tensor.DType
	}
	if d == tensor.Float16 {
		return tensor.Float32 // as it was computed; who wants it rounded brings a float16 tensor
	}
	return d
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
func object(v any, d *schema.Feature) any {
	if l, ok := v.([]string); ok && len(l) == 1 && (d == nil || d.Type != schema.TypeSequence) {
		return l[0]
	}
	return v
}
