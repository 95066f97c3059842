package listing

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"coreml/internal/fault"
	"coreml/internal/spec"
)

// other prints a model that is no ML Program: the layers of networks, a line for
// each, and the fields of everything else.
func (p *printer) other(m *spec.Model, depth int) {
	layers := Layers(m)
	for _, l := range layers {
		p.layer(l, depth)
	}
	if len(layers) > 0 {
		return
	}
	r := m.ProtoReflect()
	if f := r.WhichOneof(r.Descriptor().Oneofs().ByName("Type")); f != nil && f.Message() != nil {
		p.line(depth, "%s {", f.Name())
		p.fields(r.Get(f).Message(), depth+1)
		p.line(depth, "}")
	}
}

// Layers are those of a neural network of any of the three kinds.
func Layers(m *spec.Model) []*spec.NeuralNetworkLayer {
	switch {
	case m.GetNeuralNetwork() != nil:
		return m.GetNeuralNetwork().GetLayers()
	case m.GetNeuralNetworkClassifier() != nil:
		return m.GetNeuralNetworkClassifier().GetLayers()
	}
	return m.GetNeuralNetworkRegressor().GetLayers()
}

// layer prints "a, b = convolution(x, outputChannels = 3, …)".
func (p *printer) layer(l *spec.NeuralNetworkLayer, depth int) {
	kind, f := layerKind(l)
	args := printed(l.GetInput())
	if f != nil {
		args = append(args, short(l.ProtoReflect().Get(f).Message(), 0)...)
	}
	p.line(depth, "%s = %s(%s)", strings.Join(printed(l.GetOutput()), ", "), kind, strings.Join(args, ", "))
	if f == nil {
		return
	}
	nested(l.ProtoReflect().Get(f).Message(), func(name string, n *spec.NeuralNetwork) {
		p.line(depth+1, "%s {", name)
		for _, inner := range n.GetLayers() {
			p.layer(inner, depth+2)
		}
		p.line(depth+1, "}")
	})
}

// printed are names as they are printed.
func printed(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fault.Name(n)
	}
	return out
}

func layerKind(l *spec.NeuralNetworkLayer) (string, protoreflect.FieldDescriptor) {
	r := l.ProtoReflect()
	f := r.WhichOneof(r.Descriptor().Oneofs().ByName("layer"))
	if f == nil {
		return "unknown", nil
	}
	return string(f.Name()), f
}

// nested calls f for the networks inside a branch or a loop.
func nested(m protoreflect.Message, f func(name string, n *spec.NeuralNetwork)) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		d := fields.Get(i)
		if d.Message() == nil || d.IsList() || d.IsMap() || !m.Has(d) {
			continue
		}
		if n, ok := m.Get(d).Message().Interface().(*spec.NeuralNetwork); ok {
			f(string(d.Name()), n)
		}
	}
}

// maxShort is how many fields and elements are written in one line.
const maxShort = 16

// short writes the fields that are set, with weights by size.
func short(m protoreflect.Message, depth int) []string {
	var out []string
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		d := fields.Get(i)
		if !m.Has(d) {
			continue
		}
		if text := fieldText(m, d, depth); text != "" {
			out = append(out, string(d.Name())+" = "+text)
		}
	}
	return out
}

func fieldText(m protoreflect.Message, d protoreflect.FieldDescriptor, depth int) string {
	v := m.Get(d)
	switch {
	case d.IsMap():
		return fmt.Sprintf("{%d entries}", v.Map().Len())
	case d.IsList():
		l := v.List()
		if l.Len() > maxShort || d.Message() != nil {
			return fmt.Sprintf("[%d values]", l.Len())
		}
		var parts []string
		for i := range l.Len() {
			parts = append(parts, scalarText(d, l.Get(i)))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case d.Message() == nil:
		return scalarText(d, v)
	}
	switch x := v.Message().Interface().(type) {
	case *spec.NeuralNetwork:
		return ""
	case *spec.WeightParams:
		form, n, size := weightForm(x)
		return fmt.Sprintf("%s(%d values, %d bytes)", form, n, size)
	}
	if depth >= 4 {
		return "{…}"
	}
	return "{" + strings.Join(short(v.Message(), depth+1), ", ") + "}"
}

func scalarText(d protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch d.Kind() {
	case protoreflect.StringKind:
		return fault.Quote(v.String())
	case protoreflect.BytesKind:
		return fmt.Sprintf("(%d bytes)", len(v.Bytes()))
	case protoreflect.EnumKind:
		if e := d.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
	case protoreflect.FloatKind:
		return strconv.FormatFloat(v.Float(), 'g', -1, 32)
	}
	return v.String()
}

// maxFields is how deep and how wide fields of other models are written.
const maxFields = 100

// fields prints a message, a line for each field.
func (p *printer) fields(m protoreflect.Message, depth int) {
	if depth > maxDepth {
		p.line(depth, "…")
		return
	}
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		d := all.Get(i)
		if !m.Has(d) {
			continue
		}
		switch {
		case d.Message() == nil || d.IsMap():
			p.line(depth, "%s = %s", d.Name(), fieldText(m, d, 0))
		case d.IsList():
			l := m.Get(d).List()
			for k := range min(l.Len(), maxFields) {
				p.line(depth, "%s {%s}", d.Name(), strings.Join(short(l.Get(k).Message(), 0), ", "))
			}
			if l.Len() > maxFields {
				p.line(depth, "and %d more", l.Len()-maxFields)
			}
		default:
			p.line(depth, "%s {", d.Name())
			p.fields(m.Get(d).Message(), depth+1)
			p.line(depth, "}")
		}
	}
}

// maxDepth bounds how deep messages are followed; the reader of files is stricter.
const maxDepth = 100
