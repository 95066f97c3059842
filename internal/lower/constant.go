package lower

import (
	"encoding/binary"
	"fmt"
	"math"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/mlmodel"
	"coreml/internal/spec"
	"coreml/tensor"
)

// resultType is typeOf of an operation's result. The rank may be open, since it is inferred.
func resultType(t *spec.ValueType) (graph.Type, error) {
	if d := t.GetTensorType().GetDimensions(); len(d) == 1 && d[0].GetUnknown().GetVariadic() {
		dt := mlmodel.DTypeOf(t.GetTensorType().GetDataType())
		if dt == tensor.Invalid {
			return graph.Type{}, fmt.Errorf("dtype %v: %w", t.GetTensorType().GetDataType(), fault.Unsupported)
		}
		return graph.TensorOf(dt, -1), nil
	}
	return typeOf(t)
}

// typeOf reads a value's type; open dimensions become -1.
func typeOf(t *spec.ValueType) (graph.Type, error) {
	switch {
	case t.GetTensorType() != nil:
		return tensorType(t.GetTensorType())
	case t.GetListType() != nil:
		return listType(t.GetListType())
	case t.GetStateType() != nil:
		in, err := tensorType(t.GetStateType().GetWrappedType().GetTensorType())
		in.Kind = graph.KindState
		return in, err
	case t.GetDictionaryType() != nil:
		return graph.Type{Kind: graph.KindDict}, nil
	}
	return graph.Type{}, fmt.Errorf("type %T: %w: want a tensor, list, dictionary or state", t.GetType(), fault.Unsupported)
}

func tensorType(t *spec.TensorType) (graph.Type, error) {
	d := mlmodel.DTypeOf(t.GetDataType())
	if d == tensor.Invalid {
		return graph.Type{}, fmt.Errorf("dtype %v: %w", t.GetDataType(), fault.Unsupported)
	}
	if n := len(t.GetDimensions()); n > graph.MaxRank || t.GetRank() >= 0 && int64(n) != t.GetRank() {
		return graph.Type{}, fmt.Errorf("rank %d with %d dimensions: %w", t.GetRank(), n, fault.Invalid)
	}
	out := graph.Type{DType: d, Shape: make([]int, 0, len(t.GetDimensions()))}
	for _, dim := range t.GetDimensions() {
		if c := dim.GetConstant(); c != nil {
			if c.GetSize() > math.MaxInt32 {
				return out, fmt.Errorf("dimension %d: %w: want at most %d", c.GetSize(), fault.Limit, math.MaxInt32)
			}
			out.Shape = append(out.Shape, int(c.GetSize()))
			continue
		}
		if dim.GetUnknown().GetVariadic() {
			return out, fmt.Errorf("variadic dimension: %w", fault.Unsupported)
		}
		out.Shape = append(out.Shape, -1)
	}
	return out, nil
}

func listType(t *spec.ListType) (graph.Type, error) {
	e, err := typeOf(t.GetType())
	return graph.Type{Kind: graph.KindList, Elem: &e}, err
}

// constOf reads a constant: a view of the weight file, or an immediate value.
func (r *reader) constOf(v *spec.Value) (*graph.Const, error) {
	if l := v.GetImmediateValue().GetList(); l != nil {
		return r.list(l)
	}
	t, err := typeOf(v.GetType())
	if err != nil {
		return nil, err
	}
	if t.Kind != graph.KindTensor || !t.Static() {
		return nil, fmt.Errorf("constant of type %v: %w: want a tensor of known shape", t, fault.Unsupported)
	}
	n, ok := tensor.Elements(t.Shape)
	if !ok {
		return nil, fmt.Errorf("constant of type %v: %w: too many elements", t, fault.Limit)
	}
	k := &graph.Const{Type: t}
	if b := v.GetBlobFileValue(); b != nil {
		return k, r.blob(k, b, n)
	}
	return k, immediate(k, v.GetImmediateValue().GetTensor(), n)
}

func (r *reader) blob(k *graph.Const, v *spec.Value_BlobFileValue, n int) error {
	b, err := r.model.Blob(v.GetFileName(), v.GetOffset())
	if err != nil {
		return err
	}
	want, ok := tensor.ByteSize(k.Type.DType, n)
	if k.Type.DType == tensor.Bool && b.DType == tensor.UInt8 || k.Type.DType == b.DType {
		if ok && len(b.Data) >= want {
			k.Data = b.Data[:want]
			return nil
		}
		return fmt.Errorf("blob at offset %d: %d bytes: %w: want %d for %v", v.GetOffset(), len(b.Data), fault.Invalid, want, k.Type)
	}
	return fmt.Errorf("blob at offset %d: dtype %v: %w: want %v", v.GetOffset(), b.DType, fault.Invalid, k.Type.DType)
}

// maxSplat bounds constants that give one element for all.
const maxSplat = 1 << 16

func immediate(k *graph.Const, t *spec.TensorValue, n int) error {
	have := 0
	d := k.Type.DType
	switch v := t.GetValue().(type) {
	case *spec.TensorValue_Strings:
		k.Strings = v.Strings.GetValues()
		have, d = len(k.Strings), tensor.String
		if k.Strings == nil {
			k.Strings = []string{}
		}
	case *spec.TensorValue_Bytes:
		k.Data = v.Bytes.GetValues()
		if b := d.Bits(); b > 0 {
			have = min(len(k.Data)*8/b, n)
		}
	case *spec.TensorValue_Floats:
		k.Data, have = floats(d, v.Floats.GetValues())
	case *spec.TensorValue_Doubles:
		have = len(v.Doubles.GetValues())
		for _, x := range v.Doubles.GetValues() {
			k.Data = appendFloat(k.Data, d, x)
		}
	case *spec.TensorValue_Bools:
		k.Data, have = tensor.BytesOf(v.Bools.GetValues()), len(v.Bools.GetValues())
	case *spec.TensorValue_Ints:
		k.Data, have = ints(d, v.Ints.GetValues())
	case *spec.TensorValue_LongInts:
		have = len(v.LongInts.GetValues())
		for _, x := range v.LongInts.GetValues() {
			k.Data = appendInt(k.Data, d, x)
		}
	case nil:
		if n == 0 {
			return nil
		}
	}
	if d != k.Type.DType || k.Data == nil && k.Strings == nil && n > 0 {
		return fmt.Errorf("immediate value: no data for %v: %w", k.Type, fault.Invalid)
	}
	if want, ok := tensor.ByteSize(d, have); k.Strings == nil && (!ok || len(k.Data) < want) {
		return fmt.Errorf("immediate value: %d bytes: %w: want %d for %d elements of %v", len(k.Data), fault.Invalid, want, have, d)
	}
	if have == 1 && n != 1 && n <= maxSplat && !d.IsSubByte() && k.Strings == nil {
		one := k.Data
		k.Data = nil
		for range n {
			k.Data = append(k.Data, one...)
		}
		return nil
	}
	if have != n {
		return fmt.Errorf("immediate value: %d elements: %w: want %d for %v", have, fault.Invalid, n, k.Type)
	}
	return nil
}

func floats(d tensor.DType, v []float32) ([]byte, int) {
	if d == tensor.Float32 {
		return tensor.BytesOf(v), len(v)
	}
	var out []byte
	for _, x := range v {
		out = appendFloat(out, d, float64(x))
	}
	return out, len(v)
}

func ints(d tensor.DType, v []int32) ([]byte, int) {
	if d == tensor.Int32 {
		return tensor.BytesOf(v), len(v)
	}
	var out []byte
	for _, x := range v {
		out = appendInt(out, d, int64(x))
	}
	return out, len(v)
}

// appendFloat writes one element; nothing for a dtype that is no float.
func appendFloat(b []byte, d tensor.DType, x float64) []byte {
	switch d {
	case tensor.Float16:
		return binary.LittleEndian.AppendUint16(b, tensor.F16(float32(x)))
	case tensor.Float32:
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
	case tensor.Float64:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	return b
}

// appendInt writes one element; nothing for a dtype that is no whole-byte integer.
func appendInt(b []byte, d tensor.DType, x int64) []byte {
	switch d.Size() {
	case 1:
		return append(b, byte(x))
	case 2:
		return binary.LittleEndian.AppendUint16(b, uint16(x))
	case 4:
		return binary.LittleEndian.AppendUint32(b, uint32(x))
	case 8:
		return binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	return b
}

// list reads a list of scalars (class labels) as a vector.
func (r *reader) list(l *spec.ListValue) (*graph.Const, error) {
	out := &graph.Const{Type: graph.TensorOf(tensor.String, len(l.GetValues()))}
	for i, v := range l.GetValues() {
		k, err := r.constOf(v)
		if err != nil {
			return nil, fmt.Errorf("list element %d: %w", i, err)
		}
		if i > 0 && k.Type.DType != out.Type.DType || k.Type.Elements() != 1 {
			return nil, fmt.Errorf("list element %d: %v: %w: want scalars of one dtype", i, k.Type, fault.Invalid)
		}
		out.Type.DType = k.Type.DType
		out.Data = append(out.Data, k.Data...)
		out.Strings = append(out.Strings, k.Strings...)
	}
	return out, nil
}
