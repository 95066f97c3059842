package mlmodel

import (
	"fmt"
	"path"
	"slices"
	"unsafe"

	"coreml/internal/fault"
	"coreml/internal/spec"
	"coreml/tensor"
)

// maxWeightFiles bounds the mappings that one model can ask for.
const maxWeightFiles = 1000

// Blob returns the weight that a value of the model refers to, as the value
// says it: the name of the file, starting with @model_path/, and the offset of
// the weight's record. The bytes are valid until Close.
func (m *Model) Blob(file string, offset uint64) (b Blob, err error) {
	defer recoverFault(m.where, &err)()
	name, err := weightName(file)
	if err != nil {
		return Blob{}, err
	}
	c := m.weights[path.Join(path.Dir(m.name), name)]
	if c == nil {
		return Blob{}, invalid(fault.Quote(file), "no value of the program refers to it", "a weight file of the model")
	}
	b, err = readBlob(c.data, offset)
	if err != nil {
		return Blob{}, at(fault.Quote(file), err)
	}
	return b, nil
}

// checkWeights opens every weight file and checks every weight that the
// model's programs refer to.
func (m *Model) checkWeights() error { return m.checkModelWeights(m.Spec) }

func (m *Model) checkModelWeights(s *spec.Model) error {
	for _, part := range pipelineOf(s).GetModels() {
		if err := m.checkModelWeights(part); err != nil {
			return err
		}
	}
	program := s.GetMlProgram()
	if err := m.checkValues("program attribute", program.GetAttributes()); err != nil {
		return err
	}
	for _, name := range sortedKeys(program.GetFunctions()) {
		f := program.GetFunctions()[name]
		if err := m.checkFunctionWeights(f); err != nil {
			return at("function "+fault.Quote(name), err)
		}
	}
	return nil
}

func (m *Model) checkFunctionWeights(f *spec.Function) error {
	if err := m.checkValues("attribute", f.GetAttributes()); err != nil {
		return err
	}
	for _, opset := range sortedKeys(f.GetBlockSpecializations()) {
		if err := m.checkBlockWeights(f.GetBlockSpecializations()[opset]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) checkBlockWeights(b *spec.Block) error {
	if err := m.checkValues("block attribute", b.GetAttributes()); err != nil {
		return err
	}
	for _, op := range b.GetOperations() {
		if err := m.checkOperationWeights(op); err != nil {
			return at(operationName(op), err)
		}
		for _, inner := range op.GetBlocks() {
			if err := m.checkBlockWeights(inner); err != nil {
				return at(operationName(op), err)
			}
		}
	}
	return nil
}

// sortedKeys gives errors the same order every time.
func sortedKeys[V any](m map[string]V) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// operationName names an operation in errors: by its first output, and its type.
func operationName(op *spec.Operation) string {
	var name string
	if len(op.GetOutputs()) > 0 {
		name = op.GetOutputs()[0].GetName()
	}
	return fmt.Sprintf("operation %s (%s)", fault.Quote(name), fault.Quote(op.GetType()))
}

func (m *Model) checkOperationWeights(op *spec.Operation) error {
	if err := m.checkValues("attribute", op.GetAttributes()); err != nil {
		return err
	}
	for _, name := range sortedKeys(op.GetInputs()) {
		for _, binding := range op.GetInputs()[name].GetArguments() {
			if err := m.checkValue(binding.GetValue()); err != nil {
				return at("input "+fault.Quote(name), err)
			}
		}
	}
	return nil
}

func (m *Model) checkValues(role string, values map[string]*spec.Value) error {
	for _, name := range sortedKeys(values) {
		if err := m.checkValue(values[name]); err != nil {
			return at(role+" "+fault.Quote(name), err)
		}
	}
	return nil
}

// checkValue checks the weights in a value; it may be nil.
func (m *Model) checkValue(v *spec.Value) error {
	if reference := v.GetBlobFileValue(); reference != nil {
		return m.checkReference(reference, v.GetType())
	}
	immediate := v.GetImmediateValue()
	for _, part := range immediate.GetTuple().GetValues() {
		if err := m.checkValue(part); err != nil {
			return err
		}
	}
	for _, part := range immediate.GetList().GetValues() {
		if err := m.checkValue(part); err != nil {
			return err
		}
	}
	for _, pair := range immediate.GetDictionary().GetValues() {
		if err := m.checkValue(pair.GetKey()); err != nil {
			return err
		}
		if err := m.checkValue(pair.GetValue()); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) checkReference(reference *spec.Value_BlobFileValue, t *spec.ValueType) error {
	if err := m.openWeights(reference.GetFileName()); err != nil {
		return err
	}
	blob, err := m.Blob(reference.GetFileName(), reference.GetOffset())
	if err != nil {
		return err
	}
	if t.GetTensorType() == nil {
		return invalid("", "a weight that is not a tensor", "a tensor type")
	}
	dtype := DTypeOf(t.GetTensorType().GetDataType())
	n, ok := ElementsOf(t.GetTensorType())
	if !ok || dtype != blob.DType || n != blob.Len() {
		return invalid(fmt.Sprintf("weight at %d", reference.GetOffset()),
			fmt.Sprintf("the file has %d elements of %v", blob.Len(), blob.DType),
			fmt.Sprintf("%d of %v, as the program says", n, dtype))
	}
	return nil
}

// ElementsOf counts the elements of a tensor type. It reports false for dimensions
// that are open and for more elements than tensor.Elements counts.
func ElementsOf(t *spec.TensorType) (n int, ok bool) {
	dims := make([]int, len(t.GetDimensions()))
	for i, d := range t.GetDimensions() {
		c := d.GetConstant()
		if c == nil || c.GetSize() > maxSize {
			return 0, false
		}
		dims[i] = int(c.GetSize())
	}
	return tensor.Elements(dims)
}

// openWeights maps the weight file of the given name, unless it is open already.
func (m *Model) openWeights(file string) error {
	name, err := weightName(file)
	if err != nil {
		return err
	}
	name = path.Join(path.Dir(m.name), name)
	if m.weights[name] != nil {
		return nil
	}
	if len(m.weights) == maxWeightFiles {
		return tooLarge("", "more weight files", fmt.Sprintf("at most %d", maxWeightFiles))
	}
	c, err := m.tree.open(name)
	if err != nil {
		return err
	}
	err = checkWeightFile(c)
	if err != nil {
		c.Close()
		return at(fault.Quote(name), err)
	}
	m.weights[name] = c
	return nil
}

func checkWeightFile(c *content) error {
	if c.links > 1 {
		return invalid("", fmt.Sprintf("has %d hard links", c.links), "a file of its own: copy it")
	}
	if err := sniff(c.data); err != nil {
		return err
	}
	return checkBlobHeader(c.data)
}

var milDTypes = map[spec.DataType]tensor.DType{
	spec.DataType_BOOL:         tensor.Bool,
	spec.DataType_STRING:       tensor.String,
	spec.DataType_FLOAT8E4M3FN: tensor.Float8E4M3FN,
	spec.DataType_FLOAT8E5M2:   tensor.Float8E5M2,
	spec.DataType_FLOAT16:      tensor.Float16,
	spec.DataType_FLOAT32:      tensor.Float32,
	spec.DataType_FLOAT64:      tensor.Float64,
	spec.DataType_BFLOAT16:     tensor.BFloat16,
	spec.DataType_INT8:         tensor.Int8,
	spec.DataType_INT16:        tensor.Int16,
	spec.DataType_INT32:        tensor.Int32,
	spec.DataType_INT64:        tensor.Int64,
	spec.DataType_INT4:         tensor.Int4,
	spec.DataType_UINT8:        tensor.UInt8,
	spec.DataType_UINT16:       tensor.UInt16,
	spec.DataType_UINT32:       tensor.UInt32,
	spec.DataType_UINT64:       tensor.UInt64,
	spec.DataType_UINT4:        tensor.UInt4,
	spec.DataType_UINT2:        tensor.UInt2,
	spec.DataType_UINT1:        tensor.UInt1,
	spec.DataType_UINT6:        tensor.UInt6,
	spec.DataType_UINT3:        tensor.UInt3,
}

// DTypeOf is the element type that a program means, or Invalid.
func DTypeOf(t spec.DataType) tensor.DType { return milDTypes[t] }

// Discard says that the data of a blob are not needed for now: a mapped file's
// pages leave memory, and come back from the file when they are touched.
func (m *Model) Discard(data []byte) {
	for _, c := range m.weights {
		if c.unmap != nil && contains(c.data, data) {
			discard(data)
		}
	}
}

// contains tells whether part is a part of whole, not only equal to one.
func contains(whole, part []byte) bool {
	start := uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	offset := uintptr(unsafe.Pointer(unsafe.SliceData(part))) - start
	return len(part) > 0 && offset < uintptr(len(whole)) && uintptr(len(part)) <= uintptr(len(whole))-offset
}
