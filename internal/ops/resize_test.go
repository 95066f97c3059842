package ops

import (
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
)

// The grid points that the documentation of resize_bilinear lists for an input of [0, 1].
func TestSamplingModes(t *testing.T) {
	for _, c := range []struct {
		mode string
		want []float32
	}{
		{"UNALIGN_CORNERS", []float32{0, 0.1, 0.5, 0.9, 1}},
		{"STRICT_ALIGN_CORNERS", []float32{0, 0.25, 0.5, 0.75, 1}},
		{"DEFAULT", []float32{0, 0.4, 0.8, 1, 1}},
		{"OFFSET_CORNERS", []float32{0.1, 0.3, 0.5, 0.7, 0.9}},
		{"UNALIGN_CORNERS", []float32{0, 0, 1. / 3, 2. / 3, 1, 1}},
		{"ALIGN_CORNERS", []float32{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{"DEFAULT", []float32{0, 1. / 3, 2. / 3, 1, 1, 1}},
		{"OFFSET_CORNERS", []float32{0.5 / 6, 1.5 / 6, 2.5 / 6, 3.5 / 6, 4.5 / 6, 5.5 / 6}},
		{"ALIGN_CORNERS", []float32{0.5}},
		{"STRICT_ALIGN_CORNERS", []float32{0}},
	} {
		n := len(c.want)
		got := runOp(t, "resize_bilinear", args{"x": count(1, 1, 2), "target_size_height": single(1), "target_size_width": single(n), "sampling_mode": stringOf(c.mode)}, 1)
		near(t, got[0], []int{1, 1, n}, c.want, 1e-7)
	}
}

func TestResizing(t *testing.T) {
	for _, c := range []opCase{
		{"upsample_nearest_neighbor", 0, args{"x": count(1, 2, 2), "scale_factor_width": floatsOf(nil, 1.5), "scale_factor_height": single(2)},
			[]int{1, 4, 3}, []float32{0, 0, 1, 0, 0, 1, 2, 2, 3, 2, 2, 3}},
		{"resize_nearest_neighbor", 0, args{"x": count(1, 1, 5), "target_size_height": single(1), "target_size_width": single(2)}, []int{1, 1, 2}, []float32{1, 3}},
		{"upsample_bilinear", 0, args{"x": count(1, 2, 2), "scale_factor_height": single(2), "align_corners": boolsOf(nil, false)},
			[]int{1, 4, 2}, []float32{0, 1, 0.5, 1.5, 1.5, 2.5, 2, 3}},
		{"upsample_bilinear", 0, args{"x": count(1, 1, 3), "scale_factor_width": floatsOf(nil, 5./3), "align_corners": boolsOf(nil, true)},
			[]int{1, 1, 5}, []float32{0, 0.5, 1, 1.5, 2}},
		{"upsample_bilinear", 0, args{"x": count(1, 1, 2), "scale_factor_width": single(2), "align_corners": boolsOf(nil, false), "half_pixel_centers": boolsOf(nil, false)},
			[]int{1, 1, 4}, []float32{0, 0.5, 1, 1}},
		{"resize", 0, args{"x": count(2, 1, 2), "shape": vector(7, 0, 4), "resized_dims": single(2), "interpolation_mode": stringOf("NEAREST_NEIGHBOR")},
			[]int{2, 1, 4}, []float32{0, 1, 1, 1, 2, 3, 3, 3}},
		{"resize", 0, args{"x": live{vector(4, 6)}, "shape": vector(4), "resized_dims": single(1), "interpolation_mode": stringOf("NEAREST_NEIGHBOR")},
			[]int{4}, []float32{4, 6, 6, 6}},
		{"resize", 0, args{"x": count(2, 2, 2), "shape": vector(3, 3, 1), "resized_dims": single(3), "sampling_mode": stringOf("ALIGN_CORNERS")},
			[]int{3, 3, 1}, []float32{0.5, 1.5, 2.5, 2.5, 3.5, 4.5, 4.5, 5.5, 6.5}},
	} {
		c.run(t)
	}
}

func TestResizeRefusesLinearIntegers(t *testing.T) {
	if _, err := tryOp("resize", graph.IOS17, args{"x": live{vector(4, 6)}, "shape": vector(4), "resized_dims": single(1)}, 1); err == nil {
		t.Error("accepted")
	}
}

func TestMovesOfBlockedMemory(t *testing.T) {
	x := func(shape ...int) live { return live{wave(shape, 0.37)} }
	for _, c := range []struct {
		op string
		a  args
	}{
		{"concat", args{"values": []any{x(2, 16, 3, 5), x(2, 17, 3, 5)}, "axis": single(1)}},
		{"concat", args{"values": []any{x(2, 5, 3, 5), x(2, 17, 3, 5), x(2, 3, 3, 5)}, "axis": single(-3)}},
		{"concat", args{"values": []any{x(2, 17, 3), x(2, 17, 5)}, "axis": single(2)}},
		{"concat", args{"values": []any{x(1, 17, 3), x(2, 17, 3)}, "axis": single(0)}},
		{"pad", args{"x": x(2, 17, 3, 5), "pad": vector(1, 2, 3, 0)}},
		{"pad", args{"x": x(2, 17, 3, 5), "pad": vector(1, 2, 3, 0), "mode": stringOf("reflect")}},
		{"pad", args{"x": x(1, 17, 5), "pad": vector(1, 2), "mode": stringOf("replicate")}},
		{"pad", args{"x": x(1, 16, 5), "pad": vector(1, 2), "constant_val": floatsOf(nil, 3)}},
		{"upsample_nearest_neighbor", args{"x": x(2, 17, 3, 5), "scale_factor_height": single(2), "scale_factor_width": single(3)}},
		{"upsample_bilinear", args{"x": x(2, 17, 3, 5), "scale_factor_height": single(2), "scale_factor_width": single(3)}},
		{"resize", args{"x": x(1, 17, 5), "shape": vector(7), "resized_dims": single(1)}},
	} {
		if fits(t, c.op, c.a).In == 0 {
			t.Errorf("%s %v: refused", c.op, c.a)
			continue
		}
		want := runOp(t, c.op, c.a, 1)[0]
		for _, l := range cpu.Levels() {
			near(t, runForm(t, c.op, c.a, l, graph.Blocked), want.Type.Shape, want.f32(), 1e-6)
		}
	}
	for op, a := range map[string]args{
		"concat":            {"values": []any{x(2, 4, 3, 5), x(2, 4, 3, 5)}, "axis": single(1), "interleave": boolsOf(nil, true)},
		"pad":               {"x": x(2, 17, 3, 5), "pad": vector(1, 2, 3, 0), "constant_val": floatsOf(nil, 3)},
		"upsample_bilinear": {"x": x(17, 3, 5), "scale_factor_height": single(2)},
	} {
		if fits(t, op, a).In != 0 {
			t.Errorf("%s %v: taken in the blocked form", op, a)
		}
	}
}
