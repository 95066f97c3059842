package listing

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/internal/spec"
	"coreml/tensor"
)

// Ops counts the operators of a function of an ML Program, or of all if it is "",
// without const, and the layers of networks; those of pipelines together. What is no
// operator's name is quoted and cut.
func Ops(m *spec.Model, function string) map[string]int {
	n := map[string]int{}
	each(m, function, func(o *spec.Operation) {
		if o.GetType() != "const" {
			n[fault.Name(o.GetType())]++
		}
	}, func(l *spec.NeuralNetworkLayer) {
		kind, _ := layerKind(l)
		n[kind]++
	})
	return n
}

// each calls the functions for every operation, of one function or of all, and every layer.
func each(m *spec.Model, function string, op func(*spec.Operation), layer func(*spec.NeuralNetworkLayer)) {
	for name, f := range m.GetMlProgram().GetFunctions() {
		if function != "" && function != name {
			continue
		}
		for _, b := range f.GetBlockSpecializations() {
			eachOperation(b, op)
		}
	}
	for _, l := range Layers(m) {
		eachLayer(l, layer)
	}
	for _, inner := range pipelineOf(m) {
		each(inner, "", op, layer)
	}
}

func eachOperation(b *spec.Block, f func(*spec.Operation)) {
	for _, o := range b.GetOperations() {
		f(o)
		for _, in := range o.GetBlocks() {
			eachOperation(in, f)
		}
	}
}

func eachLayer(l *spec.NeuralNetworkLayer, f func(*spec.NeuralNetworkLayer)) {
	f(l)
	if _, d := layerKind(l); d != nil {
		nested(l.ProtoReflect().Get(d).Message(), func(_ string, n *spec.NeuralNetwork) {
			for _, in := range n.GetLayers() {
				eachLayer(in, f)
			}
		})
	}
}

// Form is one way in which weights are kept.
type Form struct {
	Name   string `json:"form"` // fp16; or lut_to_dense uint4: the constexpr operator and its elements
	Count  int    `json:"count"`
	Values int64  `json:"values"` // that they stand for
	Bytes  int64  `json:"bytes"`  // in the file, tables and scales included
}

// Weights adds up the constants of a model by form, the largest first: those in
// weight files, coded ones, and immediate ones that Print does not write out.
// What several functions share is counted once.
func Weights(m *spec.Model) []Form {
	c := &counter{forms: map[string]*Form{}, seen: map[place]bool{}}
	each(m, "", c.operation, func(l *spec.NeuralNetworkLayer) {
		if _, d := layerKind(l); d != nil {
			c.params(l.ProtoReflect().Get(d).Message(), 0)
		}
	})
	var out []Form
	for _, f := range c.forms {
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b Form) int {
		switch {
		case a.Bytes > b.Bytes:
			return -1
		case a.Bytes < b.Bytes:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

type place struct {
	file   string
	offset uint64
}

type counter struct {
	forms map[string]*Form
	seen  map[place]bool
}

func (c *counter) add(name string, values, bytes int64) {
	f := c.forms[name]
	if f == nil {
		f = &Form{Name: name}
		c.forms[name] = f
	}
	f.Count++
	f.Values += values
	f.Bytes += bytes
}

// operation adds the values that an operation holds.
func (c *counter) operation(o *spec.Operation) {
	kind, coded := strings.CutPrefix(o.GetType(), "constexpr_")
	var bytes, most int64
	var of tensor.DType
	fresh := false
	visit := func(v *spec.Value) {
		n, size, d := c.size(v)
		if size == 0 || !coded && v.GetBlobFileValue() == nil && n <= maxLiteral {
			return
		}
		fresh = true
		if bytes += size; n > most {
			most, of = n, d
		}
	}
	for name, v := range o.GetAttributes() {
		if name != "name" {
			visit(v)
		}
	}
	for _, a := range o.GetInputs() {
		for _, b := range a.GetArguments() {
			if v := b.GetValue(); v != nil {
				visit(v)
			}
		}
	}
	if !fresh {
		return
	}
	if coded {
		if len(o.GetOutputs()) > 0 {
			if n, ok := mlmodel.ElementsOf(o.GetOutputs()[0].GetType().GetTensorType()); ok {
				most = int64(n)
			}
		}
		c.add(fault.Name(kind)+" "+of.String(), most, bytes)
		return
	}
	c.add(of.String(), most, bytes)
}

// size is the number of elements and bytes of a tensor; no bytes if it was counted before.
func (c *counter) size(v *spec.Value) (values, bytes int64, d tensor.DType) {
	t := v.GetType().GetTensorType()
	d = mlmodel.DTypeOf(t.GetDataType())
	n, ok := mlmodel.ElementsOf(t)
	size, fits := tensor.ByteSize(d, n)
	if t == nil || !ok || !fits {
		return 0, 0, d
	}
	if b := v.GetBlobFileValue(); b != nil {
		at := place{b.GetFileName(), b.GetOffset()}
		if c.seen[at] {
			return int64(n), 0, d
		}
		c.seen[at] = true
	}
	return int64(n), int64(size), d
}

// params adds the weights inside the parameters of a layer; networks inside it are layers of their own.
func (c *counter) params(m protoreflect.Message, depth int) {
	if depth > maxDepth {
		return
	}
	m.Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if d.Message() == nil || d.IsMap() {
			return true
		}
		if d.IsList() {
			for i := range v.List().Len() {
				c.param(v.List().Get(i).Message(), depth)
			}
			return true
		}
		c.param(v.Message(), depth)
		return true
	})
}

func (c *counter) param(m protoreflect.Message, depth int) {
	switch x := m.Interface().(type) {
	case *spec.WeightParams:
		form, n, size := weightForm(x)
		c.add(form, n, size)
	case *spec.NeuralNetwork:
	default:
		c.params(m, depth+1)
	}
}

// weightForm says how a network's weight is kept: fp32, fp16, lut 4, linear 8, int8.
func weightForm(w *spec.WeightParams) (form string, values, bytes int64) {
	q := w.GetQuantization()
	bits := int64(q.GetNumberOfBits())
	switch {
	case len(w.GetFloatValue()) > 0:
		return "fp32", int64(len(w.GetFloatValue())), 4 * int64(len(w.GetFloatValue()))
	case len(w.GetFloat16Value()) > 0:
		return "fp16", int64(len(w.GetFloat16Value())) / 2, int64(len(w.GetFloat16Value()))
	case len(w.GetInt8RawValue()) > 0:
		return "int8", int64(len(w.GetInt8RawValue())), int64(len(w.GetInt8RawValue()))
	case len(w.GetRawValue()) > 0 && bits > 0:
		raw := int64(len(w.GetRawValue()))
		table := q.GetLookupTableQuantization()
		if table != nil {
			return "lut " + strconv.FormatInt(bits, 10), 8 * raw / bits, raw + 4*int64(len(table.GetFloatValue()))
		}
		l := q.GetLinearQuantization()
		return "linear " + strconv.FormatInt(bits, 10), 8 * raw / bits, raw + 4*int64(len(l.GetScale())+len(l.GetBias()))
	}
	return "empty", 0, 0
}
