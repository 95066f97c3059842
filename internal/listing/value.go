package listing

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/internal/mlmodel"
	"coreml/internal/ops"
	"coreml/internal/spec"
	"coreml/tensor"
)

// maxLiteral is how many elements a constant may have to be written out.
const maxLiteral = 16

// arguments are the inputs and attributes of an operation, in the operator's
// order where it is known, the others sorted.
func arguments(s *scope, o *spec.Operation, opset string) []string {
	var out []string
	for _, name := range argumentOrder(o, opset) {
		if a := o.GetInputs()[name]; a != nil {
			out = append(out, fault.Name(name)+" = "+argumentText(s, a))
			continue
		}
		out = append(out, fault.Name(name)+" = "+valueText(o.GetAttributes()[name]))
	}
	return out
}

func argumentOrder(o *spec.Operation, opset string) []string {
	given := func(name string) bool {
		return o.GetInputs()[name] != nil || o.GetAttributes()[name] != nil && name != "name"
	}
	var names []string
	n, _ := strconv.Atoi(strings.TrimPrefix(opset, "CoreML"))
	if op := ops.Find(o.GetType(), graph.Opset(n)); op != nil {
		for _, in := range op.Inputs {
			if given(in.Name) {
				names = append(names, in.Name)
			}
		}
	}
	rest := slices.Concat(slices.Collect(maps.Keys(o.GetInputs())), slices.Collect(maps.Keys(o.GetAttributes())))
	slices.Sort(rest)
	for _, name := range slices.Compact(rest) {
		if given(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func argumentText(s *scope, a *spec.Argument) string {
	var parts []string
	for _, b := range a.GetArguments() {
		if v := b.GetValue(); v != nil {
			parts = append(parts, valueText(v))
		} else {
			parts = append(parts, s.text(b.GetName()))
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

// valueText is a literal, or the type and the place of one that is too large.
func valueText(v *spec.Value) string {
	if text, ok := literal(v); ok {
		return text
	}
	return typeText(v.GetType()) + "(" + placeText(v) + ")"
}

func placeText(v *spec.Value) string {
	if b := v.GetBlobFileValue(); b != nil {
		file := b.GetFileName()
		return fmt.Sprintf("%s at %d", fault.Name(file[strings.LastIndexByte(file, '/')+1:]), b.GetOffset())
	}
	return "…"
}

// literal writes a small constant as text; its type is left out, as it follows from the use.
func literal(v *spec.Value) (string, bool) {
	i := v.GetImmediateValue()
	if l := i.GetList(); l != nil && len(l.GetValues()) <= maxLiteral {
		var parts []string
		for _, e := range l.GetValues() {
			parts = append(parts, valueText(e))
		}
		return "[" + strings.Join(parts, ", ") + "]", true
	}
	t := v.GetType().GetTensorType()
	if i.GetTensor() == nil || t == nil {
		return "", false
	}
	n, ok := mlmodel.ElementsOf(t)
	if !ok || n > maxLiteral {
		return "", false
	}
	words, ok := words(i.GetTensor(), mlmodel.DTypeOf(t.GetDataType()), n)
	if !ok {
		return "", false
	}
	if len(words) == 1 && n > 1 {
		return fmt.Sprintf("%s(all %s)", typeText(v.GetType()), words[0]), true
	}
	var shape []int
	for _, d := range t.GetDimensions() {
		shape = append(shape, int(d.GetConstant().GetSize()))
	}
	return graph.Brackets(words, shape)
}

// words are the elements of an immediate value as text; ok false: there are not as many as its type says.
func words(t *spec.TensorValue, d tensor.DType, n int) (out []string, ok bool) {
	switch {
	case t.GetFloats() != nil:
		for _, x := range t.GetFloats().GetValues() {
			out = append(out, strconv.FormatFloat(float64(x), 'g', -1, 32))
		}
	case t.GetDoubles() != nil:
		for _, x := range t.GetDoubles().GetValues() {
			out = append(out, strconv.FormatFloat(x, 'g', -1, 64))
		}
	case t.GetInts() != nil:
		for _, x := range t.GetInts().GetValues() {
			out = append(out, strconv.Itoa(int(x)))
		}
	case t.GetLongInts() != nil:
		for _, x := range t.GetLongInts().GetValues() {
			out = append(out, strconv.FormatInt(x, 10))
		}
	case t.GetBools() != nil:
		for _, x := range t.GetBools().GetValues() {
			out = append(out, strconv.FormatBool(x))
		}
	case t.GetStrings() != nil:
		for _, x := range t.GetStrings().GetValues() {
			out = append(out, fault.Quote(x))
		}
	default:
		out = byteWords(t.GetBytes().GetValues(), d, n)
	}
	return out, len(out) == n || len(out) == 1
}

// byteWords reads what is kept as raw little-endian bytes: small integers and halves.
func byteWords(b []byte, d tensor.DType, n int) []string {
	if size, ok := tensor.ByteSize(d, n); !ok || len(b) < size {
		return nil
	}
	var out []string
	for i := range n {
		switch {
		case d == tensor.Float16:
			out = append(out, strconv.FormatFloat(float64(tensor.F32(binary.LittleEndian.Uint16(b[2*i:]))), 'g', 5, 64))
		case d.IsInt() && d.Bits() <= 8:
			var one [1]int16
			tensor.Unpack(one[:], b, d.Bits(), d.IsSigned(), i)
			out = append(out, strconv.Itoa(int(one[0])))
		case d == tensor.UInt32:
			out = append(out, strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b[4*i:])), 10))
		default:
			return nil
		}
	}
	return out
}

func typeText(t *spec.ValueType) string {
	switch {
	case t.GetTensorType() != nil:
		return tensorText(t.GetTensorType())
	case t.GetListType() != nil:
		return "list<" + typeText(t.GetListType().GetType()) + ">"
	case t.GetStateType() != nil:
		return "state<" + typeText(t.GetStateType().GetWrappedType()) + ">"
	case t.GetDictionaryType() != nil:
		return "dict<" + typeText(t.GetDictionaryType().GetKeyType()) + ", " + typeText(t.GetDictionaryType().GetValueType()) + ">"
	case t.GetTupleType() != nil:
		var parts []string
		for _, e := range t.GetTupleType().GetTypes() {
			parts = append(parts, typeText(e))
		}
		return "tuple<" + strings.Join(parts, ", ") + ">"
	}
	return "?"
}

func tensorText(t *spec.TensorType) string {
	d := mlmodel.DTypeOf(t.GetDataType())
	name := d.String()
	if d == tensor.Invalid {
		name = strings.ToLower(t.GetDataType().String())
	}
	var dims []string
	for _, x := range t.GetDimensions() {
		switch {
		case x.GetConstant() != nil:
			dims = append(dims, strconv.FormatUint(x.GetConstant().GetSize(), 10))
		case x.GetUnknown().GetVariadic():
			dims = append(dims, "…")
		default:
			dims = append(dims, "?")
		}
	}
	return "tensor<" + name + ", [" + strings.Join(dims, ", ") + "]>"
}
