package lower_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"unicode"

	"coreml/internal/fault"
	"coreml/internal/lower"
	"coreml/internal/mlmodel"
	"coreml/internal/spec"
	"coreml/internal/testkit"
	"coreml/schema"
)

// evil is a name that would forge a second line, and colour it.
var evil = "x\nFAILED\x1b[31m" + strings.Repeat("A", 3000)

// TestErrorsQuoteNames: whatever a file calls its parts, an error about them is a short line.
func TestErrorsQuoteNames(t *testing.T) {
	y := []testkit.Var{testkit.F32("y", 4)}
	add := testkit.Operation{Type: "add", In: testkit.Args{"x": "%x", "y": 1.0}, Out: y}
	ops := func(o testkit.Operation) testkit.Program {
		return testkit.Program{In: []testkit.Var{testkit.F32("x", 4)}, Ops: []testkit.Operation{o}, Out: []string{"y"}}
	}
	with := func(change func(f *spec.Function)) *spec.Model {
		m := ops(add).Model()
		for _, f := range m.GetMlProgram().GetFunctions() {
			change(f)
		}
		return m
	}
	for name, m := range map[string]*spec.Model{
		"operator":            ops(testkit.Operation{Type: evil, Out: y}).Model(),
		"argument":            ops(testkit.Operation{Type: "add", In: testkit.Args{"x": "%x", "y": 1.0, evil: 1.0}, Out: y}).Model(),
		"result":              ops(testkit.Operation{Type: "add", In: testkit.Args{"x": "%x"}, Out: []testkit.Var{testkit.F32(evil, 4)}}).Model(),
		"undefined value":     ops(testkit.Operation{Type: "add", In: testkit.Args{"x": "%" + evil, "y": 1.0}, Out: y}).Model(),
		"value defined twice": testkit.Program{In: []testkit.Var{testkit.F32(evil, 4), testkit.F32(evil, 4)}}.Model(),
		"input": with(func(f *spec.Function) {
			f.Inputs[0].Name, f.Inputs[0].Type = evil, &spec.ValueType{}
		}),
		"output": with(func(f *spec.Function) {
			for _, b := range f.BlockSpecializations {
				b.Outputs = []string{evil}
			}
		}),
		"attribute": with(func(f *spec.Function) {
			for _, b := range f.BlockSpecializations {
				b.Operations[0].Attributes = map[string]*spec.Value{evil: testkit.Immediate(1)}
			}
		}),
		"opset": with(func(f *spec.Function) { f.Opset = evil }),
		"opset without a block": with(func(f *spec.Function) {
			f.Opset, f.BlockSpecializations = "CoreML7", map[string]*spec.Block{evil: nil}
		}),
		"function": func() *spec.Model {
			m := ops(add).Model()
			fs := m.GetMlProgram().Functions
			fs[evil] = fs["main"]
			for n := range maps.Clone(fs) {
				fs[n+evil] = fs[n]
			}
			delete(fs, "main")
			return m
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lower.Graph(&mlmodel.Model{Spec: m, Description: &schema.Description{}}, "")
			if err == nil {
				t.Fatal("it is taken")
			}
			if !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Unsupported) {
				t.Errorf("%v is of neither kind", err)
			}
			if s := err.Error(); len(s) > 500 || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("a message of %d bytes: %q", len(s), s)
			}
		})
	}
}
