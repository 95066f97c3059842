package listing

import (
	"fmt"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/encoding/prototext"

	"coreml/internal/mlmodel"
	"coreml/internal/spec"
)

func model(t *testing.T, text string) *spec.Model {
	t.Helper()
	m := &spec.Model{}
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	return m
}

func print(t *testing.T, m *spec.Model) string {
	t.Helper()
	var b strings.Builder
	if err := Print(&b, &mlmodel.Model{Spec: m}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// vector is the type of n float16 elements.
func vector(n int) string {
	return fmt.Sprintf("tensorType { dataType: FLOAT16 rank: 1 dimensions { constant { size: %d } } }", n)
}

func TestProgram(t *testing.T) {
	m := model(t, `mlProgram { functions { key: "main" value {
		inputs { name: "x" type { `+vector(2)+` } } opset: "CoreML7"
		block_specializations { key: "CoreML7" value {
			operations { type: "const" outputs { name: "two" type { `+vector(2)+` } }
				attributes { key: "val" value { type { `+vector(2)+` } immediateValue { tensor { bytes { values: "\x00\x3c\x00\xc0" } } } } } }
			operations { type: "const" outputs { name: "w" type { `+vector(100)+` } }
				attributes { key: "val" value { type { `+vector(100)+` } blobFileValue { fileName: "@model_path/weights/weight.bin" offset: 64 } } } }
			operations { type: "frobnicate" outputs { name: "y" type { `+vector(2)+` } }
				inputs { key: "b" value { arguments { name: "two" } arguments { name: "w" } } }
				inputs { key: "a" value { arguments { name: "x" } } }
				attributes { key: "name" value { type { `+vector(1)+` } } }
				blocks { inputs { name: "i" type { `+vector(2)+` } } outputs: "two" } }
			operations { type: "constexpr_lut_to_dense" outputs { name: "q" type { `+vector(64)+` } }
				attributes { key: "indices" value { type { tensorType { dataType: UINT4 rank: 1 dimensions { constant { size: 64 } } } } blobFileValue { fileName: "@model_path/weights/weight.bin" offset: 640 } } }
				attributes { key: "lut" value { type { `+vector(16)+` } blobFileValue { fileName: "@model_path/weights/weight.bin" offset: 768 } } } }
			operations { type: "const" outputs { name: "again" type { `+vector(100)+` } }
				attributes { key: "val" value { type { `+vector(100)+` } blobFileValue { fileName: "@model_path/weights/weight.bin" offset: 64 } } } }
			outputs: "y" } } } } }`)
	const want = `func main<CoreML7>(tensor<fp16, [2]> x) {
  tensor<fp16, [100]> w = const(weight.bin at 64)
  tensor<fp16, [2]> y = frobnicate(a = x, b = ([1, -2], w)) {
    (tensor<fp16, [2]> i) {
    } -> ([1, -2])
  }
  tensor<fp16, [64]> q = constexpr_lut_to_dense(indices = tensor<uint4, [64]>(weight.bin at 640), lut = tensor<fp16, [16]>(weight.bin at 768))
  tensor<fp16, [100]> again = const(weight.bin at 64)
} -> (y)
`
	if got := print(t, m); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	if got := fmt.Sprint(Ops(m, "")); got != "map[constexpr_lut_to_dense:1 frobnicate:1]" {
		t.Errorf("operators %s", got)
	}
	// What stands at one place of the file counts once.
	if got := fmt.Sprint(Weights(m)); got != "[{fp16 1 100 200} {lut_to_dense uint4 1 64 64}]" {
		t.Errorf("weights %s", got)
	}
}

func TestNetwork(t *testing.T) {
	m := model(t, `pipeline { models { neuralNetwork { layers { name: "ip" input: "x" output: "y"
			innerProduct { inputChannels: 2 outputChannels: 1 weights { floatValue: 1 floatValue: 2 } } }
		layers { name: "b" input: "y" output: "z" branch { ifBranch { layers { name: "r" input: "y" output: "z"
			activation { ReLU {} } } } } } } } }`)
	const want = `model 0 {
  y = innerProduct(x, inputChannels = 2, outputChannels = 1, weights = fp32(2 values, 8 bytes))
  z = branch(y)
    ifBranch {
      z = activation(y, ReLU = {})
    }
}
`
	if got := print(t, m); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
	if got := fmt.Sprint(Ops(m, "")); got != "map[activation:1 branch:1 innerProduct:1]" {
		t.Errorf("layers %s", got)
	}
	if got := fmt.Sprint(Weights(m)); got != "[{fp32 1 2 8}]" {
		t.Errorf("weights %s", got)
	}
}

func TestOtherModel(t *testing.T) {
	m := model(t, `scaler { shiftValue: 1 shiftValue: -2.5 scaleValue: 3 }`)
	const want = "scaler {\n  shiftValue = [1, -2.5]\n  scaleValue = [3]\n}\n"
	if got := print(t, m); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

// TestOdd prints what a sound file does not hold.
func TestOdd(t *testing.T) {
	for _, text := range []string{
		`mlProgram {}`,
		`mlProgram { functions { key: "f" value {} } }`,
		`mlProgram { functions { key: "f" value { opset: "x" block_specializations { key: "x" value {
			operations { type: "const" outputs { name: "c" } } operations { type: "y" inputs { key: "z" value {} } }
			operations { type: "const" outputs { name: "d" type { ` + vector(5) + ` } } attributes { key: "val" value { type { ` + vector(5) + ` } immediateValue { tensor { bytes { values: "ab" } } } } } }
			outputs: "nowhere" } } } } }`,
		`neuralNetwork { layers { name: "n" } }`,
		``,
	} {
		m := model(t, text)
		print(t, m)
		Ops(m, "")
		Weights(m)
	}
}

// constant is a program whose constant c, of the given sizes, is used twice.
func constant(value string, sizes ...int) string {
	t := "type { tensorType { dataType: STRING"
	for _, n := range sizes {
		t += fmt.Sprintf(" dimensions { constant { size: %d } }", n)
	}
	return `mlProgram { functions { key: "f" value { opset: "x" block_specializations { key: "x" value {
		operations { type: "const" outputs { name: "c" ` + t + ` } } }
			attributes { key: "val" value { ` + t + ` } } immediateValue { tensor { strings { ` + value + ` } } } } } }
		operations { type: "y" inputs { key: "z" value { arguments { name: "c" } arguments { name: "c" } } } } } } } } }`
}

// TestHostileConstants: the sizes of a constant without elements say nothing about how long its text is.
func TestHostileConstants(t *testing.T) {
	long := strings.Repeat(`values: "`+strings.Repeat("a", 300)+`" `, 5)
	for _, c := range []struct{ model, want string }{
		{constant("", 1<<20, 1<<20, 1<<24), "tensor<string, [1048576, 1048576, 16777216]> c = const(…)\n  y(z = (c, c))"},
		{constant("", 1000, 1000, 0), "y(z = ([], []))"},
		{constant("", 0), "y(z = ([], []))"},
		{constant(`values: "a"`, 1000, 1000, 0), "c = const(…)"},
		{constant(`values: "a"`, 1, 1, 1), `y(z = ([[["a"]]], [[["a"]]]))`},
		{constant(long, 5), "c = const([\"aaa"},
		{constant(long, 5), "y(z = (c, c))"},
	} {
		m := model(t, c.model)
		got := print(t, m)
		if !strings.Contains(got, c.want) || len(got) > 1000 {
			t.Errorf("printed %d bytes: %.500s\nwant %s", len(got), got, c.want)
		}
		Weights(m)
	}
}

// TestNamesArePrintable: no name or text of a file breaks its line, colours it or fills it.
func TestNamesArePrintable(t *testing.T) {
	const evil = `"x\nFAILED\033[31m%s"`
	name := fmt.Sprintf(evil, strings.Repeat("A", 3000))
	value := `{ type { tensorType { dataType: STRING } } immediateValue { tensor { strings { values: ` + name + ` } } } }`
	for _, text := range []string{
		`mlProgram { functions { key: NAME value { opset: NAME inputs { name: NAME type { ` + vector(2) + ` } }
			block_specializations { key: NAME value { outputs: NAME
				operations { type: NAME outputs { name: NAME type { ` + vector(2) + ` } }
					inputs { key: NAME value { arguments { name: NAME } arguments { value ` + value + ` } } }
					attributes { key: NAME value ` + value + ` }
					blocks { inputs { name: NAME type { ` + vector(2) + ` } } outputs: NAME } }
				operations { type: "const" outputs { name: NAME type { ` + vector(100) + ` } }
					attributes { key: "val" value { type { ` + vector(100) + ` } blobFileValue { fileName: NAME } } } } } } } } }`,
		`neuralNetwork { layers { name: NAME input: NAME output: NAME custom { className: NAME } } }`,
		`customModel { className: NAME description: NAME }`,
	} {
		m := model(t, strings.ReplaceAll(text, "NAME", name))
		all := print(t, m)
		for op := range Ops(m, "") {
			all += op + "\n"
		}
		for _, f := range Weights(m) {
			all += f.Name + "\n"
		}
		for _, line := range strings.Split(all, "\n") {
			if len(line) > 1000 || strings.ContainsFunc(line, unicode.IsControl) || strings.HasPrefix(line, "FAILED") {
				t.Errorf("a line of %d bytes: %.200q", len(line), line)
			}
		}
	}
}
