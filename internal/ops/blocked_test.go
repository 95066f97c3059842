package ops

import (
	"math"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// fits is what an operator says of the blocked form for these arguments.
func fits(t *testing.T, name string, a args) graph.Fit {
	t.Helper()
	op := Find(name, graph.IOS18)
	fn, _ := oneNode(op, a, 1)
	c := graph.NewCall(fn.Body.Nodes[0], cpu.Generic, func(v *graph.Value) graph.Operand {
		return graph.Operand{Value: v, Type: v.Type, Const: v.Const}
	})
	types, err := op.Infer(c)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	c.Out[0].Type = types[0]
	return op.Fit(c, graph.Blocked)
}

func TestBlockedFormGivesThePlainResult(t *testing.T) {
	x := func(shape ...int) live { return live{wave(shape, 0.37)} }
	k := func(shape ...int) *graph.Const { return wave(shape, 0.61) }
	num := floatsOf(nil, 0.75)
	cases := []struct {
		op string
		a  args
	}{
		{"exp", args{"x": x(2, 17, 3, 5)}},
		{"relu", args{"x": x(1, 5, 7)}},
		{"leaky_relu", args{"x": live{positive([]int{1, 5, 7})}, "alpha": floatsOf(nil, float32(math.Inf(1)))}},
		{"clip", args{"x": x(2, 17, 3, 5), "alpha": floatsOf(nil, 0.25), "beta": floatsOf(nil, 0.5)}},
		{"cast", args{"x": x(2, 17, 3, 5), "dtype": stringOf("fp16")}},
		{"add", args{"x": x(2, 17, 3, 5), "y": x(2, 17, 3, 5)}},
		{"add", args{"x": x(2, 17, 3, 5), "y": num}},
		{"sub", args{"x": num, "y": x(2, 17, 3, 5)}},
		{"sub", args{"x": x(2, 17, 1, 1), "y": x(2, 17, 3, 5)}},
		{"add", args{"x": x(2, 17, 3, 1), "y": x(1, 17, 1, 5)}},
		{"add", args{"x": x(2, 17, 3, 5), "y": live{num}}},
		{"add", args{"x": x(2, 17, 3, 5), "y": k(17, 1, 1)}},
		{"real_div", args{"x": x(2, 17, 3, 5), "y": k(5)}},
		{"maximum", args{"x": k(1, 1, 3, 5), "y": x(2, 17, 3, 5)}},
		{"pow", args{"x": floatsOf(nil, 1.5), "y": x(2, 17, 3, 5)}},
		{"minimum", args{"x": x(2, 16, 3, 5), "y": k(2, 16, 1, 5)}},
		{"prelu", args{"x": x(2, 17, 3, 5), "alpha": k(17)}},
		{"batch_norm", args{"x": x(2, 17, 30, 50), "mean": k(17), "variance": ramp(17), "gamma": k(17), "beta": k(17)}},
		{"instance_norm", args{"x": x(2, 17, 30, 5), "gamma": k(17), "beta": k(17)}},
		{"instance_norm", args{"x": x(1, 3, 300)}},
		{"reduce_mean", args{"x": x(2, 17, 30, 5), "axes": intsOf([]int{2}, 2, 3)}},
		{"reduce_mean", args{"x": x(3, 17, 1, 1), "axes": intsOf([]int{2}, 2, 3)}},
		{"reduce_mean", args{"x": x(2, 17, 31, 5), "axes": intsOf([]int{2}, -1, -2), "keep_dims": boolsOf(nil, true)}},
		{"reduce_max", args{"x": x(2, 17, 30, 5), "axes": intsOf([]int{1}, 3), "keep_dims": boolsOf(nil, true)}},
		{"reduce_sum", args{"x": x(2, 17, 30, 5), "axes": intsOf([]int{1}, 2)}},
		{"reduce_l2_norm", args{"x": x(2, 16, 30), "axes": intsOf([]int{1}, 2)}},
	}
	for _, tt := range cases {
		if fits(t, tt.op, tt.a).In == 0 {
			t.Errorf("%s %v: refused", tt.op, tt.a)
			continue
		}
		want := runOp(t, tt.op, tt.a, 1)[0]
		for _, l := range cpu.Levels() {
			near(t, runForm(t, tt.op, tt.a, l, graph.Blocked), want.Type.Shape, want.f32(), 4e-6)
		}
	}
}

func TestPostRunsOnTheResult(t *testing.T) {
	x, y := wave([]int{2, 17, 30, 5}, 0.37), wave([]int{2, 17, 30, 5}, 0.11)
	alpha := wave([]int{17}, 0.5)
	post := []hosted{
		{op: "add", args: args{"y": live{y}}, other: "y"},
		{op: "exp"},
		{op: "mul", args: args{"y": floatsOf(nil, 2)}, other: "y"},
		{op: "sub", args: args{"y": floatsOf(nil, 1)}, other: "y"},
		{op: "prelu", args: args{"alpha": alpha}, other: "alpha"},
	}
	want := make([]float32, volume(x.Type.Shape))
	for i, v := range x.Floats() {
		s := 2*math.Exp(float64(v)*float64(v)+float64(y.Floats()[i])) - 1
		if s < 0 {
			s *= float64(alpha.Floats()[i/150%17])
		}
		want[i] = float32(s)
	}
	for _, form := range []graph.Form{graph.Plain, graph.Blocked} {
		for _, l := range cpu.Levels() {
			near(t, runForm(t, "square", args{"x": live{x}}, l, form, post...), x.Type.Shape, want, 1e-5)
		}
	}
}

func TestBlockedFormIsRefusedWhereItDoesNotFit(t *testing.T) {
	for _, a := range []args{
		{"x": live{wave([]int{1, 4, 2, 2}, 1)}, "y": live{wave([]int{1, 1, 2, 2}, 1)}},
		{"x": live{wave([]int{1, 4, 2, 2}, 1)}, "y": live{wave([]int{2}, 1)}},
		{"x": live{wave([]int{4, 2}, 1)}, "y": live{wave([]int{4, 2}, 1)}},
		{"x": live{intsOf([]int{1, 1, 1, 2}, 1, 2)}, "y": live{intsOf([]int{1, 1, 1, 2}, 1, 2)}},
	} {
		if fit := fits(t, "add", a); fit != (graph.Fit{}) {
			t.Errorf("%v: %+v", a, fit)
		}
	}
}

// wave is a tensor of numbers in [-1, 1] without a pattern.
func wave(shape []int, step float64) *graph.Const {
	v := make([]float32, volume(shape))
	for i := range v {
		v[i] = float32(math.Sin(step * float64(i*i%1009+1)))
	}
	return floatsOf(shape, v...)
}

// ramp is a vector of n positive numbers.
func ramp(n int) *graph.Const {
	v := make([]float32, n)
	for i := range v {
		v[i] = 0.5 + float32(i)/4
	}
	return floatsOf([]int{n}, v...)
}
