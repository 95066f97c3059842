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

func TestTopKMatchesSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		n := 1 + r.IntN(200)
		shape := []int{2, n, 3}
		v := make([]float32, volume(shape))
		for j := range v {
			v[j] = float32(r.IntN(20) - 10) // many equals
		}
		k, ascending := 1+r.IntN(n), i%2 == 0
		out := runOp(t, "topk", args{
			"x": live{floatsOf(shape, v...)}, "k": intsOf(nil, k), "axis": intsOf(nil, 1), "ascending": boolsOf(nil, ascending),
		}, 2)
		l := lineOf(shape, 1)
		for line := range l.lines() {
			order := make([]int, n)
			for j := range order {
				order[j] = j
			}
			at := func(j int) float32 { return v[l.start(line)+j*l.inner] }
			slices.SortStableFunc(order, func(a, b int) int {
				if ascending {
					a, b = b, a
				}
				return int(at(b) - at(a))
			})
			for j := range k {
				p := line/l.inner*k*l.inner + line%l.inner + j*l.inner
				if got := int(out[1].i32()[p]); got != order[j] || out[0].f32()[p] != at(order[j]) {
					t.Fatalf("line %d, place %d: index %d, value %v, want %d", line, j, got, out[0].f32()[p], order[j])
				}
			}
		}
	}
}

func TestOrderOfSpecialValues(t *testing.T) {
	nan, inf, zero := float32(math.NaN()), float32(math.Inf(1)), float32(math.Copysign(0, -1))
	x := live{floatsOf([]int{7}, 0, nan, -inf, zero, inf, -1, 0)}
	wantInts(t, "descending", runOp(t, "argsort", args{"x": x}, 1)[0], 4, 0, 3, 6, 5, 2, 1)
	wantInts(t, "ascending", runOp(t, "argsort", args{"x": x, "ascending": boolsOf(nil, true)}, 1)[0], 2, 5, 0, 3, 6, 4, 1)
	lo := math.MinInt32
	y := live{intsOf([]int{4}, -1, 5, lo, 5)}
	wantInts(t, "integers", runOp(t, "argsort", args{"x": y}, 1)[0], 1, 3, 0, 2)
	out := runOp(t, "topk", args{"x": y, "k": intsOf(nil, -1), "output_indices_dtype": stringOf("uint16")}, 2)
	wantInts(t, "all values", out[0], 5, 5, -1, lo)
	if out[1].Type.DType != tensor.UInt16 {
		t.Errorf("indices %v, want uint16", out[1].Type)
	}
	if got := runOp(t, "topk", args{"x": y, "return_indices": boolsOf(nil, false)}, 1); got[0].i32()[0] != 5 {
		t.Errorf("topk without indices: %v", got[0].i32())
	}
	for _, k := range []int{-2, 5} {
		_, err := tryOp("topk", graph.IOS18, args{"x": y, "k": intsOf(nil, k)}, 2)
		if err == nil || !strings.Contains(err.Error(), "want -1 (all) to 4") {
			t.Errorf("k = %d: %v", k, err)
		}
	}
}

func TestCumsum(t *testing.T) {
	x := live{floatsOf([]int{2, 3}, 1, 2, 3, 4, 5, 6)}
	for _, tt := range []struct {
		axis               int
		exclusive, reverse bool
		want               []float32
	}{
		{0, false, false, []float32{1, 2, 3, 5, 7, 9}},
		{1, false, false, []float32{1, 3, 6, 4, 9, 15}},
		{-1, true, false, []float32{0, 1, 3, 0, 4, 9}},
		{1, false, true, []float32{6, 5, 3, 15, 11, 6}},
		{1, true, true, []float32{5, 3, 0, 11, 6, 0}},
	} {
		a := args{"x": x, "axis": intsOf(nil, tt.axis), "exclusive": boolsOf(nil, tt.exclusive), "reverse": boolsOf(nil, tt.reverse)}
		near(t, runOp(t, "cumsum", a, 1)[0], []int{2, 3}, tt.want, 0)
	}
	wantInts(t, "integers", runOp(t, "cumsum", args{"x": live{intsOf([]int{2}, math.MaxInt32, 1)}}, 1)[0], math.MaxInt32, math.MinInt32)
}

// Boxes 0 and 1 overlap by 0.6, box 2 is apart.
var (
	nmsBoxes  = []float32{0, 0, 4, 4, 1, 0, 4, 4, 20, 0, 4, 4}
	nmsScores = []float32{0.5, 0.1, 0.2, 0.9, 0.3, 0.4}
)

func TestNonMaximumSuppression(t *testing.T) {
	a := args{
		"boxes": live{floatsOf([]int{1, 3, 4}, nmsBoxes...)}, "scores": live{floatsOf([]int{1, 3, 2}, nmsScores...)},
		"iou_threshold": floatsOf(nil, 0.5), "score_threshold": floatsOf(nil, 0.2), "max_boxes": intsOf(nil, 4),
	}
	run := func(change args) []result {
		out, err := tryOp("non_maximum_suppression", graph.IOS15, mergeArgs(a, change), 4)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := run(nil)
	wantInts(t, "indices", out[2], 1, 2, -1, -1)
	wantInts(t, "count", out[3], 2)
	near(t, out[0], []int{1, 4, 4}, []float32{1, 0, 4, 4, 20, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0}, 0)
	near(t, out[1], []int{1, 4, 2}, []float32{0.2, 0.9, 0.3, 0.4, 0, 0, 0, 0}, 0)
	wantInts(t, "loose", run(args{"iou_threshold": floatsOf(nil, 0.7)})[2], 1, 0, 2, -1)
	wantInts(t, "per class", run(args{"per_class_suppression": boolsOf(nil, true)})[2], 1, 0, 2, -1)
	wantInts(t, "few", run(args{"max_boxes": intsOf(nil, 1)})[2], 1)
	wantInts(t, "none", run(args{"max_boxes": intsOf(nil, 0)})[3], 0)
	wantInts(t, "high threshold", run(args{"score_threshold": floatsOf(nil, 0.6)})[2], 1, -1, -1, -1)
	wantInts(t, "none reaches it", run(args{"score_threshold": floatsOf(nil, 2)})[2], 1, -1, -1, -1)

	transposed := args{
		"boxes":         live{floatsOf([]int{1, 4, 3}, 0, 1, 20, 0, 0, 0, 4, 4, 4, 4, 4, 4)},
		"scores":        live{floatsOf([]int{1, 2, 3}, 0.5, 0.2, 0.3, 0.1, 0.9, 0.4)},
		"iou_threshold": floatsOf(nil, 0.5), "max_boxes": intsOf(nil, 2),
	}
	out = runOp(t, "non_maximum_suppression", transposed, 3)
	wantInts(t, "indices", out[2], 1, 2)
	near(t, out[0], []int{1, 4, 2}, []float32{1, 20, 0, 0, 4, 4, 4, 4}, 0)
	near(t, out[1], []int{1, 2, 2}, []float32{0.2, 0.3, 0.9, 0.4}, 0)

	for arg, bad := range map[string]any{
		"boxes": live{floatsOf([]int{1, 4, 3}, nmsBoxes...)}, "max_boxes": intsOf(nil, -1),
		"scores": live{floatsOf([]int{1, 2, 3}, nmsScores...)}, "iou_threshold": floatsOf([]int{2}, 1, 2),
	} {
		if _, err := tryOp("non_maximum_suppression", graph.IOS15, mergeArgs(a, args{arg: bad}), 4); err == nil {
			t.Errorf("a wrong %s: no error", arg)
		}
	}
	_, err := tryOp("non_maximum_suppression", graph.IOS15, mergeArgs(a, args{"max_boxes": intsOf(nil, 1<<31-1), "boxes": live{&graph.Const{Type: graph.TensorOf(tensor.Float32, 1<<12, 3, 4)}}, "scores": live{&graph.Const{Type: graph.TensorOf(tensor.Float32, 1<<12, 3, 2)}}}), 4)
	if err == nil || !strings.Contains(err.Error(), "2^40") {
		t.Errorf("too large a result: %v", err)
	}
}

func longs(v ...int64) *graph.Const {
	return &graph.Const{Type: graph.TensorOf(tensor.Int64, len(v)), Data: tensor.BytesOf(v)}
}

func TestClassify(t *testing.T) {
	p := live{floatsOf([]int{1, 3}, 0.25, 0.5, 0.25)}
	out := runOp(t, "classify", args{"probabilities": p, "classes": &graph.Const{
		Type: graph.TensorOf(tensor.String, 3), Strings: []string{"ant", "bee", "cat"},
	}}, 2)
	if out[0].Obj != "bee" || out[1].Obj.(map[string]float64)["cat"] != 0.25 {
		t.Errorf("%v %v", out[0].Obj, out[1].Obj)
	}
	out = runOp(t, "classify", args{"probabilities": p, "classes": longs(7, -8, 9)}, 2)
	if out[0].Obj != int64(-8) || out[1].Obj.(map[int64]float64)[-8] != 0.5 {
		t.Errorf("%v %v", out[0].Obj, out[1].Obj)
	}
	_, err := tryOp("classify", graph.IOS18, args{"probabilities": p, "classes": longs(7, 8)}, 2)
	if err == nil || !strings.Contains(err.Error(), "2 labels, want one for each of 3") {
		t.Error(err)
	}
}

func TestRandom(t *testing.T) {
	const n = 100000
	shape, seed := intsOf([]int{2}, 10, n/10), intsOf(nil, 7)
	moments := func(name string, a args) (mean, deviation float64) {
		a = mergeArgs(a, args{"shape": shape, "seed": seed})
		v := runOp(t, name, a, 1)[0].f32()
		if !slices.Equal(v, runOp(t, name, a, 1)[0].f32()) {
			t.Errorf("%s: one seed, two results", name)
		}
		if len(v) != n || slices.Equal(v, runOp(t, name, mergeArgs(a, args{"seed": intsOf(nil, -1)}), 1)[0].f32()) {
			t.Errorf("%s: %d numbers, the same without seed", name, len(v))
		}
		for _, x := range v {
			mean += float64(x) / n
		}
		for _, x := range v {
			deviation += (float64(x) - mean) * (float64(x) - mean) / n
		}
		return mean, math.Sqrt(deviation)
	}
	check := func(name string, a args, mean, deviation float64) {
		m, d := moments(name, a)
		if math.Abs(m-mean) > 0.02 || math.Abs(d-deviation) > 0.02 {
			t.Errorf("%s: mean %v, deviation %v, want %v, %v", name, m, d, mean, deviation)
		}
	}
	check("random_uniform", args{"low": floatsOf(nil, 1), "high": floatsOf(nil, 2)}, 1.5, 1/math.Sqrt(12))
	check("random_normal", args{"mean": floatsOf(nil, 3), "stddev": floatsOf(nil, 2)}, 3, 2)
	check("random_bernoulli", args{"prob": floatsOf(nil, 0.25)}, 0.25, math.Sqrt(0.25*0.75))
	p := floatsOf([]int{3}, 0.5, 0, 0.5)
	v := runOp(t, "random_categorical", args{"x": live{p}, "mode": stringOf("probs"), "size": intsOf(nil, n), "seed": seed}, 1)[0].f32()
	count := map[float32]int{}
	for _, x := range v {
		count[x]++
	}
	if len(count) != 2 || math.Abs(float64(count[2])/n-0.5) > 0.02 {
		t.Errorf("random_categorical: %v", count)
	}
	if _, err := tryOp("random_uniform", graph.IOS18, args{"shape": intsOf([]int{2}, -1, 4)}, 1); err == nil {
		t.Error("a negative dimension: no error")
	}
}

func TestUniformStaysBelowHigh(t *testing.T) {
	if v := below(0, 1, 1-0x1p-53); v >= 1 {
		t.Errorf("%v, want less than 1", v)
	}
	if v := below(2, 2, 0.5); v != 2 {
		t.Errorf("%v, want 2", v)
	}
}
