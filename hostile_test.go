package coreml_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"coreml"
	"coreml/internal/listing"
	"coreml/internal/mlmodel"
	"coreml/internal/spec"
	"coreml/internal/testkit"
	"coreml/tensor"
)

type (
	args = testkit.Args
	op   = testkit.Operation
	nest = testkit.Nest
	vars = []testkit.Var
)

// hostile is a model that asks for something wrong, or for too much.
type hostile struct {
	name  string
	ops   []op
	in    vars // default: x, float32 [2, 3, 8, 8]
	state vars
	kinds []error // the errors that may come, when opening or running
	text  string  // what the error has to say
	limit int64   // memory; default 64 MiB
	runs  bool    // refused when it runs; else when it is opened
}

var (
	invalid     = []error{coreml.ErrInvalid}
	unsupported = []error{coreml.ErrUnsupported}
	limits      = []error{coreml.ErrLimit}
	either      = []error{coreml.ErrInvalid, coreml.ErrLimit, coreml.ErrUnsupported}
	running     = []error{coreml.ErrRuntime, coreml.ErrLimit, coreml.ErrInvalid}
)

// one is a single operation on x that gives y.
func one(kind string, in args, out ...testkit.Var) []op {
	if len(out) == 0 {
		out = vars{testkit.F32("y", -1)}
	}
	return []op{{Type: kind, In: in, Out: out}}
}

func weights(shape ...int) testkit.Weights {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return testkit.Weights{Shape: shape, Data: make([]float32, n)}
}

const huge = 1<<31 - 1

// forged is a text that would be a line of its own, and a long one.
var forged = "y\nFAILED\x1b[31m" + strings.Repeat("A", 3000)

// hostiles are models made by hand. The names say which known flaw, or class of flaws, each is made after.
var hostiles = []hostile{
	{name: "axis-minus-100000", ops: one("expand_dims", args{"x": "%x", "axes": []int{-100000}}), kinds: invalid, text: "axes"},
	{name: "softmax-axis", ops: one("softmax", args{"x": "%x", "axis": 7}), kinds: invalid, text: "axis"},
	{name: "reduce-axes-twice", ops: one("reduce_sum", args{"x": "%x", "axes": []int{1, 1}, "keep_dims": true}), kinds: invalid, text: "axes"},
	{name: "concat-axis", ops: one("concat", args{"values": []string{"%x", "%x"}, "axis": -9, "interleave": false}), kinds: invalid, text: "axis"},
	{name: "conv-dilations-short", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "dilations": []int{1}}), kinds: invalid, text: "dilations"},
	{name: "conv-strides-zero", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "strides": []int{0, 1}}), kinds: invalid, text: "strides"},
	{name: "conv-strides-negative", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "strides": []int{-1, 1}}), kinds: invalid, text: "strides"},
	{name: "conv-weight-rank", ops: one("conv", args{"x": "%x", "weight": weights(4, 3)}), kinds: invalid, text: "weight"},
	{name: "conv-weight-channels", ops: one("conv", args{"x": "%x", "weight": weights(4, 5, 1, 1)}), kinds: invalid, text: "3 channels, want 5"},
	{name: "conv-groups-zero", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "groups": 0}), kinds: invalid, text: "groups"},
	{name: "conv-groups-indivisible", ops: one("conv", args{"x": "%x", "weight": weights(4, 1, 1, 1), "groups": 2}), kinds: invalid, text: "conv"},
	{name: "conv-pad-huge", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "pad_type": "custom", "pad": []int{huge, huge, huge, huge}}), kinds: either, text: "conv"},
	{name: "conv-pad-negative", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "pad_type": "custom", "pad": []int{-9, -9, 0, 0}}), kinds: either, text: "conv"},
	{name: "conv-dilations-huge", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 3, 3), "dilations": []int{huge, huge}}), kinds: either, text: "conv"},
	{name: "conv-bias-length", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 1, 1), "bias": weights(3)}), kinds: invalid, text: "bias"},
	{name: "conv-kernel-larger-than-image", ops: one("conv", args{"x": "%x", "weight": weights(4, 3, 20, 20)}), kinds: invalid, text: "conv"},
	{name: "pool-kernel-zero", ops: one("max_pool", args{"x": "%x", "kernel_sizes": []int{0, 0}, "strides": []int{1, 1}, "pad_type": "valid"}), kinds: invalid, text: "kernel_sizes"},
	{name: "pool-kernel-huge", ops: one("avg_pool", args{"x": "%x", "kernel_sizes": []int{huge, huge}, "pad_type": "same"}), kinds: either, text: "avg_pool"},
	{name: "reshape-overflow", ops: one("reshape", args{"x": "%x", "shape": []int{1 << 30, 1 << 30, 1 << 30}}), kinds: either, text: "reshape"},
	{name: "reshape-two-open", ops: one("reshape", args{"x": "%x", "shape": []int{-1, -1}}), kinds: invalid, text: "shape"},
	{name: "reshape-negative", ops: one("reshape", args{"x": "%x", "shape": []int{-7, 2}}), kinds: invalid, text: "shape"},
	{name: "reshape-rank-growth", ops: one("reshape", args{"x": "%x", "shape": make([]int, 1000)}), kinds: either, text: "reshape"},
	{name: "slice-stride-zero", ops: one("slice_by_index", args{"x": "%x", "begin": []int{0, 0, 0, 0}, "end": []int{1, 1, 1, 1}, "stride": []int{0, 1, 1, 1}}), kinds: invalid, text: "stride"},
	{name: "slice-begin-short", ops: one("slice_by_index", args{"x": "%x", "begin": []int{0}, "end": []int{1}}), kinds: invalid, text: "begin"},
	{name: "slice-size-past-end", ops: one("slice_by_size", args{"x": "%x", "begin": []int{1, 0, 0, 0}, "size": []int{2, 1, 1, 1}}), kinds: invalid, text: "slice_by_size"},
	{name: "slice-size-wraps", ops: one("slice_by_size", args{"x": "%x", "begin": []int{1, 0, 0, 0}, "size": []int{huge, 1, 1, 1}}), kinds: invalid, text: "slice_by_size"},
	{name: "gather-constant-index", ops: one("gather", args{"x": "%x", "indices": []int{5}, "axis": 0}), kinds: running, text: "gather", runs: true},
	{name: "gather-input-index", in: vars{testkit.F32("x", 4, 4), testkit.I32("i", 2)}, ops: one("gather", args{"x": "%x", "indices": "%i", "axis": 0}), kinds: running, text: "indices", runs: true},
	{name: "gather_nd-index", in: vars{testkit.F32("x", 4, 4), testkit.I32("i", 2)}, ops: one("gather_nd", args{"x": "%x", "indices": "%i"}, testkit.F32("y")), kinds: running, text: "indices", runs: true},
	{name: "scatter-index", in: vars{testkit.F32("x", 4, 4), testkit.I32("i", 2)}, ops: one("scatter", args{"data": "%x", "indices": "%i", "updates": weights(2, 4), "axis": 0, "mode": "update"}, testkit.F32("y", 4, 4)), kinds: running, text: "indices", runs: true},
	{name: "gather_along_axis-index", in: vars{testkit.F32("x", 4, 4), testkit.I32("i", 1, 4)}, ops: one("gather_along_axis", args{"x": "%x", "indices": "%i", "axis": 0}, testkit.F32("y", 1, 4)), kinds: running, text: "indices", runs: true},
	{name: "tile-huge", ops: one("tile", args{"x": "%x", "reps": []int{1 << 20, 1 << 10, 1, 1}}), kinds: limits, text: "tile"},
	{name: "tile-overflow", ops: one("tile", args{"x": "%x", "reps": []int{huge, huge, huge, huge}}), kinds: either, text: "tile"},
	{name: "tile-negative", ops: one("tile", args{"x": "%x", "reps": []int{-1, 1, 1, 1}}), kinds: invalid, text: "reps"},
	{name: "fill-huge", ops: one("fill", args{"shape": []int{1 << 20, 1 << 20}, "value": 1.0}), kinds: limits, text: "fill"},
	{name: "fill-negative", ops: one("fill", args{"shape": []int{-5}, "value": 1.0}), kinds: invalid, text: "shape"},
	{name: "fill-large-for-the-limit", ops: one("fill", args{"shape": []int{1 << 28}, "value": 1.0}), kinds: limits, text: "fill"},
	{name: "pad-huge", ops: one("pad", args{"x": "%x", "pad": []int{huge, huge, huge, huge}, "mode": "constant", "constant_val": 0.0}), kinds: either, text: "pad"},
	{name: "pad-reflect-too-far", ops: one("pad", args{"x": "%x", "pad": []int{0, 0, 100, 0}, "mode": "reflect", "constant_val": 0.0}), kinds: invalid, text: "pad"},
	{name: "range-huge", ops: one("range_1d", args{"start": 0.0, "end": 1e30, "step": 1.0}), kinds: either, text: "range_1d"},
	{name: "range-step-zero", ops: one("range_1d", args{"start": 0.0, "end": 9.0, "step": 0.0}), kinds: invalid, text: "step"},
	{name: "one_hot-huge", in: vars{testkit.I32("x", 1000)}, ops: one("one_hot", args{"indices": "%x", "one_hot_vector_size": huge}), kinds: either, text: "one_hot"},
	{name: "one_hot-negative", in: vars{testkit.I32("x", 10)}, ops: one("one_hot", args{"indices": "%x", "one_hot_vector_size": -3}), kinds: invalid, text: "one_hot"},
	{name: "upsample-huge", ops: one("upsample_nearest_neighbor", args{"x": "%x", "scale_factor_height": 1 << 20, "scale_factor_width": 1 << 20}), kinds: either, text: "upsample"},
	{name: "resize-huge", ops: one("resize_bilinear", args{"x": "%x", "target_size_height": huge, "target_size_width": huge}), kinds: either, text: "resize"},
	{name: "crop_resize-huge", ops: one("crop_resize", args{"x": "%x", "boxes": weights(1, 4), "box_indices": []int{0}, "target_height": huge, "target_width": huge}), kinds: either, text: "crop_resize"},
	{name: "topk-more-than-there-are", ops: one("topk", args{"x": "%x", "k": 100, "axis": 3}, testkit.F32("y", 1), testkit.I32("z", 1)), kinds: invalid, text: "k"},
	{name: "topk-negative", ops: one("topk", args{"x": "%x", "k": -100, "axis": 3}, testkit.F32("y", 1), testkit.I32("z", 1)), kinds: invalid, text: "k"},
	{name: "split-sizes-wrong", ops: one("split", args{"x": "%x", "split_sizes": []int{5, 5}, "axis": 3}, testkit.F32("y", 1), testkit.F32("z", 1)), kinds: invalid, text: "split"},
	{name: "split-sizes-negative", ops: one("split", args{"x": "%x", "split_sizes": []int{-2, 10}, "axis": 3}, testkit.F32("y", 1), testkit.F32("z", 1)), kinds: invalid, text: "split"},
	{name: "split-zero", ops: one("split", args{"x": "%x", "num_splits": 0, "axis": 3}), kinds: invalid, text: "split"},
	{name: "split-million", ops: one("split", args{"x": "%x", "num_splits": 1 << 30, "axis": 3}), kinds: invalid, text: "split"},
	{name: "concat-mismatched", in: vars{testkit.F32("x", 2, 3), testkit.F32("w", 4, 4)}, ops: one("concat", args{"values": []string{"%x", "%w"}, "axis": 0, "interleave": false}), kinds: invalid, text: "values"},
	{name: "matmul-mismatched", in: vars{testkit.F32("x", 2, 3)}, ops: one("matmul", args{"x": "%x", "y": "%x", "transpose_x": false, "transpose_y": false}), kinds: invalid, text: "matmul"},
	{name: "matmul-of-bool-declared-float", in: vars{testkit.B("x", 2, 3)}, ops: []op{{Type: "reshape", In: args{"x": "%x", "shape": []int{3, 2}}, Out: vars{testkit.F32("z", 3, 2)}},
		{Type: "matmul", In: args{"x": "%z", "y": weights(2, 5)}, Out: vars{testkit.F32("y", 3, 5)}}}, kinds: invalid, text: "bool"},
	{name: "wrong-where-nobody-reads", in: vars{testkit.F32("x", 2, 3)}, ops: []op{{Type: "matmul", In: args{"x": "%x", "y": "%x", "transpose_x": false, "transpose_y": false}, Out: vars{testkit.F32("z", 2, 3)}},
		{Type: "relu", In: args{"x": "%x"}, Out: vars{testkit.F32("y", 2, 3)}}}, kinds: invalid, text: "matmul"},
	{name: "gate-of-nothing", in: vars{testkit.F32("x", 2, 3)}, ops: []op{{Type: "concat", In: args{"values": []string{}, "axis": 0, "interleave": false}, Out: vars{testkit.F32("z", 2, 3)}},
		{Type: "mul", In: args{"x": "%x", "y": "%z"}, Out: vars{testkit.F32("y", 2, 3)}}}, kinds: invalid, text: "values"},
	{name: "pool-of-a-huge-padded-image", ops: one("avg_pool", args{"x": "%x", "kernel_sizes": []int{1 << 13, 1 << 13}, "pad_type": "custom", "pad": []int{8000, 8000, 8000, 8000}}), kinds: limits, text: "avg_pool"},
	{name: "linear-mismatched", ops: one("linear", args{"x": "%x", "weight": weights(4, 9), "bias": weights(4)}), kinds: invalid, text: "weight"},
	{name: "broadcast-mismatched", ops: one("add", args{"x": "%x", "y": weights(7)}), kinds: invalid, text: "add"},
	{name: "transpose-perm-twice", ops: one("transpose", args{"x": "%x", "perm": []int{0, 0, 1, 2}}), kinds: invalid, text: "perm"},
	{name: "transpose-perm-short", ops: one("transpose", args{"x": "%x", "perm": []int{0}}), kinds: invalid, text: "perm"},
	{name: "space-block-zero", ops: one("space_to_depth", args{"x": "%x", "block_size": 0}), kinds: invalid, text: "block_size"},
	{name: "pixel_shuffle-indivisible", ops: one("pixel_shuffle", args{"x": "%x", "upscale_factor": 2}), kinds: invalid, text: "pixel_shuffle"},
	{name: "einsum-equation", ops: one("einsum", args{"values": []string{"%x", "%x"}, "equation": "abc,->"}), kinds: either, text: "einsum"},
	{name: "layer_norm-gamma", ops: one("layer_norm", args{"x": "%x", "axes": []int{3}, "gamma": weights(3)}), kinds: invalid, text: "gamma"},
	{name: "batch_norm-mean", ops: one("batch_norm", args{"x": "%x", "mean": weights(1), "variance": weights(3)}), kinds: invalid, text: "mean"},
	{name: "attention-mismatched", ops: one("scaled_dot_product_attention", args{"query": "%x", "key": weights(2, 3, 4, 4), "value": weights(2, 3, 4, 8)}), kinds: invalid, text: "key"},
	{name: "cast-unknown", ops: one("cast", args{"x": "%x", "dtype": "quaternion"}), kinds: either, text: "dtype"},
	{name: "cast-to-a-long-text", ops: one("cast", args{"x": "%x", "dtype": forged}), kinds: either, text: "dtype"},
	{name: "operation-with-a-forged-name", ops: []op{
		{Type: "expand_dims", In: args{"x": "%x", "axes": []int{99}}, Out: vars{testkit.F32(forged, -1)}},
		{Type: "relu", In: args{"x": "%" + forged}, Out: vars{testkit.F32("y", -1)}}}, kinds: invalid, text: "axes"},
	{name: "operator-with-a-forged-name", ops: one(forged, args{"x": "%x"}), kinds: unsupported, text: "FAILED"},
	{name: "unknown-operator", ops: one("frobnicate", args{"x": "%x"}), kinds: unsupported, text: "frobnicate"},
	{name: "unknown-argument", ops: one("relu", args{"x": "%x", "slope": 1.0}), kinds: unsupported, text: "slope"},
	{name: "missing-argument", ops: one("conv", args{"x": "%x"}), kinds: invalid, text: "weight"},
	{name: "undefined-name", ops: one("relu", args{"x": "%nobody"}), kinds: invalid, text: "nobody"},
	{name: "cycle", ops: []op{{Type: "relu", In: args{"x": "%y"}, Out: vars{testkit.F32("z", 1)}}, {Type: "relu", In: args{"x": "%z"}, Out: vars{testkit.F32("y", 1)}}}, kinds: invalid, text: "not defined"},
	{name: "defined-twice", ops: []op{{Type: "relu", In: args{"x": "%x"}, Out: vars{testkit.F32("y", 1)}}, {Type: "relu", In: args{"x": "%x"}, Out: vars{testkit.F32("y", 1)}}}, kinds: invalid, text: "twice"},
	{name: "too-many-outputs", ops: one("relu", args{"x": "%x"}, testkit.F32("y", 1), testkit.F32("z", 1)), kinds: invalid, text: "relu"},
	{name: "shape-product-overflows", in: vars{testkit.F32("x", 1<<31-1, 1<<31-1, 1<<31-1)}, ops: one("relu", args{"x": "%x"}), kinds: either, text: "x"},
	{name: "input-dimension-2^63", in: vars{{Name: "x", DType: spec.DataType_FLOAT32, Shape: []int{1<<63 - 1, 1<<63 - 1}}}, ops: one("relu", args{"x": "%x"}), kinds: either, text: "x"},
	{name: "constant-larger-than-its-data", ops: one("add", args{"x": "%x", "y": testkit.Weights{Shape: []int{1 << 20, 1 << 20}, Data: []float32{1, 2}}}), kinds: either, text: "y"},
	{name: "splat-huge", ops: one("add", args{"x": "%x", "y": testkit.Weights{Shape: []int{1 << 20, 1 << 20}, Data: []float32{1}}}), kinds: either, text: "y"},
	{name: "constant-of-2^64-elements", ops: one("add", args{"x": "%x", "y": testkit.Weights{Shape: []int{1 << 20, 1 << 20, 1 << 24}}}), kinds: either, text: "y"},
	{name: "constant-of-a-million-times-nothing", ops: one("add", args{"x": "%x", "y": testkit.Weights{Shape: []int{1000, 1000, 0}}}), kinds: invalid, text: "add"},
	{name: "state-huge", state: vars{{Name: "s", DType: spec.DataType_FLOAT16, Shape: []int{1 << 20, 1 << 20}}},
		ops: []op{{Type: "read_state", In: args{"input": "%s"}, Out: vars{{Name: "y", DType: spec.DataType_FLOAT16, Shape: []int{1 << 20, 1 << 20}}}}}, kinds: limits, text: "bytes", runs: true},
	{name: "state-as-output", state: vars{testkit.F32("y", 4)}, ops: one("relu", args{"x": "%x"}, testkit.F32("z", 1)), kinds: invalid, text: "y"},
	{name: "state-of-open-size", state: vars{testkit.F32("s", -1)}, ops: one("read_state", args{"input": "%s"}), kinds: unsupported, text: "s"},
	{name: "state-of-strings", state: vars{{Name: "s", DType: spec.DataType_STRING, Shape: []int{2}}}, ops: one("read_state", args{"input": "%s"}), kinds: unsupported, text: "s"},
	{name: "read_state-of-a-tensor", ops: one("read_state", args{"input": "%x"}), kinds: invalid, text: "read_state"},
	{name: "list-growth-unbounded", ops: listOps(1 << 30), kinds: running, text: "list", runs: true},
	{name: "list-index", ops: listOps(-1), kinds: running, text: "index", runs: true},
	{name: "quantize-scale-length", ops: one("quantize", args{"input": "%x", "scale": weights(9), "axis": 1, "output_dtype": "int8"}, testkit.Var{Name: "y", DType: spec.DataType_INT8, Shape: []int{1}}), kinds: invalid, text: "9 values"},
	{name: "lstm-weights", in: vars{testkit.F32("x", 2, 1, 3)}, ops: one("lstm", args{"x": "%x", "initial_h": weights(1, 4), "initial_c": weights(1, 4), "weight_ih": weights(16, 2), "weight_hh": weights(16, 4)},
		testkit.F32("y", 1), testkit.F32("h", 1), testkit.F32("c", 1)), kinds: invalid, text: "weight_ih"},
	{name: "nms-boxes-huge", in: vars{testkit.F32("x", 1, 4, 4), testkit.F32("s", 1, 2, 4)}, ops: one("non_maximum_suppression", args{"boxes": "%x", "scores": "%s", "iou_threshold": 0.5, "max_boxes": huge},
		testkit.F32("y", 1), testkit.F32("b", 1), testkit.I32("c", 1)), kinds: either, text: "non_maximum_suppression"},
	{name: "random-huge", ops: one("random_normal", args{"shape": []int{1 << 20, 1 << 20}}), kinds: limits, text: "random_normal"},
}

// listOps write to a list at an index that it does not have.
func listOps(index int) []op {
	list := testkit.F32("l", 4)
	list.List = true
	after := list
	after.Name = "m"
	return []op{
		{Type: "make_list", In: args{"init_length": 1, "dynamic_length": true, "elem_shape": []int{4}, "dtype": "fp32"}, Out: vars{list}},
		{Type: "list_write", In: args{"ls": "%l", "index": index, "value": weights(4)}, Out: vars{after}},
		{Type: "list_read", In: args{"ls": "%m", "index": 0}, Out: vars{testkit.F32("y", 4)}},
	}
}

// allocated is what the process has allocated so far.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

const (
	hostileTime   = 2 * time.Second // far above what it takes; a busy machine needs room
	hostileMemory = 32 << 20
)

// TestHostileModels opens and runs models made by hand: each gives one clear
// error of the right kind that names the place, soon and without much memory.
func TestHostileModels(t *testing.T) {
	for _, h := range hostiles {
		for _, backend := range []string{"cpu", "reference"} {
			t.Run(h.name+"/"+backend, func(t *testing.T) { h.check(t, backend) })
		}
	}
}

func (h *hostile) check(t *testing.T, backend string) {
	in := h.in
	if in == nil {
		in = vars{testkit.F32("x", 2, 3, 8, 8)}
	}
	fsys := testkit.Program{In: in, States: h.state, Ops: h.ops, Out: []string{"y"}}.FS()
	limit := h.limit
	if limit == 0 {
		limit = 64 << 20
	}
	before, start := allocated(), time.Now()
	if err := listed(fsys, testkit.ModelFile, len(fsys[testkit.ModelFile].Data)); err != nil {
		t.Error(err)
	}
	m, err := coreml.OpenFS(fsys, testkit.ModelFile, coreml.Options{MemoryLimit: limit, Backend: backend})
	if err == nil {
		defer m.Close()
		if !h.runs && backend == "cpu" {
			t.Errorf("opened, want it refused for %s", h.text)
		}
		ctx, cancel := context.WithTimeout(context.Background(), hostileTime)
		defer cancel()
		_, err = m.Predict(ctx, badInputs(in))
	}
	took, spent := time.Since(start), allocated()-before
	h.judge(t, err)
	if took > hostileTime {
		t.Errorf("took %v", took)
	}
	if spent > hostileMemory {
		t.Errorf("allocated %d bytes, want at most %d", spent, hostileMemory)
	}
}

// listed writes a model out as text, whose length a file's length has to bound.
func listed(fsys fs.FS, name string, size int) error {
	m, err := mlmodel.OpenFS(fsys, name)
	if err != nil {
		return nil // whoever runs it judges the error
	}
	defer m.Close()
	var text bytes.Buffer
	if err := listing.Print(&text, m); err != nil {
		return err
	}
	listing.Ops(m.Spec, "")
	listing.Weights(m.Spec)
	if most := 128*size + 4<<10; text.Len() > most {
		return fmt.Errorf("listing: %d bytes of text for a file of %d, want at most %d", text.Len(), size, most)
	}
	return nil
}

// badInputs are tensors of the declared shapes whose integers are out of every range.
func badInputs(in vars) coreml.Features {
	f := coreml.Features{}
	for _, v := range in {
		d := tensor.Float32
		if v.DType == spec.DataType_INT32 {
			d = tensor.Int32
		}
		if t, err := tensor.Make(d, v.Shape); err == nil && t.Len() < 1<<20 {
			for i := range tensor.Data[int32](t) {
				tensor.Data[int32](t)[i] = 1 << 30
			}
			f[v.Name] = t
		}
	}
	return f
}

func (h *hostile) judge(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatalf("it ran, want %v: %s", h.kinds, h.text)
	}
	ok := false
	for _, k := range h.kinds {
		ok = ok || errors.Is(err, k)
	}
	text := err.Error()
	switch {
	case !ok:
		t.Errorf("%v; want %v", err, h.kinds)
	case !strings.Contains(text, h.text):
		t.Errorf("%q does not name %q", text, h.text)
	case strings.Contains(text, "goroutine"):
		t.Errorf("an operator panics: %.300s", text)
	case len(text) > 600 || strings.Contains(text, "\n"):
		t.Errorf("an error of %d bytes: %.300s", len(text), text)
	}
}

// nested is a model of conditions in conditions.
func nested(depth int) testkit.Program {
	last := op{Type: "relu", In: args{"x": "%x"}, Out: vars{testkit.F32("y", 4)}}
	for i := range depth {
		name := fmt.Sprint("y", i)
		if i == depth-1 {
			name = "out"
		}
		deep := nest{Ops: []op{last}, Out: []string{last.Out[0].Name}}
		last = op{Type: "cond", In: args{"pred": "%p"}, Out: vars{testkit.F32(name, 4)}, Blocks: []nest{deep, {Out: []string{"x"}}}}
	}
	return testkit.Program{In: vars{testkit.F32("x", 4), testkit.B("p")}, Ops: []op{last}, Out: []string{"out"}}
}

func TestNestedBlocks(t *testing.T) {
	x, err := tensor.Make(tensor.Float32, []int{4})
	if err != nil {
		t.Fatal(err)
	}
	m, err := coreml.OpenFS(nested(30).FS(), testkit.ModelFile)
	if err != nil {
		t.Fatal("blocks nested 30 deep: ", err)
	}
	defer m.Close()
	if _, err := m.Predict(context.Background(), coreml.Features{"x": x, "p": int64(1)}); err != nil {
		t.Error("blocks nested 30 deep: ", err)
	}
	for _, depth := range []int{70, 2000} {
		fsys := nested(depth).FS()
		before := allocated()
		if _, err := coreml.OpenFS(fsys, testkit.ModelFile); !errors.Is(err, coreml.ErrLimit) {
			t.Errorf("blocks nested %d deep: %v, want %v", depth, err, coreml.ErrLimit)
		}
		if n := allocated() - before; n > hostileMemory {
			t.Errorf("blocks nested %d deep: allocated %d bytes", depth, n)
		}
	}
}

// loop is a model whose while_loop never ends; body says what each trip does with the list l.
func loop(body []op, list testkit.Var) testkit.Program {
	trip := testkit.I32("trip")
	next := list
	next.Name = "next"
	return testkit.Program{In: vars{testkit.F32("x", 1024)}, Out: []string{"y"}, Ops: []op{
		{Type: "make_list", In: args{"init_length": 1, "dynamic_length": true, "elem_shape": []int{1024}, "dtype": "fp32"}, Out: vars{list}},
		{Type: "const", Out: vars{testkit.I32("zero")}},
		{Type: "while_loop", In: args{"loop_vars": []string{"%zero", "%l"}}, Out: vars{testkit.I32("y"), {Name: "z", DType: list.DType, Shape: list.Shape, List: true}},
			Blocks: []nest{
				{In: vars{trip, next}, Ops: []op{{Type: "greater", In: args{"x": "%trip", "y": -1}, Out: vars{testkit.B("on")}}}, Out: []string{"on"}},
				{In: vars{trip, next}, Ops: body, Out: []string{"more", "longer"}},
			}},
	}}
}

// openLoop opens a loop; its first trip has number 0.
func openLoop(t *testing.T, body []op, backend string) *coreml.Model {
	t.Helper()
	list := testkit.F32("l", 1024)
	list.List = true
	model := loop(body, list).Model()
	for _, o := range model.GetMlProgram().Functions["main"].BlockSpecializations["CoreML8"].Operations {
		if o.Type == "const" {
			o.Attributes = map[string]*spec.Value{"val": testkit.Immediate(0)}
		}
	}
	m, err := coreml.OpenFS(testkit.FileOf(model), testkit.ModelFile, coreml.Options{Backend: backend, MemoryLimit: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

var longer = testkit.Var{Name: "longer", DType: spec.DataType_FLOAT32, Shape: []int{1024}, List: true}

func TestEndlessLoopStopsAtTheDeadline(t *testing.T) {
	body := []op{
		{Type: "mul", In: args{"x": "%trip", "y": 1}, Out: vars{testkit.I32("more")}},
		{Type: "identity", In: args{"x": "%next"}, Out: vars{longer}},
	}
	for _, backend := range []string{"cpu", "reference"} {
		m := openLoop(t, body, backend)
		x, _ := tensor.Make(tensor.Float32, []int{1024})
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		start := time.Now()
		_, err := m.Predict(ctx, coreml.Features{"x": x})
		cancel()
		if !errors.Is(err, coreml.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want %v", backend, err, coreml.ErrTimeout)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: took %v with a deadline of 50 ms", backend, took)
		}
	}
}

func TestListThatGrowsForeverMeetsTheLimit(t *testing.T) {
	body := []op{
		{Type: "add", In: args{"x": "%trip", "y": 1}, Out: vars{testkit.I32("more")}},
		{Type: "list_write", In: args{"ls": "%next", "index": "%trip", "value": "%x"}, Out: vars{longer}},
	}
	for _, backend := range []string{"cpu", "reference"} {
		m := openLoop(t, body, backend)
		x, _ := tensor.Make(tensor.Float32, []int{1024})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		most := liveDuring(func() {
			if _, err := m.Predict(ctx, coreml.Features{"x": x}); !errors.Is(err, coreml.ErrLimit) {
				t.Errorf("%s: %v, want %v", backend, err, coreml.ErrLimit)
			}
		})
		cancel()
		t.Logf("%s: held %d bytes", backend, most)
		if most > 32<<20 {
			t.Errorf("%s: held %d bytes with a limit of 16 MiB", backend, most)
		}
	}
}

// liveDuring runs f and returns by how much the memory in use grew at most, as the collector saw it.
func liveDuring(f func()) int64 {
	live := func() int64 {
		s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(s)
		return int64(s[0].Value.Uint64())
	}
	runtime.GC()
	before, most := live(), int64(0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			most = max(most, live()-before)
			select {
			case <-done:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	})
	f()
	close(done)
	wg.Wait()
	return most
}
