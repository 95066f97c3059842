package testkit

import (
	"strings"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"coreml/internal/spec"
)

// Program is an ML Program to be written as a model file, right or wrong.
type Program struct {
	Opset  string // "": CoreML8
	In     []Var
	States []Var
	Ops    []Operation
	Out    []string
}

// Var is a name with a type. A size of -1 is unknown.
type Var struct {
	Name  string
	DType spec.DataType
	Shape []int
	List  bool // a list of such tensors
}

// F32, I32 and B name values of the common types.
func F32(name string, shape ...int) Var {
	return Var{Name: name, DType: spec.DataType_FLOAT32, Shape: shape}
}
func I32(name string, shape ...int) Var {
	return Var{Name: name, DType: spec.DataType_INT32, Shape: shape}
}
func B(name string, shape ...int) Var {
	return Var{Name: name, DType: spec.DataType_BOOL, Shape: shape}
}

// Operation is one operation. An argument "%x" is the value named x, []string
// several of them; anything else is an immediate value.
type Operation struct {
	Type   string
	In     Args
	Out    []Var
	Blocks []Nest
}

// Nest is a nested block.
type Nest struct {
	In  []Var
	Ops []Operation
	Out []string
}

// Weights is an immediate float32 tensor with the given values.
type Weights struct {
	Shape []int
	Data  []float32
}

// Model is the program as a model.
func (p Program) Model() *spec.Model {
	opset := p.Opset
	if opset == "" {
		opset = "CoreML8"
	}
	f := &spec.Function{Opset: opset, BlockSpecializations: map[string]*spec.Block{
		opset: {Operations: operations(p.Ops), Outputs: p.Out}}}
	d := &spec.ModelDescription{}
	for _, v := range p.In {
		f.Inputs = append(f.Inputs, v.named())
		d.Input = append(d.Input, v.feature())
	}
	for _, v := range p.States {
		n := v.named()
		n.Type = &spec.ValueType{Type: &spec.ValueType_StateType{StateType: &spec.StateType{WrappedType: n.Type}}}
		f.Inputs = append(f.Inputs, n)
		s := v.feature()
		s.Type = &spec.FeatureType{Type: &spec.FeatureType_StateType{StateType: &spec.StateFeatureType{
			Type: &spec.StateFeatureType_ArrayType{ArrayType: s.Type.GetMultiArrayType()}}}}
		d.State = append(d.State, s)
	}
	for _, name := range p.Out {
		v := Var{Name: name, DType: spec.DataType_FLOAT32}
		d.Output = append(d.Output, v.feature())
	}
	return &spec.Model{SpecificationVersion: 9, Description: d,
		Type: &spec.Model_MlProgram{MlProgram: &spec.Program{Version: 1, Functions: map[string]*spec.Function{"main": f}}}}
}

// ModelFile is the name of the model in the file systems made here.
const ModelFile = "model.mlmodel"

// FS is the program as a file.
func (p Program) FS() fstest.MapFS { return FileOf(p.Model()) }

// FileOf is a model as a file.
func FileOf(m *spec.Model) fstest.MapFS {
	b, err := proto.Marshal(m)
	if err != nil {
		panic("BUG: testkit: " + err.Error())
	}
	return fstest.MapFS{ModelFile: &fstest.MapFile{Data: b}}
}

func (v Var) named() *spec.NamedValueType {
	t := tensorType(v.DType, v.Shape)
	if v.List {
		t = &spec.ValueType{Type: &spec.ValueType_ListType{ListType: &spec.ListType{Type: t, Length: unknown()}}}
	}
	return &spec.NamedValueType{Name: v.Name, Type: t}
}

// feature describes a value; of one with unknown sizes it leaves the shape away.
func (v Var) feature() *spec.FeatureDescription {
	a := &spec.ArrayFeatureType{DataType: spec.ArrayFeatureType_FLOAT32}
	if v.DType == spec.DataType_INT32 {
		a.DataType = spec.ArrayFeatureType_INT32
	}
	for _, d := range v.Shape {
		a.Shape = append(a.Shape, int64(max(d, 1)))
		if d < 0 {
			a.Shape = nil
			break
		}
	}
	return &spec.FeatureDescription{Name: v.Name, Type: &spec.FeatureType{Type: &spec.FeatureType_MultiArrayType{MultiArrayType: a}}}
}

func unknown() *spec.Dimension {
	return &spec.Dimension{Dimension: &spec.Dimension_Unknown{Unknown: &spec.Dimension_UnknownDimension{}}}
}

func tensorType(d spec.DataType, shape []int) *spec.ValueType {
	t := &spec.TensorType{DataType: d, Rank: int64(len(shape))}
	for _, n := range shape {
		if n < 0 {
			t.Dimensions = append(t.Dimensions, unknown())
			continue
		}
		t.Dimensions = append(t.Dimensions, &spec.Dimension{Dimension: &spec.Dimension_Constant{
			Constant: &spec.Dimension_ConstantDimension{Size: uint64(n)}}})
	}
	return &spec.ValueType{Type: &spec.ValueType_TensorType{TensorType: t}}
}

func operations(ops []Operation) []*spec.Operation {
	var out []*spec.Operation
	for _, o := range ops {
		w := &spec.Operation{Type: o.Type, Inputs: map[string]*spec.Argument{}}
		for name, a := range o.In {
			w.Inputs[name] = argument(a)
		}
		for _, v := range o.Out {
			w.Outputs = append(w.Outputs, v.named())
		}
		for _, b := range o.Blocks {
			nested := &spec.Block{Operations: operations(b.Ops), Outputs: b.Out}
			for _, v := range b.In {
				nested.Inputs = append(nested.Inputs, v.named())
			}
			w.Blocks = append(w.Blocks, nested)
		}
		out = append(out, w)
	}
	return out
}

func argument(a any) *spec.Argument {
	if s, ok := a.(string); ok && strings.HasPrefix(s, "%") {
		a = []string{s}
	}
	names, ok := a.([]string)
	if !ok {
		return &spec.Argument{Arguments: []*spec.Argument_Binding{{Binding: &spec.Argument_Binding_Value{Value: Immediate(a)}}}}
	}
	out := &spec.Argument{}
	for _, n := range names {
		out.Arguments = append(out.Arguments, &spec.Argument_Binding{Binding: &spec.Argument_Binding_Name{Name: n[1:]}})
	}
	return out
}

// Immediate is a constant inside the model file.
func Immediate(a any) *spec.Value {
	t := &spec.TensorValue{}
	var d spec.DataType
	var shape []int
	switch a := a.(type) {
	case int:
		d, t.Value = spec.DataType_INT32, ints(a)
	case []int:
		d, shape, t.Value = spec.DataType_INT32, []int{len(a)}, ints(a...)
	case float64:
		d, t.Value = spec.DataType_FLOAT32, floats(float32(a))
	case Weights:
		d, shape, t.Value = spec.DataType_FLOAT32, a.Shape, floats(a.Data...)
	case bool:
		d, t.Value = spec.DataType_BOOL, bools(a)
	case []bool:
		d, shape, t.Value = spec.DataType_BOOL, []int{len(a)}, bools(a...)
	case string:
		d, t.Value = spec.DataType_STRING, &spec.TensorValue_Strings{Strings: &spec.TensorValue_RepeatedStrings{Values: []string{a}}}
	default:
		panic("BUG: testkit: an immediate value of an unknown type")
	}
	return &spec.Value{Type: tensorType(d, shape), Value: &spec.Value_ImmediateValue_{ImmediateValue: &spec.Value_ImmediateValue{
		Value: &spec.Value_ImmediateValue_Tensor{Tensor: t}}}}
}

func ints(v ...int) *spec.TensorValue_Ints {
	w := make([]int32, len(v))
	for i, x := range v {
		w[i] = int32(x)
	}
	return &spec.TensorValue_Ints{Ints: &spec.TensorValue_RepeatedInts{Values: w}}
}

func floats(v ...float32) *spec.TensorValue_Floats {
	return &spec.TensorValue_Floats{Floats: &spec.TensorValue_RepeatedFloats{Values: v}}
}

func bools(v ...bool) *spec.TensorValue_Bools {
	return &spec.TensorValue_Bools{Bools: &spec.TensorValue_RepeatedBools{Values: v}}
}
