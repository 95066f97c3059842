package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"

	"coreml"
	"coreml/internal/record"
	"coreml/internal/spec"
	"coreml/tensor"

	"coreml/internal/testkit"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coreml": main})
}

// TestScripts runs testdata/*.txt, which are the manual of the command line.
func TestScripts(t *testing.T) {
	cases, err := filepath.Abs("../../testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("CASES", cases)
			e.Setenv("NO_COLOR", "1")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "race" {
				return testkit.Race, nil
			}
			return false, fmt.Errorf("condition %q: want race", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"picture":     makePicture,
			"npz":         makeNpz,
			"program":     makeProgram,
			"drop":        dropKey,
			"exitcode":    checkExitCode,
			"awaitstatus": awaitStatus,
		},
	})
}

// makePicture writes a picture of one colour: picture FILE.png WIDTH HEIGHT RRGGBB.
func makePicture(ts *testscript.TestScript, _ bool, args []string) {
	w, err1 := strconv.Atoi(args[1])
	h, err2 := strconv.Atoi(args[2])
	rgb, err3 := strconv.ParseUint(args[3], 16, 32)
	if err1 != nil || err2 != nil || err3 != nil {
		ts.Fatalf("usage: picture FILE WIDTH HEIGHT RRGGBB")
	}
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, color.NRGBA{uint8(rgb >> 16), uint8(rgb >> 8), uint8(rgb), 255})
	}
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(png.Encode(f, img))
	ts.Check(f.Close())
}

// makeNpz writes float32 arrays: npz FILE NAME:2x3=1,2,3,4,5,6 … One number is repeated.
func makeNpz(ts *testscript.TestScript, _ bool, args []string) {
	f := coreml.Features{}
	for _, a := range args[1:] {
		head, values, _ := strings.Cut(a, "=")
		name, dims, _ := strings.Cut(head, ":")
		var shape []int
		for _, d := range strings.Split(dims, "x") {
			n, err := strconv.Atoi(d)
			ts.Check(err)
			shape = append(shape, n)
		}
		t := tensor.New(tensor.Float32, shape...)
		words := strings.Split(values, ",")
		for i := range t.Len() {
			x, err := strconv.ParseFloat(words[i%len(words)], 32)
			ts.Check(err)
			tensor.Data[float32](t)[i] = float32(x)
		}
		f[name] = t
	}
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(record.WriteFeatures(out, f, nil))
	ts.Check(out.Close())
}

// makeProgram writes a program whose functions each are one operator of x:
// program FILE.mlmodel FUNCTION=OPERATOR … The first function is the default.
func makeProgram(ts *testscript.TestScript, _ bool, args []string) {
	m := program(args[1])
	for _, a := range args[2:] {
		name, op, _ := strings.Cut(a, "=")
		addFunction(m, name, op)
	}
	b, err := proto.Marshal(m)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o666))
}

// program is a model of one function, FUNCTION=OPERATOR.
func program(function string) *spec.Model {
	name, op, _ := strings.Cut(function, "=")
	m := &spec.Model{SpecificationVersion: 9, Description: &spec.ModelDescription{DefaultFunctionName: name},
		Type: &spec.Model_MlProgram{MlProgram: &spec.Program{Version: 1, Functions: map[string]*spec.Function{}}}}
	addFunction(m, name, op)
	return m
}

func addFunction(m *spec.Model, name, op string) {
	vector := &spec.ValueType{Type: &spec.ValueType_TensorType{TensorType: &spec.TensorType{
		DataType: spec.DataType_FLOAT32, Rank: 1,
		Dimensions: []*spec.Dimension{{Dimension: &spec.Dimension_Constant{Constant: &spec.Dimension_ConstantDimension{Size: 4}}}},
	}}}
	named := func(n string) *spec.NamedValueType { return &spec.NamedValueType{Name: n, Type: vector} }
	feature := func(n string) []*spec.FeatureDescription {
		return []*spec.FeatureDescription{{Name: n, Type: &spec.FeatureType{Type: &spec.FeatureType_MultiArrayType{
			MultiArrayType: &spec.ArrayFeatureType{Shape: []int64{4}, DataType: spec.ArrayFeatureType_FLOAT32}}}}}
	}
	o := &spec.Operation{Type: op, Outputs: []*spec.NamedValueType{named("y")},
		Inputs: map[string]*spec.Argument{"x": {Arguments: []*spec.Argument_Binding{{Binding: &spec.Argument_Binding_Name{Name: "x"}}}}}}
	m.GetMlProgram().Functions[name] = &spec.Function{Opset: "CoreML8", Inputs: []*spec.NamedValueType{named("x")},
		BlockSpecializations: map[string]*spec.Block{"CoreML8": {Operations: []*spec.Operation{o}, Outputs: []string{"y"}}}}
	m.Description.Functions = append(m.Description.Functions, &spec.FunctionDescription{Name: name, Input: feature("x"), Output: feature("y")})
}

// dropKey removes a key from the object in a JSON file: drop FILE KEY.
func dropKey(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]json.RawMessage
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &object))
	delete(object, args[1])
	b, err := json.Marshal(object)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o666))
}

// checkExitCode runs a command that has to end so: exitcode N coreml ARGS…
func checkExitCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s: ended with %s, want %s", strings.Join(args[1:], " "), fmt.Sprint(got), args[0])
	}
}

// awaitStatus waits until a process shows a model.
func awaitStatus(ts *testscript.TestScript, _ bool, _ []string) {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec("coreml", "status"))
		if strings.Contains(ts.ReadFile("stdout"), "model.mlpackage") {
			return
		}
	}
	ts.Fatalf("no process shows its models")
}
