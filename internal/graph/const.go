package graph

import (
	"encoding/binary"
	"fmt"
	"math"

	"coreml/tensor"
)

// Const is a value known when the model is loaded, in the form that the file
// keeps it in: a view of the mapped weight file, or an immediate value.
type Const struct {
	Type    Type
	Data    []byte   // row-major, little-endian, in the declared dtype (sub-byte dtypes bit-packed); nil for Strings and Code
	Strings []string // for dtype string
	// Held says that Data is in Plain form (float32, int32, one byte per bool), whatever the declared
	// dtype: a value computed by us, not read from a file.
	Held bool
	// Derived says that the value follows from the shapes of the inputs, or from a run, so that it may differ from plan to plan.
	Derived bool
	// Code is the compressed form of a weight whose dense form is made only when and where it is needed.
	Code Code
}

// Code is a weight in one of the compressed forms (constexpr_*).
type Code interface {
	// Form names the coding, for listings: "lut4", "int4 per block of 32".
	Form() string
	// Decode writes len(dst) elements of the dense weight, from element lo on, in row-major order.
	Decode(dst []float32, lo int)
	// Size is the number of bytes that the coded form occupies.
	Size() int64
	// Parts are the constants that it is made of, which may be coded themselves.
	Parts() []*Const
}

// dtype is the dtype that Data is really in.
func (c *Const) dtype() tensor.DType {
	if c.Held {
		return StoreDType(c.Type.DType)
	}
	return c.Type.DType
}

// StoreDType is the dtype that the Plain form keeps d in.
func StoreDType(d tensor.DType) tensor.DType {
	switch {
	case d.IsFloat():
		return tensor.Float32
	case d == tensor.Bool || d == tensor.String:
		return d
	}
	return tensor.Int32
}

// IsPlain reports whether Data is in Plain form already.
func (c *Const) IsPlain() bool { return c.Code == nil && c.dtype() == StoreDType(c.Type.DType) }

// Plain returns the value in Plain form: Data where that is it already, else a new slice.
func (c *Const) Plain() []byte {
	if c.IsPlain() {
		return c.Data
	}
	p := c.PlainForm()
	out := make([]byte, p.Size)
	p.Do(out, c, 0, p.Items)
	return out
}

// plainItem is how many floats are one unit of work of PlainForm.
const plainItem = 1 << 16

// PlainForm is the packing that brings the constant into Plain form.
func (c *Const) PlainForm() Packing {
	n := c.Type.Elements()
	p := Packing{Form: "plain", Size: n * StoreSize(c.Type.DType)}
	if c.Type.DType.IsFloat() {
		p.Items = (n + plainItem - 1) / plainItem
		p.Do = func(dst []byte, src *Const, lo, hi int) {
			from, to := lo*plainItem, min(hi*plainItem, n)
			src.Decode(tensor.View[float32](dst)[from:to], from)
		}
		return p
	}
	p.Items = 1
	p.Do = func(dst []byte, src *Const, _, _ int) {
		v, err := src.Ints()
		if err != nil {
			panic("BUG: integer constant: " + err.Error())
		}
		if p.Size == n { // bool
			for i, x := range v {
				dst[i] = byte(x)
			}
			return
		}
		for i, x := range v {
			binary.LittleEndian.PutUint32(dst[4*i:], uint32(int32(x)))
		}
	}
	return p
}

// Ints returns the elements of a constant of integer or boolean type.
func (c *Const) Ints() ([]int, error) {
	f, dt := make([]int, c.Type.Elements()), c.dtype()
	if len(f) == 0 {
		return f, nil
	}
	if c.Data == nil && c.Code == nil || dt.IsFloat() {
		return nil, fmt.Errorf("a constant of type %v, want integers", c.Type)
	}
	if c.Code != nil || dt.IsSubByte() {
		// They have at most 8 bits, which a float32 holds exactly.
		for i, x := range c.Floats() {
			f[i] = int(x)
		}
		return f, nil
	}
	d := c.Data
	for i := range f {
		switch dt {
		case tensor.Bool, tensor.UInt8:
			f[i] = int(d[i])
		case tensor.Int8:
			f[i] = int(int8(d[i]))
		case tensor.Int16:
			f[i] = int(int16(binary.LittleEndian.Uint16(d[2*i:])))
		case tensor.UInt16:
			f[i] = int(binary.LittleEndian.Uint16(d[2*i:]))
		case tensor.Int32:
			f[i] = int(int32(binary.LittleEndian.Uint32(d[4*i:])))
		case tensor.UInt32:
			f[i] = int(binary.LittleEndian.Uint32(d[4*i:]))
		case tensor.Int64, tensor.UInt64:
			f[i] = int(binary.LittleEndian.Uint64(d[8*i:]))
		default:
			return nil, fmt.Errorf("a constant of type %v, want integers", c.Type)
		}
	}
	return f, nil
}

// Decode writes the elements lo … lo+len(dst) as float32. Any numeric dtype and any Code.
func (c *Const) Decode(dst []float32, lo int) {
	if c.Code != nil {
		c.Code.Decode(dst, lo)
		return
	}
	d := c.Data
	switch c.dtype() {
	case tensor.Float32:
		copy(dst, tensor.View[float32](d)[lo:])
	case tensor.Float16:
		tensor.F32Slice(dst, tensor.View[uint16](d)[lo:lo+len(dst)])
	case tensor.BFloat16:
		for i, h := range tensor.View[uint16](d)[lo : lo+len(dst)] {
			dst[i] = tensor.BF32(h)
		}
	case tensor.Float64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(d[8*(lo+i):])))
		}
	case tensor.Float8E4M3FN:
		for i := range dst {
			dst[i] = tensor.F8E4M3ToF32(d[lo+i])
		}
	case tensor.Float8E5M2:
		for i := range dst {
			dst[i] = tensor.F8E5M2ToF32(d[lo+i])
		}
	default:
		c.decodeInts(dst, lo)
	}
}

func (c *Const) decodeInts(dst []float32, lo int) {
	d := c.Data
	switch dt := c.dtype(); dt {
	case tensor.Bool, tensor.UInt8:
		for i, v := range d[lo : lo+len(dst)] {
			dst[i] = float32(v)
		}
	case tensor.Int8:
		for i, v := range d[lo : lo+len(dst)] {
			dst[i] = float32(int8(v))
		}
	case tensor.Int16:
		for i, v := range tensor.View[int16](d)[lo : lo+len(dst)] {
			dst[i] = float32(v)
		}
	case tensor.UInt16:
		for i, v := range tensor.View[uint16](d)[lo : lo+len(dst)] {
			dst[i] = float32(v)
		}
	case tensor.Int32:
		for i, v := range tensor.View[int32](d)[lo : lo+len(dst)] {
			dst[i] = float32(v)
		}
	case tensor.UInt32:
		for i, v := range tensor.View[uint32](d)[lo : lo+len(dst)] {
			dst[i] = float32(v)
		}
	case tensor.Int64:
		for i := range dst {
			dst[i] = float32(int64(binary.LittleEndian.Uint64(d[8*(lo+i):])))
		}
	case tensor.UInt64:
		for i := range dst {
			dst[i] = float32(binary.LittleEndian.Uint64(d[8*(lo+i):]))
		}
	default:
		decodeBits(dst, d, lo, dt)
	}
}

// Floats returns all elements as float32.
func (c *Const) Floats() []float32 {
	f := make([]float32, c.Type.Elements())
	c.Decode(f, 0)
	return f
}

// IntsConst makes a rank-1 int32 constant.
func IntsConst(v ...int) *Const {
	c := &Const{Type: TensorOf(tensor.Int32, len(v)), Data: make([]byte, 4*len(v))}
	for i, x := range v {
		binary.LittleEndian.PutUint32(c.Data[4*i:], uint32(int32(x)))
	}
	return c
}

// scalar makes a rank-0 constant of a Go value: the defaults of operator inputs.
func scalar(v any) *Const {
	switch v := v.(type) {
	case int:
		c := IntsConst(v)
		c.Type.Shape = nil
		return c
	case []int:
		return IntsConst(v...)
	case float64:
		return &Const{Type: TensorOf(tensor.Float32), Data: binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))}
	case bool:
		b := byte(0)
		if v {
			b = 1
		}
		return &Const{Type: TensorOf(tensor.Bool), Data: []byte{b}}
	case []bool:
		c := &Const{Type: TensorOf(tensor.Bool, len(v)), Data: make([]byte, len(v))}
		for i, x := range v {
			if x {
				c.Data[i] = 1
			}
		}
		return c
	case string:
		return &Const{Type: TensorOf(tensor.String), Strings: []string{v}}
	}
	panic(fmt.Sprintf("BUG: default of type %T", v))
}
