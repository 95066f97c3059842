package ops

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/tensor"
)

// foldedGroups collects the elements of each result of a reduction, in float64.
func foldedGroups(x *graph.Const, axes []int) [][]float64 {
	shape, v := x.Type.Shape, x.Floats()
	kept := reduced(shape, axes, true)
	groups := make([][]float64, volume(kept))
	for i, e := range v {
		g, stride, rest := 0, 1, i
		for d := len(shape) - 1; d >= 0; d-- {
			if kept[d] > 1 || shape[d] == 1 {
				g += rest % shape[d] * stride
			}
			stride *= kept[d]
			rest /= shape[d]
		}
		groups[g] = append(groups[g], float64(e))
	}
	return groups
}

var defineReduce = map[string]func(g []float64) float64{
	"reduce_l1_norm": func(g []float64) float64 { return sumBy(g, math.Abs) },
	"reduce_l2_norm": func(g []float64) float64 {
		return math.Sqrt(sumBy(g, func(x float64) float64 { return x * x }))
	},
	"reduce_log_sum":     func(g []float64) float64 { return math.Log(sumBy(g, identity)) },
	"reduce_log_sum_exp": func(g []float64) float64 { return math.Log(sumBy(g, math.Exp)) },
	"reduce_max":         func(g []float64) float64 { return slices.Max(g) },
	"reduce_mean":        func(g []float64) float64 { return sumBy(g, identity) / float64(len(g)) },
	"reduce_min":         func(g []float64) float64 { return slices.Min(g) },
	"reduce_prod": func(g []float64) float64 {
		p := 1.0
		for _, v := range g {
			p *= v
		}
		return p
	},
	"reduce_sum":        func(g []float64) float64 { return sumBy(g, identity) },
	"reduce_sum_square": func(g []float64) float64 { return sumBy(g, func(x float64) float64 { return x * x }) },
}

func identity(x float64) float64 { return x }

func sumBy(g []float64, f func(float64) float64) float64 {
	s := 0.0
	for _, v := range g {
		s += f(v)
	}
	return s
}

func TestReductionsMatchDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	names := make([]string, 0, len(defineReduce))
	for n := range defineReduce {
		names = append(names, n)
	}
	slices.Sort(names)
	for i := range 400 {
		shape := make([]int, 1+r.IntN(4))
		for k := range shape {
			shape[k] = 1 + r.IntN([]int{3, 8, 40}[r.IntN(3)])
		}
		if volume(shape) > 40000 {
			continue
		}
		var axes []int
		for k := range shape {
			if r.IntN(2) == 0 {
				axes = append(axes, k)
			}
		}
		x := positive(shape)
		a := args{"x": live{x}, "keep_dims": boolsOf(nil, i%2 == 0)}
		if len(axes) > 0 {
			a["axes"] = intsOf([]int{len(axes)}, axes...)
		} else {
			axes = []int{0, 1, 2, 3}[:len(shape)]
		}
		name := names[i%len(names)]
		var want []float32
		for _, g := range foldedGroups(x, axes) {
			want = append(want, float32(defineReduce[name](g)))
		}
		for _, l := range cpu.Levels() {
			got := runForm(t, name, a, l, graph.Plain)
			if !tensor.EqualShape(got.Type.Shape, reduced(shape, axes, i%2 == 0)) {
				t.Fatalf("%s of %v over %v: shape %v", name, shape, axes, got.Type.Shape)
			}
			for j, v := range got.f32() {
				if d := math.Abs(float64(v - want[j])); !(d <= 3e-6*math.Abs(float64(want[j]))) && v != want[j] {
					t.Fatalf("%s of %v over %v, element %d: %v, want %v", name, shape, axes, j, v, want[j])
				}
			}
		}
	}
}

// positive is a tensor of numbers in [0.5, 1.5].
func positive(shape []int) *graph.Const {
	k := wave(shape, 0.37)
	v := k.Floats()
	for i := range v {
		v[i] = 1 + v[i]/2
	}
	return floatsOf(shape, v...)
}

func TestLongSumsStayExact(t *testing.T) {
	// 2^20 numbers whose naive float32 sum loses the third digit.
	for _, shape := range [][]int{{1 << 20, 1}, {1 << 20, 2}, {1 << 10, 700}} {
		v := make([]float32, volume(shape))
		fill(v, 0.1)
		got := runOp(t, "reduce_sum", args{"x": live{floatsOf(shape, v...)}, "axes": intsOf([]int{1}, 0)}, 1)[0]
		want := float64(float32(0.1)) * float64(shape[0])
		for _, s := range got.f32() {
			if math.Abs(float64(s)-want) > 5e-6*want {
				t.Errorf("%v: %v, want %v", shape, s, want)
			}
		}
	}
}

func TestIntegerReductions(t *testing.T) {
	x := live{intsOf([]int{2, 3}, 1, -2, 4, 7, -9, 1)}
	for name, want := range map[string][]int{
		"reduce_sum": {3, -1}, "reduce_mean": {1, 0}, "reduce_max": {4, 7}, "reduce_min": {-2, -9},
		"reduce_prod": {-8, -63}, "reduce_sum_square": {21, 131}, "reduce_l1_norm": {7, 17}, "reduce_l2_norm": {4, 11},
		"reduce_log_sum_exp": {4, 7}, "reduce_argmax": {2, 0}, "reduce_argmin": {1, 1},
	} {
		a := args{"x": x, "axes": intsOf([]int{1}, -1)}
		if strings.HasPrefix(name, "reduce_arg") {
			a = args{"x": x}
		}
		wantInts(t, name, runOp(t, name, a, 1)[0], want...)
	}
}

func TestArgReductions(t *testing.T) {
	nan := float32(math.NaN())
	x := live{floatsOf([]int{2, 3, 2}, 1, 5, 3, 5, 3, 2, nan, 0, 4, -1, nan, -1)}
	for _, tt := range []struct {
		op   string
		axis int
		want []int
	}{
		{"reduce_argmax", 1, []int{1, 0, 0, 0}},
		{"reduce_argmin", 1, []int{0, 2, 0, 1}},
		{"reduce_argmax", -1, []int{1, 1, 0, 0, 0, 0}},
		{"reduce_argmax", 0, []int{1, 0, 1, 0, 1, 0}},
	} {
		got := runOp(t, tt.op, args{"x": x, "axis": intsOf(nil, tt.axis), "output_dtype": stringOf("uint16")}, 1)[0]
		wantInts(t, tt.op, got, tt.want...)
		if got.Type.DType != tensor.UInt16 {
			t.Errorf("%v, want uint16", got.Type)
		}
	}
}

func TestReductionsOfNothing(t *testing.T) {
	x := live{floatsOf([]int{2, 0})}
	inf := float32(math.Inf(1))
	for name, want := range map[string]float32{"reduce_sum": 0, "reduce_max": -inf, "reduce_min": inf, "reduce_prod": 1} {
		near(t, runOp(t, name, args{"x": x, "axes": intsOf([]int{1}, 1)}, 1)[0], []int{2}, []float32{want, want}, 0)
		near(t, runOp(t, name, args{"x": x, "axes": intsOf([]int{1}, 0)}, 1)[0], []int{0}, nil, 0)
	}
	near(t, runOp(t, "reduce_sum", args{"x": live{floatsOf(nil, 3)}}, 1)[0], nil, []float32{3}, 0)
}

func TestReductionsRefuse(t *testing.T) {
	x := live{floatsOf([]int{2, 2}, 1, 2, 3, 4)}
	for _, tt := range []struct {
		op   string
		a    args
		want string
	}{
		{"reduce_sum", args{"x": x, "axes": intsOf([]int{1}, 2)}, "axes: axis 2, want -2 to 1"},
		{"reduce_sum", args{"x": x, "axes": intsOf([]int{2}, 1, -1)}, "axes: axis -1 twice"},
		{"reduce_argmax", args{"x": x, "axis": intsOf(nil, -3)}, "axis: axis -3"},
		{"reduce_argmax", args{"x": x, "output_dtype": stringOf("int64")}, `output_dtype: "int64", want int32 or uint16`},
		{"reduce_argmax", args{"x": live{floatsOf([]int{2, 0})}}, "nothing along axis 1"},
		{"reduce_argmax", args{"x": live{&graph.Const{Type: graph.TensorOf(tensor.Float32, 1<<16+1)}}, "output_dtype": stringOf("uint16")}, "want int32"},
	} {
		_, err := tryOp(tt.op, graph.IOS18, tt.a, 1)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.op, err, tt.want)
		}
	}
}
