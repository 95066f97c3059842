package graph

import (
	"strings"
	"testing"

	"coreml/tensor"
)

func TestPrint(t *testing.T) {
	add := &Op{Name: "add", Inputs: []Input{In("x", Float), In("y", Float)}}
	cond := &Op{Name: "cond", Inputs: []Input{In("pred", Bool)}}
	concat := &Op{Name: "concat", Inputs: []Input{Var("values", Float), Def("axis", Int, 0)}}
	x := &Value{Name: "x", Type: TensorOf(tensor.Float16, 2, -1)}
	small := &Value{Name: "small", Const: &Const{Type: TensorOf(tensor.Float32, 1, 2), Data: tensor.BytesOf([]float32{1, -0.5})}}
	large := &Value{Name: "w", Const: &Const{Type: TensorOf(tensor.Float32, 20), Data: make([]byte, 80)}}
	coded := &Value{Name: "q", Const: &Const{Type: TensorOf(tensor.Float32, 2), Code: code{}}}
	yes := &Value{Name: "yes", Const: &Const{Type: TensorOf(tensor.Bool), Data: []byte{1}}}
	out := func(name string) *Value { return &Value{Name: name, Type: TensorOf(tensor.Float32, 2)} }
	inner := &Block{Inputs: []*Value{out("i")}, Nodes: []*Node{{Op: add, Args: [][]*Value{{x}, {large}}, Out: []*Value{out("a")}}}, Outputs: []*Value{out("a")}}
	f := &Function{Name: "main", Opset: IOS17, Body: &Block{
		Inputs: []*Value{x},
		Nodes: []*Node{
			{Op: add, Args: [][]*Value{{x}, {small}}, Out: []*Value{out("s")}},
			{Op: cond, Args: [][]*Value{{yes}}, Out: []*Value{out("c")}, Blocks: []*Block{inner}},
			{Op: concat, Args: [][]*Value{{coded, x}, nil}, Out: []*Value{out("z")}},
		},
		Outputs: []*Value{out("z"), small},
	}}
	const want = `func main<CoreML7>(tensor<fp16, [2, ?]> x) {
  tensor<fp32, [2]> s = add(x = x, y = [[1, -0.5]])
  tensor<fp32, [2]> c = cond(pred = true) {
    (tensor<fp32, [2]> i) {
      tensor<fp32, [2]> a = add(x = x, y = tensor<fp32, [20]>(w))
    } -> (a)
  }
  tensor<fp32, [2]> z = concat(values = (tensor<fp32, [2]>(q, lut4), x))
} -> (z, [[1, -0.5]])
`
	if got := f.String(); got != want {
		t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

type code struct{}

func (code) Form() string          { return "lut4" }
func (code) Parts() []*Const       { return nil }
func (code) Decode([]float32, int) {}
func (code) Size() int64           { return 1 }

func TestBrackets(t *testing.T) {
	for _, c := range []struct {
		words string
		shape []int
		want  string
	}{
		{"a", nil, "a"},
		{"a", []int{1, 1, 1}, "[[[a]]]"},
		{"a b c d e f", []int{2, 3}, "[[a, b, c], [d, e, f]]"},
		{"a b c d", []int{2, 1, 2}, "[[[a, b]], [[c, d]]]"},
		{"", []int{0}, "[]"},
		{"", []int{1000, 1000, 0}, "[]"},
		{"", []int{1 << 20, 1 << 20, 1 << 24}, "refused"}, // 2^64 elements
		{"", nil, "refused"},
		{"a", []int{2}, "refused"},
		{"a b", []int{2, -1}, "refused"},
		{"a b", []int{0, 2}, "refused"},
	} {
		got, ok := Brackets(strings.Fields(c.words), c.shape)
		if !ok {
			got = "refused"
		}
		if got != c.want {
			t.Errorf("%q as %v: %q, want %q", c.words, c.shape, got, c.want)
		}
	}
}

// TestPrintQuotesNames: what is no plain name stays in its line.
func TestPrintQuotesNames(t *testing.T) {
	const evil = "x\n\x1b[31m"
	v := &Value{Name: evil, Type: TensorOf(tensor.Float32, 2)}
	word := &Value{Name: evil, Const: &Const{Type: TensorOf(tensor.String), Strings: []string{evil}}}
	large := &Value{Name: evil, Const: &Const{Type: TensorOf(tensor.Float32, 20), Data: make([]byte, 80)}}
	op := &Op{Name: "f", Inputs: []Input{In("x", Float), In("y", String), In("z", Float)}}
	f := &Function{Name: evil, Opset: IOS15, Body: &Block{Inputs: []*Value{v}, Outputs: []*Value{v},
		Nodes: []*Node{{Op: op, Args: [][]*Value{{v}, {word}, {large}}, Out: []*Value{v}}}}}
	got := f.String()
	if n := strings.Count(got, "\n"); n != 3 || strings.Contains(got, "\x1b") {
		t.Errorf("printed in %d lines: %q", n, got)
	}
}
