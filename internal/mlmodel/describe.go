package mlmodel

import (
	"fmt"
	"slices"

	"coreml/internal/fault"
	"coreml/internal/spec"
	"coreml/schema"
	"coreml/tensor"
)

// maxSize bounds every size and bound that a description declares.
const maxSize = 1 << 40

// modelType is the name of the kind of model in the schema: mlProgram,
// neuralNetwork, pipeline, … It is empty when the file does not say.
func modelType(m *spec.Model) string {
	r := m.ProtoReflect()
	field := r.WhichOneof(r.Descriptor().Oneofs().ByName("Type"))
	if field == nil {
		return ""
	}
	return string(field.Name())
}

// describe reads the description of a model whose messages do not nest deeper
// than maxDepth. The result shares strings and labels with m.
func describe(m *spec.Model) (*schema.Description, error) {
	d := &schema.Description{
		SpecVersion: int(m.GetSpecificationVersion()),
		ModelType:   modelType(m),
		IsUpdatable: m.GetIsUpdatable(),
		Metadata:    describeMetadata(m.GetDescription().GetMetadata()),
	}
	var err error
	if d.Function, err = describeFunction(m.GetDescription()); err != nil {
		return nil, err
	}
	d.Function.ClassLabels = classLabels(m)
	if d.TrainingInputs, err = describeFeatures(roleTraining, m.GetDescription().GetTrainingInput()); err != nil {
		return nil, err
	}
	if program := m.GetMlProgram(); program != nil {
		if err := addFunctions(d, m.GetDescription(), program); err != nil {
			return nil, err
		}
	}
	if d.Pipeline, err = describePipeline(pipelineOf(m)); err != nil {
		return nil, err
	}
	if len(d.Pipeline) > 0 && d.Function.ClassLabels == nil && d.PredictedFeatureName != "" {
		d.Function.ClassLabels = lastLabels(d.Pipeline)
	}
	return d, nil
}

func describeMetadata(m *spec.Metadata) schema.Metadata {
	return schema.Metadata{
		ShortDescription: m.GetShortDescription(),
		Version:          m.GetVersionString(),
		Author:           m.GetAuthor(),
		License:          m.GetLicense(),
		UserDefined:      m.GetUserDefined(),
	}
}

// functionInterface is what a model's and a function's description share.
type functionInterface interface {
	GetInput() []*spec.FeatureDescription
	GetOutput() []*spec.FeatureDescription
	GetState() []*spec.FeatureDescription
	GetPredictedFeatureName() string
	GetPredictedProbabilitiesName() string
}

func describeFunction(s functionInterface) (f schema.Function, err error) {
	f.PredictedFeatureName = s.GetPredictedFeatureName()
	f.PredictedProbabilitiesName = s.GetPredictedProbabilitiesName()
	if f.Inputs, err = describeFeatures(roleInput, s.GetInput()); err != nil {
		return f, err
	}
	if f.Outputs, err = describeFeatures(roleOutput, s.GetOutput()); err != nil {
		return f, err
	}
	f.States, err = describeFeatures(roleState, s.GetState())
	return f, err
}

// defaultFunction is the name of the only function where a description names none.
const defaultFunction = "main"

// addFunctions describes the functions of a program, and makes the default one
// the interface of the model.
func addFunctions(d *schema.Description, s *spec.ModelDescription, program *spec.Program) error {
	if len(s.GetFunctions()) == 0 {
		d.Function.Name = defaultFunction
		if program.GetFunctions()[defaultFunction] == nil && len(program.GetFunctions()) == 1 {
			for name := range program.GetFunctions() {
				d.Function.Name = name
			}
		}
		describeProgram(&d.Function, program)
		d.Functions = []schema.Function{d.Function}
		return nil
	}
	names := make(map[string]bool, len(s.GetFunctions()))
	for _, described := range s.GetFunctions() {
		if names[described.GetName()] {
			return invalid("function "+fault.Quote(described.GetName()), "is described twice", "different names")
		}
		names[described.GetName()] = true
		f, err := describeFunction(described)
		if err != nil {
			return at("function "+fault.Quote(described.GetName()), err)
		}
		f.Name = described.GetName()
		describeProgram(&f, program)
		d.Functions = append(d.Functions, f)
	}
	name := s.GetDefaultFunctionName()
	i := slices.IndexFunc(d.Functions, func(f schema.Function) bool { return f.Name == name })
	if i < 0 {
		return invalid("description", "default function "+fault.Quote(name)+" is not described", fault.OneOf(functionNames(d.Functions)))
	}
	d.Function = d.Functions[i]
	return nil
}

func functionNames(functions []schema.Function) []string {
	names := make([]string, len(functions))
	for i, f := range functions {
		names[i] = f.Name
	}
	return names
}

// describeProgram adds what only the program knows about its function.
func describeProgram(f *schema.Function, program *spec.Program) {
	function := program.GetFunctions()[f.Name]
	f.Opset = function.GetOpset()
	if block := function.GetBlockSpecializations()[f.Opset]; block != nil {
		f.ClassLabels = programLabels(block)
	}
}

// What a feature is to its function, as errors put it.
const (
	roleInput    = "input"
	roleOutput   = "output"
	roleState    = "state"
	roleTraining = "training input"
)

func describeFeatures(role string, s []*spec.FeatureDescription) ([]schema.Feature, error) {
	features := make([]schema.Feature, 0, len(s))
	names := make(map[string]bool, len(s))
	for _, feature := range s {
		// A function may return one value twice, under one name.
		if names[feature.GetName()] && role != roleOutput {
			return nil, invalid(role+" "+fault.Quote(feature.GetName()), "is described twice", "different names")
		}
		names[feature.GetName()] = true
		f, err := describeFeature(feature)
		if err != nil {
			return nil, at(role+" "+fault.Quote(feature.GetName()), err)
		}
		features = append(features, f)
	}
	return features, nil
}

func describeFeature(s *spec.FeatureDescription) (f schema.Feature, err error) {
	f = schema.Feature{Name: s.GetName(), ShortDescription: s.GetShortDescription(), Optional: s.GetType().GetIsOptional()}
	switch t := s.GetType().GetType().(type) {
	case *spec.FeatureType_Int64Type:
		f.Type = schema.TypeInt64
	case *spec.FeatureType_DoubleType:
		f.Type = schema.TypeDouble
	case *spec.FeatureType_StringType:
		f.Type = schema.TypeString
	case *spec.FeatureType_ImageType:
		f.Type = schema.TypeImage
		f.Image, err = describeImage(t.ImageType)
	case *spec.FeatureType_MultiArrayType:
		f.Type = schema.TypeTensor
		f.Tensor, err = describeTensor(t.MultiArrayType)
	case *spec.FeatureType_StateType:
		f.Type = schema.TypeState
		f.Tensor, err = describeTensor(t.StateType.GetArrayType())
	case *spec.FeatureType_DictionaryType:
		f.Type = schema.TypeDictionary
		f.Dictionary = describeDictionary(t.DictionaryType)
	case *spec.FeatureType_SequenceType:
		f.Type = schema.TypeSequence
		f.Sequence, err = describeSequence(t.SequenceType)
	}
	return f, err
}

var arrayDTypes = map[spec.ArrayFeatureType_ArrayDataType]tensor.DType{
	spec.ArrayFeatureType_FLOAT16: tensor.Float16,
	spec.ArrayFeatureType_FLOAT32: tensor.Float32,
	spec.ArrayFeatureType_DOUBLE:  tensor.Float64,
	spec.ArrayFeatureType_INT32:   tensor.Int32,
	spec.ArrayFeatureType_INT8:    tensor.Int8,
}

func describeTensor(s *spec.ArrayFeatureType) (*schema.TensorConstraint, error) {
	t := &schema.TensorConstraint{DType: arrayDTypes[s.GetDataType()]}
	var err error
	if t.Shape, err = shape(s.GetShape()); err != nil {
		return nil, err
	}
	shapes := s.GetEnumeratedShapes().GetShapes()
	t.EnumeratedShapes = makeList[[]int](len(shapes))
	for _, enumerated := range shapes {
		dims, err := shape(enumerated.GetShape())
		if err != nil {
			return nil, err
		}
		t.EnumeratedShapes = append(t.EnumeratedShapes, dims)
	}
	ranges := s.GetShapeRange().GetSizeRanges()
	t.ShapeRange = makeList[schema.Range](len(ranges))
	for _, size := range ranges {
		r, err := describeRange(size)
		if err != nil {
			return nil, err
		}
		t.ShapeRange = append(t.ShapeRange, r)
	}
	t.Default = defaultValue(s)
	return t, nil
}

func defaultValue(s *spec.ArrayFeatureType) *schema.Number {
	var n schema.Number
	switch v := s.GetDefaultOptionalValue().(type) {
	case *spec.ArrayFeatureType_IntDefaultValue:
		n = schema.Number(v.IntDefaultValue)
	case *spec.ArrayFeatureType_FloatDefaultValue:
		n = schema.Number(v.FloatDefaultValue)
	case *spec.ArrayFeatureType_DoubleDefaultValue:
		n = schema.Number(v.DoubleDefaultValue)
	default:
		return nil
	}
	return &n
}

// shape checks declared dimensions; none means that no shape is declared.
func shape(dims []int64) ([]int, error) {
	if len(dims) == 0 {
		return nil, nil
	}
	out := make([]int, len(dims))
	for i, d := range dims {
		n, err := size(d)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	if _, ok := tensor.Elements(out); !ok {
		return nil, invalid("", fmt.Sprintf("shape of rank %d has too many elements", len(out)), "at most 2^40")
	}
	return out, nil
}

func size(n int64) (int, error) {
	if n < 0 || n > maxSize {
		return 0, invalid("", fmt.Sprintf("size %d", n), "0 to 2^40")
	}
	return int(n), nil
}

func describeRange(s *spec.SizeRange) (schema.Range, error) {
	if s.GetLowerBound() > maxSize {
		return schema.Range{}, invalid("", fmt.Sprintf("lower bound %d", s.GetLowerBound()), "0 to 2^40")
	}
	r := schema.Range{Lower: int(s.GetLowerBound()), Upper: schema.Unbounded}
	// A bound beyond any size that can exist bounds nothing.
	if upper := s.GetUpperBound(); upper >= 0 && upper <= maxSize {
		r.Upper = int(upper)
		if r.Upper < r.Lower {
			return schema.Range{}, invalid("", fmt.Sprintf("range %d to %d", r.Lower, r.Upper), "the lower bound first")
		}
	}
	return r, nil
}

func describeOptionalRange(s *spec.SizeRange) (*schema.Range, error) {
	if s == nil {
		return nil, nil
	}
	r, err := describeRange(s)
	return &r, err
}

// makeList makes room for n elements; a list of none is absent.
func makeList[T any](n int) []T {
	if n == 0 {
		return nil
	}
	return make([]T, 0, n)
}

func describeImage(s *spec.ImageFeatureType) (i *schema.ImageConstraint, err error) {
	i = new(schema.ImageConstraint)
	if i.Width, err = size(s.GetWidth()); err != nil {
		return nil, err
	}
	if i.Height, err = size(s.GetHeight()); err != nil {
		return nil, err
	}
	if c := s.GetColorSpace(); c != spec.ImageFeatureType_INVALID_COLOR_SPACE {
		i.ColorSpace = c.String()
	}
	sizes := s.GetEnumeratedSizes().GetSizes()
	i.EnumeratedSizes = makeList[schema.ImageSize](len(sizes))
	for _, enumerated := range sizes {
		if enumerated.GetWidth() > maxSize || enumerated.GetHeight() > maxSize {
			return nil, invalid("", "enumerated image size", "0 to 2^40")
		}
		i.EnumeratedSizes = append(i.EnumeratedSizes, schema.ImageSize{Width: int(enumerated.GetWidth()), Height: int(enumerated.GetHeight())})
	}
	if r := s.GetImageSizeRange(); r != nil {
		if i.WidthRange, err = describeOptionalRange(r.GetWidthRange()); err != nil {
			return nil, at("width", err)
		}
		if i.HeightRange, err = describeOptionalRange(r.GetHeightRange()); err != nil {
			return nil, at("height", err)
		}
	}
	return i, nil
}

func describeDictionary(s *spec.DictionaryFeatureType) *schema.DictionaryConstraint {
	switch s.GetKeyType().(type) {
	case *spec.DictionaryFeatureType_Int64KeyType:
		return &schema.DictionaryConstraint{KeyType: schema.TypeInt64}
	case *spec.DictionaryFeatureType_StringKeyType:
		return &schema.DictionaryConstraint{KeyType: schema.TypeString}
	}
	return &schema.DictionaryConstraint{}
}

func describeSequence(s *spec.SequenceFeatureType) (*schema.SequenceConstraint, error) {
	q := new(schema.SequenceConstraint)
	switch s.GetType().(type) {
	case *spec.SequenceFeatureType_Int64Type:
		q.ElementType = schema.TypeInt64
	case *spec.SequenceFeatureType_StringType:
		q.ElementType = schema.TypeString
	}
	var err error
	q.SizeRange, err = describeOptionalRange(s.GetSizeRange())
	return q, err
}
