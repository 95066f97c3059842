package isolate

import (
	"fmt"
	"image"

	"coreml/internal/fault"
	"coreml/tensor"
)

// The types of a feature in a message.
const (
	tagNothing = iota
	tagTensor
	tagImage
	tagString
	tagInt
	tagFloat
	tagStringFloats
	tagIntFloats
	tagStrings
	tagInts
)

// Size is the shared memory that Features takes at most, or that Room does.
func Size(f tensor.Features) int {
	n := 0
	for _, v := range f {
		switch v := v.(type) {
		case *tensor.Tensor:
			if v != nil {
				n += aligned(len(v.Bytes()))
			}
		case image.Image:
			n += imageSize(v)
		}
	}
	return n
}

// Features writes a set of features. Tensors that placed holds are in the slot
// already, at the offset given there.
func (e *Encoder) Features(f tensor.Features, placed map[*tensor.Tensor]int) error {
	e.Uint(uint64(len(f)))
	for name, v := range f {
		e.String(name)
		if t, ok := v.(*tensor.Tensor); ok && t != nil {
			if at, ok := placed[t]; ok {
				e.Byte(tagTensor)
				e.header(t)
				e.Uint(uint64(at))
				continue
			}
		}
		if err := e.value(v); err != nil {
			return fmt.Errorf("feature %s: %w", fault.Quote(name), err)
		}
	}
	return nil
}

func (e *Encoder) value(v any) error {
	switch v := v.(type) {
	case nil:
		e.Byte(tagNothing)
	case *tensor.Tensor:
		if v == nil || v.DType().Bits() == 0 {
			return fmt.Errorf("a tensor without a type: %w: want numbers", fault.Schema)
		}
		e.Byte(tagTensor)
		e.header(v)
		to, err := e.reserve(len(v.Bytes()))
		if err != nil {
			return err
		}
		copy(to, v.Bytes())
	case image.Image:
		e.Byte(tagImage)
		return e.image(v)
	case string:
		e.Byte(tagString)
		e.String(v)
	default:
		if t, ok := tensor.OfNumber(v); ok {
			return e.number(t)
		}
		return e.collection(v)
	}
	return nil
}

// number writes what a tensor of rank 0 holds, as one of the two types that cross.
func (e *Encoder) number(t *tensor.Tensor) error {
	as, tag := tensor.Int64, byte(tagInt)
	if t.DType().IsFloat() {
		as, tag = tensor.Float64, tagFloat
	}
	t, err := t.Convert(as)
	if err != nil {
		return fmt.Errorf("%w: %w", fault.Schema, err)
	}
	e.Byte(tag)
	if tag == tagFloat {
		e.Float(tensor.Data[float64](t)[0])
	} else {
		e.Int(tensor.Data[int64](t)[0])
	}
	return nil
}

func (e *Encoder) collection(v any) error {
	switch v := v.(type) {
	case map[string]float64:
		e.Byte(tagStringFloats)
		e.Uint(uint64(len(v)))
		for k, x := range v {
			e.String(k)
			e.Float(x)
		}
	case map[int64]float64:
		e.Byte(tagIntFloats)
		e.Uint(uint64(len(v)))
		for k, x := range v {
			e.Int(k)
			e.Float(x)
		}
	case []string:
		e.Byte(tagStrings)
		e.Uint(uint64(len(v)))
		for _, s := range v {
			e.String(s)
		}
	case []int64:
		e.Byte(tagInts)
		e.Uint(uint64(len(v)))
		for _, n := range v {
			e.Int(n)
		}
	default:
		return fmt.Errorf("%T: %w: want a tensor, an image, a text, a number, a dictionary or a sequence", v, fault.Schema)
	}
	return nil
}

// Features reads features into f. Tensors are copied out of shared memory, into
// those that f holds where type and shape are the same.
func (d *Decoder) Features(f tensor.Features) {
	for range d.Count() {
		name := d.String()
		tag := d.Byte()
		if d.err != nil {
			return
		}
		if tag == tagTensor {
			given, _ := f[name].(*tensor.Tensor)
			f[name] = d.copied(name, given)
			continue
		}
		f[name] = d.value(tag)
	}
}

// Views reads features whose tensors share the slot's memory.
func (d *Decoder) Views(f tensor.Features) {
	for range d.Count() {
		name := d.String()
		tag := d.Byte()
		if d.err != nil {
			return
		}
		if tag == tagTensor {
			f[name], _ = d.view()
			continue
		}
		f[name] = d.value(tag)
	}
}

// Room reads what Encoder.Room wrote: tensors over shared memory, and where they are.
func (d *Decoder) Room(f tensor.Features, placed map[*tensor.Tensor]int) {
	for range d.Count() {
		name := d.String()
		t, at := d.view()
		if t == nil {
			return
		}
		f[name] = t
		placed[t] = at
	}
}

func (d *Decoder) value(tag byte) any {
	switch tag {
	case tagNothing:
		return nil
	case tagImage:
		return d.image()
	case tagString:
		return d.String()
	case tagInt:
		return d.Int()
	case tagFloat:
		return d.Float()
	case tagStringFloats:
		n := d.Count()
		m := make(map[string]float64, n)
		for range n {
			k := d.String()
			m[k] = d.Float()
		}
		return m
	case tagIntFloats:
		n := d.Count()
		m := make(map[int64]float64, n)
		for range n {
			k := d.Int()
			m[k] = d.Float()
		}
		return m
	case tagStrings:
		l := make([]string, d.Count())
		for i := range l {
			l[i] = d.String()
		}
		return l
	case tagInts:
		l := make([]int64, d.Count())
		for i := range l {
			l[i] = d.Int()
		}
		return l
	}
	d.fail("a feature of kind %d", tag)
	return nil
}

func (d *Decoder) copied(name string, given *tensor.Tensor) *tensor.Tensor {
	dt, shape, size := d.header()
	from, _ := d.place(size)
	if d.err != nil {
		return nil
	}
	if given == nil || given.DType() != dt || !tensor.EqualShape(given.Shape(), shape) {
		var err error
		if given, err = tensor.Make(dt, shape); err != nil {
			d.fail("%w", err)
			return nil
		}
	}
	to := given.Bytes()
	copy(to, from)
	if dt == tensor.Bool {
		for i, b := range to {
			if b > 1 {
				to[i] = 1
				d.fail("feature %q: a bool of value %d", name, b)
			}
		}
	}
	return given
}

// view is a tensor over shared memory, and where it is in the slot.
func (d *Decoder) view() (*tensor.Tensor, int) {
	dt, shape, size := d.header()
	if size < 0 {
		return nil, 0
	}
	mem, at := d.place(size)
	if d.err != nil {
		return nil, 0
	}
	t, err := tensor.FromBytes(dt, shape, mem)
	if err != nil {
		d.fail("%w", err)
		return nil, 0
	}
	return t, at
}

// Room writes which tensors the caller brought for the results, and reserves their place.
func (e *Encoder) Room(f tensor.Features) error {
	n := 0
	for name, v := range f {
		t, ok := v.(*tensor.Tensor)
		if !ok || t == nil {
			continue
		}
		if t.DType().Bits() == 0 {
			return fmt.Errorf("output %s: given a tensor of %v: %w: want one of numbers", fault.Quote(name), t.DType(), fault.Schema)
		}
		n++
	}
	e.Uint(uint64(n))
	for name, v := range f {
		t, ok := v.(*tensor.Tensor)
		if !ok || t == nil {
			continue
		}
		e.String(name)
		e.header(t)
		mem, err := e.reserve(len(t.Bytes()))
		if err != nil {
			return err
		}
		clear(mem)
	}
	return nil
}
