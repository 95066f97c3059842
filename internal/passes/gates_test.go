package passes

import (
	"testing"

	"coreml/internal/graph"
	"coreml/internal/testkit"
	"coreml/tensor"
)

func TestJoinGate(t *testing.T) {
	hard := testkit.Args{"alpha": 0.2, "beta": 0.5}
	for _, c := range []struct {
		name, gate string
		args       testkit.Args
		other      bool // the gate is of another value
		flipped    bool
		want       string
	}{
		{name: "sigmoid", gate: "sigmoid", want: "silu"},
		{name: "gate first", gate: "sigmoid", flipped: true, want: "silu"},
		{name: "sigmoid_hard", gate: "sigmoid_hard", args: hard, want: "gated_sigmoid_hard"},
		{name: "another value", gate: "sigmoid", other: true, want: "mul"},
		{name: "another function", gate: "tanh", want: "mul"},
	} {
		b := testkit.NewBuilder(graph.IOS18)
		x := b.Input("x", graph.TensorOf(tensor.Float32, 2, 3))
		y := b.Input("y", graph.TensorOf(tensor.Float32, 2, 3))
		a := testkit.Args{"x": x}
		for k, v := range c.args {
			a[k] = v
		}
		s, err := b.Op(c.gate, a)
		if err != nil {
			t.Fatal(err)
		}
		a = testkit.Args{"x": x, "y": s[0]}
		if c.other {
			a["x"] = y
		}
		if c.flipped {
			a["x"], a["y"] = a["y"], a["x"]
		}
		out, err := b.Op("mul", a)
		if err != nil {
			t.Fatal(err)
		}
		nodes := Apply(b.Function(out[0])).Body.Nodes
		if last := nodes[len(nodes)-1]; last.Op.Name != c.want {
			t.Errorf("%s: became %s, want %s", c.name, last.Op.Name, c.want)
		}
		if c.want != "mul" && len(nodes) != 1 {
			t.Errorf("%s: %d operations, want 1", c.name, len(nodes))
		}
	}
}
