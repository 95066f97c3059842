// Package listing shows what is in a model file, whether or not it can be run
// here: its program as text, its operators counted, its weights by form.
package listing

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/internal/spec"
)

// Print writes the whole program of a model: an ML Program as MIL text, a
// neural network a line for each layer, anything else field by field. Large
// constants are given by type and place; values used as parameters stand where
// they are used. Names and texts of the file are quoted and cut where they would
// not read as one word.
func Print(w io.Writer, m *mlmodel.Model) error {
	p := &printer{w: bufio.NewWriter(w)}
	p.model(m.Spec, 0)
	return p.w.Flush()
}

// printer writes to w, whose Flush tells the first error.
type printer struct {
	w *bufio.Writer
}

func (p *printer) line(depth int, format string, a ...any) {
	p.w.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(p.w, format, a...)
	p.w.WriteByte('\n')
}

func (p *printer) model(m *spec.Model, depth int) {
	prog := m.GetMlProgram()
	switch {
	case prog != nil:
		for _, name := range functionNames(prog, m.GetDescription()) {
			p.function(name, prog.GetFunctions()[name], depth)
		}
	case len(pipelineOf(m)) > 0:
		for i, inner := range pipelineOf(m) {
			p.line(depth, "model %d {", i)
			p.model(inner, depth+1)
			p.line(depth, "}")
		}
	default:
		p.other(m, depth)
	}
}

// functionNames has them as the file describes them, then the others.
func functionNames(prog *spec.Program, d *spec.ModelDescription) []string {
	var names, rest []string
	for _, f := range d.GetFunctions() {
		if prog.GetFunctions()[f.GetName()] != nil && !slices.Contains(names, f.GetName()) {
			names = append(names, f.GetName())
		}
	}
	for n := range prog.GetFunctions() {
		if !slices.Contains(names, n) {
			rest = append(rest, n)
		}
	}
	slices.Sort(rest)
	return append(names, rest...)
}

// pipelineOf lists the models of a pipeline of any of the three kinds.
func pipelineOf(m *spec.Model) []*spec.Model {
	if p := m.GetPipeline(); p != nil {
		return p.GetModels()
	}
	if p := m.GetPipelineClassifier().GetPipeline(); p != nil {
		return p.GetModels()
	}
	return m.GetPipelineRegressor().GetPipeline().GetModels()
}

func (p *printer) function(name string, f *spec.Function, depth int) {
	opset := f.GetOpset()
	p.line(depth, "func %s<%s>(%s) {", fault.Name(name), fault.Name(opset), parameters(f.GetInputs()))
	b := f.GetBlockSpecializations()[opset]
	s := &scope{}
	p.block(s, b, opset, depth+1)
	p.line(depth, "} -> (%s)", s.names(b.GetOutputs()))
}

func parameters(l []*spec.NamedValueType) string {
	var s []string
	for _, v := range l {
		s = append(s, typeText(v.GetType())+" "+fault.Name(v.GetName()))
	}
	return strings.Join(s, ", ")
}

// scope has the text of the constants of a block and of those around it.
type scope struct {
	up     *scope
	consts map[string]string
}

// text is how a value is written where it is used: a constant as its value.
func (s *scope) text(name string) string {
	for ; s != nil; s = s.up {
		if t, ok := s.consts[name]; ok {
			return t
		}
	}
	return fault.Name(name)
}

func (s *scope) names(l []string) string {
	var out []string
	for _, n := range l {
		out = append(out, s.text(n))
	}
	return strings.Join(out, ", ")
}

func (p *printer) block(s *scope, b *spec.Block, opset string, depth int) {
	s.consts = map[string]string{}
	for _, o := range b.GetOperations() {
		if o.GetType() == "const" && len(o.GetOutputs()) == 1 {
			p.constant(s, o, depth)
			continue
		}
		p.operation(s, o, opset, depth)
	}
}

// maxInline is how long the text of a constant may be that stands wherever it is used.
const maxInline = 256

// constant remembers a small constant and writes a large one.
func (p *printer) constant(s *scope, o *spec.Operation, depth int) {
	v := o.GetAttributes()["val"]
	if v == nil {
		for _, b := range o.GetInputs()["val"].GetArguments() {
			v = b.GetValue()
		}
	}
	name := o.GetOutputs()[0].GetName()
	text, ok := literal(v)
	if ok && len(text) <= maxInline {
		s.consts[name] = text
		return
	}
	if !ok {
		text = placeText(v)
	}
	p.line(depth, "%s %s = const(%s)", typeText(v.GetType()), fault.Name(name), text)
}

func (p *printer) operation(s *scope, o *spec.Operation, opset string, depth int) {
	var outs []string
	for _, out := range o.GetOutputs() {
		outs = append(outs, typeText(out.GetType())+" "+fault.Name(out.GetName()))
	}
	text := fault.Name(o.GetType()) + "(" + strings.Join(arguments(s, o, opset), ", ") + ")"
	if len(outs) > 0 {
		text = strings.Join(outs, ", ") + " = " + text
	}
	if len(o.GetBlocks()) == 0 {
		p.line(depth, "%s", text)
		return
	}
	p.line(depth, "%s {", text)
	for _, b := range o.GetBlocks() {
		p.line(depth+1, "(%s) {", parameters(b.GetInputs()))
		in := &scope{up: s}
		p.block(in, b, opset, depth+2)
		p.line(depth+1, "} -> (%s)", in.names(b.GetOutputs()))
	}
	p.line(depth, "}")
}
