package ops

import (
	"math"
	"testing"

	"coreml/internal/graph"
)

func samplerArgs(sampling, padding string, value float32, coordinates string, align bool) args {
	return args{"sampling_mode": stringOf(sampling), "padding_mode": stringOf(padding), "padding_value": floatsOf(nil, value),
		"coordinates_mode": stringOf(coordinates), "align_corners": boolsOf(nil, align)}
}

func TestResample(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		a    args
		at   []float32 // pairs (x, y)
		want []float32
	}{
		{samplerArgs("bilinear", "constant", 9, "unnormalized", true), []float32{0, 0, 1.5, 0, 0, 0.5, -1, 0, -0.5, 0, nan, 0}, []float32{0, 1.5, 1.5, 9, 4.5, 9}},
		{samplerArgs("nearest", "border", 0, "unnormalized", true), []float32{0.6, 0, 7, 1, -3, -3, 0.5, 0}, []float32{1, 5, 0, 0}},
		{samplerArgs("bilinear", "reflection", 0, "unnormalized", true), []float32{-1, 0, 3, 0, 0, 2}, []float32{1, 1, 0}},
		{samplerArgs("bilinear", "symmetric", 0, "unnormalized", true), []float32{-1, 0, 3, 0, 0, 2}, []float32{0, 2, 3}},
		{samplerArgs("bilinear", "constant", 0, "normalized_minus_one_to_one", true), []float32{-1, -1, 1, 1, 0, 0}, []float32{0, 5, 2.5}},
		{samplerArgs("bilinear", "border", 0, "normalized_zero_to_one", false), []float32{0.5, 0.5, 1. / 6, 0.25}, []float32{2.5, 0}},
	} {
		n := len(c.at) / 2
		c.a["x"], c.a["coordinates"] = count(1, 1, 2, 3), live{floatsOf([]int{1, 1, n, 2}, c.at...)}
		near(t, runOp(t, "resample", c.a, 1)[0], []int{1, 1, 1, n}, c.want, 1e-6)
	}
	a := samplerArgs("nearest", "border", 0, "unnormalized", true)
	a["x"], a["coordinates"] = count(1, 1, 2, 3), live{intsOf([]int{1, 1, 1, 2}, 2, 1)}
	near(t, runOp(t, "resample", a, 1)[0], []int{1, 1, 1, 1}, []float32{5}, 0)
}

func TestAffine(t *testing.T) {
	a := samplerArgs("bilinear", "constant", 0, "normalized_minus_one_to_one", true)
	a["x"], a["output_height"], a["output_width"] = count(1, 1, 2, 3), single(2), single(3)
	a["transform_matrix"] = live{floatsOf([]int{1, 6}, -1, 0, 0, 0, 1, 0)} // mirrored
	near(t, runOp(t, "affine", a, 1)[0], []int{1, 1, 2, 3}, []float32{2, 1, 0, 5, 4, 3}, 1e-6)
	a["transform_matrix"] = live{floatsOf([]int{1, 6}, 1, 0, 1, 0, 1, 0)} // one column to the right
	near(t, runOp(t, "affine", a, 1)[0], []int{1, 1, 2, 3}, []float32{1, 2, 0, 4, 5, 0}, 1e-6)
}

func TestCropResize(t *testing.T) {
	x := count(2, 1, 3, 3)
	got, err := tryOp("crop_resize", graph.IOS15, args{"x": x, "roi": live{floatsOf([]int{1, 1, 5, 1, 1}, 1, 0, 0, 2, 2)},
		"target_height": single(2), "target_width": single(2), "sampling_mode": stringOf("ALIGN_CORNERS")}, 1)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got[0], []int{1, 1, 1, 2, 2}, []float32{9, 11, 15, 17}, 1e-6)
	got, err = tryOp("crop_resize", graph.IOS16, args{"x": x, "roi": live{floatsOf([]int{1, 1, 4, 1, 1}, 0, 0, 1, 0.5)},
		"target_height": single(1), "target_width": single(2), "sampling_mode": stringOf("STRICT_ALIGN_CORNERS"), "normalized_coordinates": boolsOf(nil, true),
		"box_coordinate_mode": stringOf("CORNERS_WIDTH_FIRST")}, 1)
	if err != nil {
		t.Fatal(err)
	}
	near(t, got[0], []int{1, 2, 1, 1, 2}, []float32{0, 2, 9, 11}, 1e-6)
	got = runOp(t, "crop_resize", args{"x": x, "boxes": live{floatsOf([]int{2, 4}, 1, 1, 2, 2, 1, 1, 4, 4)}, "box_indices": live{vector(1, 0)},
		"target_height": single(1), "target_width": single(2), "sampling_mode": stringOf("ALIGN_CORNERS"), "box_coordinate_mode": stringOf("CENTER_SIZE_HEIGHT_FIRST"),
		"pad_value": floatsOf(nil, 7)}, 1)
	near(t, got[0], []int{2, 1, 1, 2}, []float32{12, 14, 7, 7}, 1e-6)
	if _, err = tryOp("crop_resize", graph.IOS17, args{"x": x, "boxes": live{floatsOf([]int{1, 4}, 0, 0, 1, 1)}, "box_indices": live{vector(2)}}, 1); err == nil {
		t.Error("image 2 of 2: accepted")
	}
}

func TestSpace(t *testing.T) {
	four := count(1, 4, 1, 2)
	for _, c := range []opCase{
		{"depth_to_space", 0, args{"x": count(1, 8, 1, 1), "block_size": single(2)}, []int{1, 2, 2, 2}, []float32{0, 2, 4, 6, 1, 3, 5, 7}},
		{"pixel_shuffle", 0, args{"x": count(1, 8, 1, 1), "upscale_factor": single(2)}, []int{1, 2, 2, 2}, []float32{0, 1, 2, 3, 4, 5, 6, 7}},
		{"depth_to_space", 0, args{"x": four, "block_size": single(2)}, []int{1, 1, 2, 4}, []float32{0, 2, 1, 3, 4, 6, 5, 7}},
		{"space_to_depth", 0, args{"x": count(1, 2, 2, 2), "block_size": single(2)}, []int{1, 8, 1, 1}, []float32{0, 4, 1, 5, 2, 6, 3, 7}},
		{"pixel_unshuffle", 0, args{"x": count(1, 2, 2, 2), "downscale_factor": single(2)}, []int{1, 8, 1, 1}, []float32{0, 1, 2, 3, 4, 5, 6, 7}},
		{"space_to_batch", 0, args{"x": count(1, 1, 2, 3), "block_shape": vector(2, 2), "paddings": intsOf([]int{2, 2}, 0, 0, 1, 0)},
			[]int{4, 1, 1, 2}, []float32{0, 1, 0, 2, 0, 4, 3, 5}},
		{"batch_to_space", 0, args{"x": live{floatsOf([]int{4, 1, 1, 2}, 0, 1, 0, 2, 0, 4, 3, 5)}, "block_shape": vector(2, 2), "crops": intsOf([]int{2, 2}, 0, 0, 1, 0)},
			[]int{1, 1, 2, 3}, []float32{0, 1, 2, 3, 4, 5}},
		{"space_to_batch", 0, args{"x": count(1, 1, 2, 1), "block_shape": vector(3, 1), "paddings": intsOf([]int{2, 2}, 2, 2, 0, 0)},
			[]int{3, 1, 2, 1}, []float32{0, 1, 0, 0, 0, 0}},
	} {
		c.run(t)
	}
}
