package ops

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"coreml/internal/graph"
	"coreml/tensor"
)

// spreadIndex is the element of a tensor of shape in that NumPy's broadcasting gives to element i of shape out.
func spreadIndex(i int, out, in []int) int {
	p, stride := 0, 1
	for d := len(out) - 1; d >= 0; d-- {
		k := d - len(out) + len(in)
		if k >= 0 {
			if in[k] > 1 {
				p += i % out[d] * stride
			}
			stride *= in[k]
		}
		i /= out[d]
	}
	return p
}

// broadcastShapes gives two shapes that go together, and their result's.
func broadcastShapes(r *rand.Rand, most int) (a, b, out []int) {
	for range 1 + r.IntN(4) {
		d := 1 + r.IntN(most)
		x, y := d, d
		switch r.IntN(4) {
		case 0:
			x = 1
		case 1:
			y = 1
		}
		a, b, out = append(a, x), append(b, y), append(out, max(x, y))
	}
	if k := r.IntN(len(a)); r.IntN(2) == 0 {
		a = a[k:]
	} else {
		b = b[k:]
	}
	for i := range out {
		out[i] = 1
	}
	out, _ = broadcast(a, b)
	return a, b, out
}

func TestBinaryBroadcasts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		a, b, out := broadcastShapes(r, []int{3, 9, 90}[r.IntN(3)])
		if volume(out) > 1e5 {
			continue
		}
		x, y := wave(a, 0.3), wave(b, 0.7)
		xs, ys, want := x.Floats(), y.Floats(), make([]float32, volume(out))
		for i := range want {
			want[i] = xs[spreadIndex(i, out, a)] - ys[spreadIndex(i, out, b)]
		}
		sides := [][2]any{{x, live{y}}, {live{x}, y}, {live{x}, live{y}}}[r.IntN(3)]
		near(t, runOp(t, "sub", args{"x": sides[0], "y": sides[1]}, 1)[0], out, want, 0)
	}
}

func TestUnaryFunctions(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, tt := range []struct {
		op   string
		a    args
		x, y []float32
	}{
		{"round", nil, []float32{0.5, 1.5, -2.5, 2.4}, []float32{0, 2, -2, 2}},
		{"sign", nil, []float32{-3, 0, 2}, []float32{-1, 0, 1}},
		{"inverse", args{"epsilon": floatsOf(nil, 1)}, []float32{0, 3}, []float32{1, 0.25}},
		{"log", nil, []float32{0, 1}, []float32{-103.27893, 0}},
		{"log", args{"epsilon": floatsOf(nil, 0)}, []float32{0, float32(math.E)}, []float32{-inf, 1}},
		{"rsqrt", args{"epsilon": floatsOf(nil, 0.25)}, []float32{0, 0.75}, []float32{2, 1}},
		{"threshold", args{"alpha": floatsOf(nil, 1)}, []float32{0, 3, inf}, []float32{1, 3, inf}},
		{"clip", args{"alpha": floatsOf(nil, -1), "beta": floatsOf(nil, 1)}, []float32{-4, 0.5, inf}, []float32{-1, 0.5, 1}},
		{"clamped_relu", args{"alpha": floatsOf(nil, 2), "beta": floatsOf(nil, 1)}, []float32{-4, 0.5, 3}, []float32{-8, 0.5, 1}},
		{"elu", args{"alpha": floatsOf(nil, 2)}, []float32{-1, 0, 3}, []float32{-1.2642411, 0, 3}},
		{"gelu", nil, []float32{-1, 2}, []float32{-0.15865525, 1.9544997}},
		{"gelu", args{"mode": stringOf("TANH_APPROXIMATION")}, []float32{-1, 2}, []float32{-0.158808, 1.954597}},
		{"gelu", args{"mode": stringOf("SIGMOID_APPROXIMATION")}, []float32{-1, 2}, []float32{-0.15420423, 1.9356586}},
		{"leaky_relu", args{"alpha": floatsOf(nil, 0.5)}, []float32{-4, 3}, []float32{-2, 3}},
		{"linear_activation", args{"alpha": floatsOf(nil, 2), "beta": floatsOf(nil, 1)}, []float32{-4, 3}, []float32{-7, 7}},
		{"relu6", nil, []float32{-4, 3, 9}, []float32{0, 3, 6}},
		{"scaled_tanh", args{"alpha": floatsOf(nil, 2), "beta": floatsOf(nil, 0.5)}, []float32{2}, []float32{1.5231884}},
		{"sigmoid_hard", args{"alpha": floatsOf(nil, 0.5), "beta": floatsOf(nil, 0.25)}, []float32{-4, 0.5, 3}, []float32{0, 0.5, 1}},
		{"thresholded_relu", args{"alpha": floatsOf(nil, 1)}, []float32{0.5, 1, 2}, []float32{0, 1, 2}},
		{"softplus", nil, []float32{0, 100}, []float32{0.6931472, 100}},
	} {
		a := mergeArgs(tt.a, args{"x": live{floatsOf([]int{len(tt.x)}, tt.x...)}})
		near(t, runOp(t, tt.op, a, 1)[0], []int{len(tt.x)}, tt.y, 2e-6)
	}
}

func TestEpsilonOfFloat16RoundsToZero(t *testing.T) {
	x := &graph.Const{Type: graph.TensorOf(tensor.Float16, 1), Data: []byte{0, 0}}
	got := runOp(t, "log", args{"x": live{x}}, 1)[0]
	near(t, got, []int{1}, []float32{float32(math.Inf(-1))}, 0)
	if got.Type.DType != tensor.Float16 {
		t.Errorf("%v, want fp16", got.Type)
	}
}

func TestChannelActivations(t *testing.T) {
	x := live{floatsOf([]int{1, 2, 3}, -1, 2, -3, -4, 5, -6)}
	got := runOp(t, "prelu", args{"x": x, "alpha": floatsOf([]int{2}, 0.5, 2)}, 1)[0]
	near(t, got, []int{1, 2, 3}, []float32{-0.5, 2, -1.5, -8, 5, -12}, 0)
	got = runOp(t, "softplus_parametric", args{"x": x, "alpha": floatsOf([]int{2}, 1, 2), "beta": floatsOf([]int{2}, 1, 0)}, 1)[0]
	near(t, got, []int{1, 2, 3}, []float32{0.3132617, 2.126928, 0.04858735, 1.3862944, 1.3862944, 1.3862944}, 1e-6)
}

func TestIntegerArithmetic(t *testing.T) {
	lo := math.MinInt32
	for _, tt := range []struct {
		op      string
		x, y, z []int
	}{
		{"add", []int{math.MaxInt32, 2}, []int{1, 3}, []int{lo, 5}},
		{"mul", []int{1 << 30, -3}, []int{4, 5}, []int{0, -15}},
		{"real_div", []int{7, -7, 5, lo}, []int{2, 2, 0, -1}, []int{3, -3, 0, lo}},
		{"floor_div", []int{7, -7, 7, 5, lo}, []int{2, 2, -2, 0, -1}, []int{3, -4, -4, 0, lo}},
		{"mod", []int{7, -7, 7, 5, lo}, []int{3, 3, -3, 0, -1}, []int{1, 2, -2, 0, 0}},
		{"pow", []int{3, 2, -1, 0, 1}, []int{4, -1, -3, 0, -5}, []int{81, 0, -1, 1, 1}},
		{"maximum", []int{1, -5}, []int{0, 2}, []int{1, 2}},
		{"minimum", []int{1, -5}, []int{0, 2}, []int{0, -5}},
	} {
		n := []int{len(tt.x)}
		got := runOp(t, tt.op, args{"x": live{intsOf(n, tt.x...)}, "y": intsOf(n, tt.y...)}, 1)[0]
		wantInts(t, tt.op, got, tt.z...)
	}
	for _, tt := range []struct {
		op   string
		x, z []int
	}{
		{"abs", []int{-3, 3, lo}, []int{3, 3, lo}},
		{"square", []int{-3}, []int{9}},
		{"sign", []int{-3, 0, 9}, []int{-1, 0, 1}},
		{"exp2", []int{-1, 0, 5, 40}, []int{0, 1, 32, math.MaxInt32}},
	} {
		wantInts(t, tt.op, runOp(t, tt.op, args{"x": live{intsOf([]int{len(tt.x)}, tt.x...)}}, 1)[0], tt.z...)
	}
	x := live{intsOf([]int{2}, -5, 9)}
	wantInts(t, "clip", runOp(t, "clip", args{"x": x, "alpha": intsOf(nil, 0), "beta": intsOf(nil, 6)}, 1)[0], 0, 6)
	wantInts(t, "threshold", runOp(t, "threshold", args{"x": x, "alpha": intsOf(nil, 0)}, 1)[0], 0, 9)
	x = live{raw(tensor.Int8, []int{2}, 100, -100)}
	wantInts(t, "add", runOp(t, "add", args{"x": x, "y": x}, 1)[0], -56, 56)
}

func wantInts(t *testing.T, what string, got result, want ...int) {
	t.Helper()
	var have []int
	for _, v := range got.i32() {
		have = append(have, int(v))
	}
	if !slices.Equal(have, want) {
		t.Errorf("%s: %v, want %v", what, have, want)
	}
}

func TestComparisons(t *testing.T) {
	nan := float32(math.NaN())
	x, y := floatsOf([]int{4}, 1, 2, 3, nan), floatsOf([]int{4}, 2, 2, 2, nan)
	for op, want := range map[string][]byte{
		"equal": {0, 1, 0, 0}, "not_equal": {1, 0, 1, 1}, "less": {1, 0, 0, 0},
		"less_equal": {1, 1, 0, 0}, "greater": {0, 0, 1, 0}, "greater_equal": {0, 1, 1, 0},
	} {
		got := runOp(t, op, args{"x": live{x}, "y": live{y}}, 1)[0]
		if !slices.Equal(got.Data, want) || got.Type.DType != tensor.Bool {
			t.Errorf("%s: %v %v, want %v", op, got.Type, got.Data, want)
		}
	}
	got := runOp(t, "greater", args{"x": live{intsOf([]int{2, 1}, 1, 5)}, "y": intsOf([]int{3}, 0, 1, 6)}, 1)[0]
	if want := []byte{1, 0, 0, 1, 1, 0}; !slices.Equal(got.Data, want) {
		t.Errorf("greater: %v, want %v", got.Data, want)
	}
	a, b := boolsOf([]int{4}, false, false, true, true), boolsOf([]int{4}, false, true, false, true)
	for op, want := range map[string][]byte{
		"logical_and": {0, 0, 0, 1}, "logical_or": {0, 1, 1, 1}, "logical_xor": {0, 1, 1, 0}, "equal": {1, 0, 0, 1},
	} {
		if got := runOp(t, op, args{"x": live{a}, "y": b}, 1)[0]; !slices.Equal(got.Data, want) {
			t.Errorf("%s: %v, want %v", op, got.Data, want)
		}
	}
	if got := runOp(t, "logical_not", args{"x": live{b}}, 1)[0]; !slices.Equal(got.Data, []byte{1, 0, 1, 0}) {
		t.Errorf("logical_not: %v", got.Data)
	}
}

func TestSelectBroadcastsAllThree(t *testing.T) {
	got := runOp(t, "select", args{
		"cond": live{boolsOf([]int{2, 1}, true, false)}, "a": live{floatsOf([]int{3}, 1, 2, 3)}, "b": floatsOf(nil, 9),
	}, 1)[0]
	near(t, got, []int{2, 3}, []float32{1, 2, 3, 9, 9, 9}, 0)
	got = runOp(t, "select", args{
		"cond": live{boolsOf([]int{2}, true, false)}, "a": boolsOf([]int{2}, true, true), "b": boolsOf([]int{2}, false, false),
	}, 1)[0]
	if !slices.Equal(got.Data, []byte{1, 0}) {
		t.Errorf("select of bools: %v", got.Data)
	}
}

func TestCast(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	x := live{floatsOf([]int{6}, 1.9, -1.9, 300, -1, inf, nan)}
	wantInts(t, "int32", runOp(t, "cast", args{"x": x, "dtype": stringOf("int32")}, 1)[0], 1, -1, 300, -1, math.MaxInt32, 0)
	wantInts(t, "uint8", runOp(t, "cast", args{"x": x, "dtype": stringOf("uint8")}, 1)[0], 1, 255, 44, 255, 255, 0)
	y := live{floatsOf([]int{2}, 1.9, -3)}
	near(t, runOp(t, "cast", args{"x": y, "dtype": stringOf("fp16")}, 1)[0], []int{2}, y.Floats(), 0)
	wantInts(t, "uint16", runOp(t, "cast", args{"x": live{intsOf([]int{2}, -1, 65537)}, "dtype": stringOf("uint16")}, 1)[0], 65535, 1)
	near(t, runOp(t, "cast", args{"x": live{boolsOf([]int{2}, true, false)}, "dtype": stringOf("fp32")}, 1)[0], []int{2}, []float32{1, 0}, 0)
	if got := runOp(t, "cast", args{"x": x, "dtype": stringOf("bool")}, 1)[0]; !slices.Equal(got.Data, []byte{1, 1, 1, 1, 1, 1}) {
		t.Errorf("bool: %v", got.Data)
	}
}

func TestElementwiseRefuses(t *testing.T) {
	f, i := live{floatsOf([]int{2}, 1, 2)}, live{intsOf([]int{2}, 1, 2)}
	huge := func(n int) live { return live{&graph.Const{Type: graph.TensorOf(tensor.Float32, n, 1)}} }
	for _, tt := range []struct {
		op   string
		a    args
		want string
	}{
		{"add", args{"x": f, "y": i}, "int32, want a dtype that goes with fp32"},
		{"add", args{"x": f, "y": live{floatsOf([]int{3}, 1, 2, 3)}}, "cannot be broadcast"},
		{"add", args{"x": huge(1 << 21), "y": live{&graph.Const{Type: graph.TensorOf(tensor.Float32, 1<<21)}}}, "at most 2^40 elements"},
		{"clip", args{"x": f, "alpha": floatsOf([]int{2}, 1, 2), "beta": floatsOf(nil, 1)}, "alpha: 2 values, want 1"},
		{"gelu", args{"x": f, "mode": stringOf("FAST")}, `mode: "FAST", want EXACT`},
		{"prelu", args{"x": f, "alpha": floatsOf(nil, 1)}, "x: rank 1, want at least 2"},
		{"prelu", args{"x": live{wave([]int{1, 3, 2}, 1)}, "alpha": floatsOf([]int{2}, 1, 2)}, "alpha: shape [2], want [3]"},
		{"cast", args{"x": f, "dtype": stringOf("fp64")}, `dtype: "fp64", want bool`},
		{"select", args{"cond": live{boolsOf(nil, true)}, "a": f, "b": i}, "b: int32, want a dtype that goes with fp32 of a"},
	} {
		_, err := tryOp(tt.op, graph.IOS18, tt.a, 1)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.op, err, tt.want)
		}
	}
}
