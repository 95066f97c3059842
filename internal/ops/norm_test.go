package ops

import (
	"math"
	"slices"
	"strings"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// defineNorm is layer normalisation in float64: over the axes, with the parameters along them.
func defineNorm(x *graph.Const, axes []int, gamma, beta []float32, eps float64) []float32 {
	shape, v := x.Type.Shape, x.Floats()
	groups := foldedGroups(x, axes)
	mean, scale := make([]float64, len(groups)), make([]float64, len(groups))
	for i, g := range groups {
		mean[i] = sumBy(g, identity) / float64(len(g))
		scale[i] = 1 / math.Sqrt(sumBy(g, func(x float64) float64 { return (x - mean[i]) * (x - mean[i]) })/float64(len(g))+eps)
	}
	out := make([]float32, len(v))
	for i := range v {
		g, k, gs, ks, rest := 0, 0, 1, 1, i
		for d := len(shape) - 1; d >= 0; d-- {
			at := rest % shape[d]
			if slices.Contains(axes, d) {
				k, ks = k+at*ks, ks*shape[d]
			} else {
				g, gs = g+at*gs, gs*shape[d]
			}
			rest /= shape[d]
		}
		y := (float64(v[i]) - mean[g]) * scale[g]
		if gamma != nil {
			y *= float64(gamma[k])
		}
		if beta != nil {
			y += float64(beta[k])
		}
		out[i] = float32(y)
	}
	return out
}

func TestLayerNormMatchesDefinition(t *testing.T) {
	for _, tt := range []struct {
		shape, axes []int
	}{
		{[]int{7, 33}, []int{1}},
		{[]int{2, 3, 5, 7}, []int{2, 3}},
		{[]int{2, 12, 9, 11}, []int{1}},
		{[]int{2, 300, 700}, []int{1}},
		{[]int{2, 12, 3}, []int{1}},
		{[]int{4, 3, 5, 6}, []int{1, 3}},
		{[]int{4, 3, 5}, []int{0, 1, 2}},
		{[]int{4, 1, 5}, []int{1}},
	} {
		var over []int
		for _, a := range tt.axes {
			over = append(over, tt.shape[a])
		}
		x, gamma, beta := wave(tt.shape, 0.37), wave(over, 0.2), wave(over, 0.9)
		axes := intsOf([]int{len(tt.axes)}, tt.axes...)
		for _, l := range cpu.Levels() {
			want := defineNorm(x, tt.axes, gamma.Floats(), beta.Floats(), 1e-3)
			a := args{"x": live{x}, "axes": axes, "gamma": gamma, "beta": beta, "epsilon": floatsOf(nil, 1e-3)}
			near(t, runForm(t, "layer_norm", a, l, graph.Plain), tt.shape, want, 4e-6)
			want = defineNorm(x, tt.axes, nil, nil, 1e-5)
			near(t, runForm(t, "layer_norm", args{"x": live{x}, "axes": axes}, l, graph.Plain), tt.shape, want, 2e-5)
		}
	}
}

func TestNormOfALargeMeanKeepsItsDigits(t *testing.T) {
	x := wave([]int{1, 16, 40}, 0.37)
	v := x.Floats()
	for i := range v {
		v[i] += 1000
	}
	x = floatsOf(x.Type.Shape, v...)
	want := defineNorm(x, []int{1}, nil, nil, 1e-5)
	near(t, runOp(t, "layer_norm", args{"x": live{x}, "axes": intsOf([]int{1}, 1)}, 1)[0], x.Type.Shape, want, 2e-4)
	want = defineNorm(x, []int{2}, nil, nil, 1e-5)
	near(t, runOp(t, "instance_norm", args{"x": live{x}}, 1)[0], x.Type.Shape, want, 2e-4)
	near(t, runForm(t, "instance_norm", args{"x": live{x}}, cpu.Generic, graph.Blocked), x.Type.Shape, want, 2e-4)
}

func TestChannelNorms(t *testing.T) {
	x := live{floatsOf([]int{1, 2, 2}, 1, 3, 5, 9)}
	got := runOp(t, "batch_norm", args{
		"x": x, "mean": floatsOf([]int{2}, 1, 5), "variance": floatsOf([]int{2}, 3, 0),
		"gamma": floatsOf([]int{2}, 2, 1), "beta": floatsOf([]int{2}, 0, 1), "epsilon": floatsOf(nil, 1),
	}, 1)[0]
	near(t, got, []int{1, 2, 2}, []float32{0, 2, 1, 5}, 1e-6)
	got = runOp(t, "instance_norm", args{"x": x, "gamma": floatsOf([]int{2}, 2, 1), "epsilon": floatsOf(nil, 0)}, 1)[0]
	near(t, got, []int{1, 2, 2}, []float32{-2, 2, -1, 1}, 1e-6)
	got = runOp(t, "l2_norm", args{"x": live{floatsOf([]int{2, 1, 1, 2}, 3, 4, 0, 5)}}, 1)[0]
	near(t, got, []int{2, 1, 1, 2}, []float32{0.6, 0.8, 0, 1}, 1e-6)
}

func TestLocalResponseNorm(t *testing.T) {
	a := args{"size": intsOf(nil, 2), "alpha": floatsOf(nil, 2), "beta": floatsOf(nil, 0.5), "k": floatsOf(nil, 1)}
	a["x"] = live{floatsOf([]int{1, 3, 1, 1}, 1, 2, 3)}
	near(t, runOp(t, "local_response_norm", a, 1)[0], []int{1, 3, 1, 1},
		[]float32{1 / math.Sqrt2, 2 / float32(math.Sqrt(6)), 3 / float32(math.Sqrt(14))}, 1e-6)
	a["x"] = live{floatsOf([]int{1, 2, 1}, 1, 2)}
	near(t, runOp(t, "local_response_norm", a, 1)[0], []int{1, 2, 1},
		[]float32{1 / math.Sqrt2, 2 / float32(math.Sqrt(5))}, 1e-6)
}

func TestSoftmaxMatchesDefinition(t *testing.T) {
	shape := []int{3, 37, 21}
	x := wave(shape, 0.37)
	v := x.Floats()
	for i := range v {
		v[i] *= 90
	}
	x = floatsOf(shape, v...)
	for axis := range shape {
		want := make([]float32, len(v))
		l := lineOf(shape, axis)
		for i := range l.lines() {
			top, sum := math.Inf(-1), 0.0
			for pass := range 3 {
				for j := range l.n {
					p := l.start(i) + j*l.inner
					switch e := float64(v[p]); pass {
					case 0:
						top = math.Max(top, e)
					case 1:
						sum += math.Exp(e - top)
					case 2:
						want[p] = float32(math.Exp(e-top) / sum)
					}
				}
			}
		}
		for _, l := range cpu.Levels() {
			near(t, runForm(t, "softmax", args{"x": live{x}, "axis": intsOf(nil, axis)}, l, graph.Plain), shape, want, 1e-6)
		}
	}
}

func TestNormsRefuse(t *testing.T) {
	x := live{wave([]int{1, 3, 2}, 1)}
	two := floatsOf([]int{2}, 1, 2)
	for _, tt := range []struct {
		op   string
		a    args
		want string
	}{
		{"batch_norm", args{"x": x, "mean": two, "variance": two}, "mean: shape [2], want [3]"},
		{"instance_norm", args{"x": x, "gamma": two}, "gamma: shape [2], want [3]"},
		{"instance_norm", args{"x": live{two}}, "x: rank 1, want at least 2"},
		{"layer_norm", args{"x": x, "axes": intsOf([]int{1}, 1), "gamma": two}, "gamma: shape [2], want [3]"},
		{"layer_norm", args{"x": x, "axes": intsOf([]int{1}, 3)}, "axes: axis 3"},
		{"l2_norm", args{"x": live{two}}, "x: rank 1, want at least 3"},
		{"local_response_norm", args{"x": x, "size": intsOf(nil, 0)}, "size: 0, want at least 1"},
		{"softmax", args{"x": live{floatsOf(nil, 1)}}, "axis: axis -1"},
	} {
		_, err := tryOp(tt.op, graph.IOS18, tt.a, 1)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.op, err, tt.want)
		}
	}
}
