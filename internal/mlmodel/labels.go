package mlmodel

import (
	"fmt"
	"slices"

	"coreml/internal/spec"
	"coreml/schema"
)

// classLabels are the labels that a classifier carries beside its parameters.
// Those of a program are in the program, those of a pipeline in its models.
func classLabels(m *spec.Model) *schema.ClassLabels {
	type labelled interface{ GetStringClassLabels() *spec.StringVector }
	var classifier labelled
	switch t := m.GetType().(type) {
	case *spec.Model_GlmClassifier:
		classifier = t.GlmClassifier
	case *spec.Model_SupportVectorClassifier:
		classifier = t.SupportVectorClassifier
	case *spec.Model_TreeEnsembleClassifier:
		classifier = t.TreeEnsembleClassifier
	case *spec.Model_NeuralNetworkClassifier:
		classifier = t.NeuralNetworkClassifier
	case *spec.Model_KNearestNeighborsClassifier:
		classifier = t.KNearestNeighborsClassifier
	case *spec.Model_NonMaximumSuppression:
		classifier = t.NonMaximumSuppression
	case *spec.Model_TextClassifier:
		classifier = t.TextClassifier
	default:
		return nil
	}
	if v := classifier.GetStringClassLabels().GetVector(); len(v) > 0 {
		return &schema.ClassLabels{Strings: v}
	}
	if c, ok := classifier.(interface{ GetInt64ClassLabels() *spec.Int64Vector }); ok {
		if v := c.GetInt64ClassLabels().GetVector(); len(v) > 0 {
			return &schema.ClassLabels{Int64s: v}
		}
	}
	return nil
}

// programLabels are the classes of the first classify operation of a block, or
// nil when there is none or its classes are computed.
func programLabels(block *spec.Block) *schema.ClassLabels {
	i := slices.IndexFunc(block.GetOperations(), func(op *spec.Operation) bool { return op.GetType() == "classify" })
	if i < 0 {
		return nil
	}
	bindings := block.GetOperations()[i].GetInputs()["classes"].GetArguments()
	if len(bindings) != 1 {
		return nil
	}
	if v := bindings[0].GetValue(); v != nil {
		return valueLabels(v)
	}
	return valueLabels(constant(block, bindings[0].GetName()))
}

// constant finds the value of the const operation that gives name, or nil.
func constant(block *spec.Block, name string) *spec.Value {
	for _, op := range block.GetOperations() {
		if op.GetType() == "const" && len(op.GetOutputs()) == 1 && op.GetOutputs()[0].GetName() == name {
			return op.GetAttributes()["val"]
		}
	}
	return nil
}

// valueLabels reads a list of scalars or a tensor of labels.
func valueLabels(v *spec.Value) *schema.ClassLabels {
	immediate := v.GetImmediateValue()
	if immediate.GetList() == nil {
		return tensorLabels(immediate.GetTensor())
	}
	values := immediate.GetList().GetValues()
	all := new(schema.ClassLabels)
	for _, value := range values {
		one := tensorLabels(value.GetImmediateValue().GetTensor())
		switch {
		case one == nil:
			return nil
		case len(one.Strings) == 1 && all.Int64s == nil:
			all.Strings = append(slices.Grow(all.Strings, len(values)-len(all.Strings)), one.Strings...)
		case len(one.Int64s) == 1 && all.Strings == nil:
			all.Int64s = append(slices.Grow(all.Int64s, len(values)-len(all.Int64s)), one.Int64s...)
		default:
			return nil
		}
	}
	return all
}

func tensorLabels(t *spec.TensorValue) *schema.ClassLabels {
	switch v := t.GetValue().(type) {
	case *spec.TensorValue_Strings:
		return &schema.ClassLabels{Strings: v.Strings.GetValues()}
	case *spec.TensorValue_LongInts:
		return &schema.ClassLabels{Int64s: v.LongInts.GetValues()}
	case *spec.TensorValue_Ints:
		wide := make([]int64, len(v.Ints.GetValues()))
		for i, n := range v.Ints.GetValues() {
			wide[i] = int64(n)
		}
		return &schema.ClassLabels{Int64s: wide}
	}
	return nil
}

// pipelineOf gives the pipeline of a model of one of the three kinds that have one.
func pipelineOf(m *spec.Model) *spec.Pipeline {
	switch t := m.GetType().(type) {
	case *spec.Model_Pipeline:
		return t.Pipeline
	case *spec.Model_PipelineClassifier:
		return t.PipelineClassifier.GetPipeline()
	case *spec.Model_PipelineRegressor:
		return t.PipelineRegressor.GetPipeline()
	}
	return nil
}

func describePipeline(p *spec.Pipeline) ([]schema.PipelineStep, error) {
	if len(p.GetModels()) == 0 {
		return nil, nil
	}
	steps := make([]schema.PipelineStep, 0, len(p.GetModels()))
	for i, m := range p.GetModels() {
		step := schema.PipelineStep{}
		if i < len(p.GetNames()) {
			step.Name = p.GetNames()[i]
		}
		var err error
		if step.Description, err = describe(m); err != nil {
			return nil, at(fmt.Sprintf("model %d of the pipeline", i+1), err)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// lastLabels are the labels of the classifier that ends a pipeline.
func lastLabels(steps []schema.PipelineStep) *schema.ClassLabels {
	for _, step := range slices.Backward(steps) {
		if step.Description.ClassLabels != nil {
			return step.Description.ClassLabels
		}
	}
	return nil
}
