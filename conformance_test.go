package coreml_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"image"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"coreml"
	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/ops"
	"coreml/internal/testkit"
	"coreml/internal/verify"
)

// way is one way to run a model.
type way struct {
	name string
	open coreml.Options
}

// ways lists the reference, then every CPU level of this machine with one and with two threads.
func ways() []way {
	all := []way{{"reference", coreml.Options{Backend: "reference"}}}
	if testkit.Race {
		return []way{{"generic, 2 threads", coreml.Options{Threads: 2}}}
	}
	for _, l := range cpu.Levels() {
		for _, threads := range []int{1, 2} {
			o := coreml.AtLevel(coreml.Options{Threads: threads}, l.String())
			all = append(all, way{fmt.Sprintf("%v, %d threads", l, threads), o})
		}
	}
	return all
}

// TestConformance runs the recorded cases of testdata every way.
func TestConformance(t *testing.T) { conform(t, filepath.Join("testdata", "cases")) }

// TestConformanceMore runs the cases in the folders and zips that COREML_CASES lists.
func TestConformanceMore(t *testing.T) {
	more := os.Getenv("COREML_CASES")
	if more == "" {
		t.Skip("COREML_CASES names no further cases")
	}
	conform(t, filepath.SplitList(more)...)
}

func conform(t *testing.T, folders ...string) {
	set, err := verify.Find(folders...)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if testkit.Race {
		set.Cases = thin(set.Cases)
	}
	before := map[string]*digests{} // of one thread, by level
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			got := newDigests()
			results := verify.Run(context.Background(), set.Cases, verify.Options{Tight: true, Open: w.open, Got: got.add,
				Keep: func(c *verify.Case) bool { return c.ModelType == "mlProgram" }})
			judge(t, results)
			level, threads, _ := strings.Cut(w.name, ",")
			if threads == " 2 threads" && before[level] != nil {
				got.compare(t, before[level])
			}
			before[level] = got
		})
	}
}

// thin keeps some of the cases: those with the most operators, and one in eight.
func thin(all []*verify.Case) []*verify.Case {
	var some []*verify.Case
	for i, c := range all {
		if i%8 == 0 || len(c.Ops) > 8 {
			some = append(some, c)
		}
	}
	return some
}

// judge demands that every case passes, and that those with an operator that does not exist are refused for it.
func judge(t *testing.T, results []verify.Result) {
	t.Helper()
	passed := 0
	for _, r := range results {
		if r.Status == verify.Skipped {
			continue
		}
		if op := firstMissing(r.Ops); op != "" {
			if r.Status != verify.Failed || !strings.HasPrefix(r.Reason, "unsupported:") || !strings.Contains(r.Reason, op) {
				t.Errorf("%s: %s %s; want it refused for %s", r.ID, r.Status, r.Reason, op)
			}
			continue
		}
		switch r.Status {
		case verify.Passed:
			passed++
		case verify.Failed:
			if why := disputedBecause(r.ID); why != "" {
				t.Logf("%s: %s: %s", r.ID, why, r.Reason)
				continue
			}
			t.Errorf("%s (%s): %s", r.ID, strings.Join(r.Ops, ", "), r.Reason)
		}
	}
	if passed == 0 {
		t.Error("no case passed")
	}
}

// disputed are tests of coremltools whose recorded values are no evidence against float32 arithmetic.
// None is in the sample; larger collections have them.
var disputed = []struct{ test, why string }{
	{"test_compression::TestJointCompressionOps", "expects sums in float16 of a float32 program"},
	{"test_compression::TestConstexprLutToSparse", "expects sums in float16 of a float32 program"},
	{"test_compression::TestConstexprSparseToDense", "expects sums in float16 of a float32 program"},
	{"iOS17/test_conv::", "expects products in float16 of a float32 program"},
	{"test_normalization::TestNormalizationInstanceNorm", "expects products in float16 of a float32 program"},
	{"TestLinear::test_linear_fp16", "expects products in float16 of a float32 program"},
	{"TestCropResize::test_builder_to_backend_ios16", "expects a rounded literal, 7.899 for 7.9"},
	{"test_per_tensor_quantization_with_blockwise_op", "sums nearly cancel"},
	{"TestFlexibleInputShapesTorch::test_multiarray_input", "sums nearly cancel"},
	{"TestRandn::test_randn", "expects the numbers of another generator"},
	{"TestNms::test_nms_corner_case_iou_equal_threshold", "expects a box at the very threshold dropped, other cases expect it kept"},
	{"TestIndexPut::test_index_put_negative_indices_case_2", "an index of -1 goes through uint16, which is out of range"},
}

func disputedBecause(id string) string {
	for _, d := range disputed {
		if strings.Contains(id, d.test) {
			return d.why
		}
	}
	return ""
}

func firstMissing(names []string) string {
	for _, op := range names {
		if op != "const" && ops.Find(op, graph.IOS26) == nil {
			return op
		}
	}
	return ""
}

// digests keeps a hash of every output.
type digests struct {
	mu  sync.Mutex
	sum map[string]uint64 // "case, call 0, output"
}

func newDigests() *digests { return &digests{sum: map[string]uint64{}} }

func (d *digests) add(c *verify.Case, call int, out coreml.Features) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, v := range out {
		h := fnv.New64a()
		switch v := v.(type) {
		case *coreml.Tensor:
			fmt.Fprint(h, v.DType(), v.Shape())
			h.Write(v.Bytes())
		case *image.NRGBA:
			h.Write(v.Pix)
		case *image.Gray:
			h.Write(v.Pix)
		default:
			fmt.Fprint(h, v)
		}
		if strings.Contains(fmt.Sprint(c.Ops), "random_") {
			continue // drawn anew each time
		}
		d.sum[fmt.Sprintf("%s, call %d, %s", c.ID, call, name)] = h.Sum64()
	}
}

// compare demands the same bits.
func (d *digests) compare(t *testing.T, want *digests) {
	t.Helper()
	if len(d.sum) != len(want.sum) || len(d.sum) == 0 {
		t.Errorf("%d outputs, %d with one thread", len(d.sum), len(want.sum))
	}
	for k, h := range d.sum {
		if want.sum[k] != h {
			t.Errorf("%s: other bits than with one thread", k)
		}
	}
}

// TestEveryOp checks what every operator's literal has to say, and that the sample has a case for it.
func TestEveryOp(t *testing.T) {
	set, err := verify.Find(filepath.Join("testdata", "cases"))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	cases := map[string]int{}
	for _, c := range set.Cases {
		for op := range c.Ops {
			cases[op]++
		}
	}
	seen := map[string]bool{}
	for _, op := range ops.All() {
		id := fmt.Sprintf("%s since %v", op.Name, op.Since)
		if seen[id] {
			t.Errorf("%s: defined twice", id)
		}
		seen[id] = true
		if op.Doc == "" {
			t.Errorf("%s: no Doc", id)
		}
		if op.Prepare == nil && op.Expand == nil {
			t.Errorf("%s: neither Prepare nor Expand", id)
		}
		if op.Infer == nil && op.Expand == nil {
			t.Errorf("%s: neither Infer nor Expand", id)
		}
		if cases[op.Name] == 0 {
			t.Errorf("%s: the sample has no case of it", id)
		}
		inputs := map[string]bool{}
		for _, in := range op.Inputs {
			if inputs[in.Name] || in.Name == "" {
				t.Errorf("%s: input %q: empty or twice", id, in.Name)
			}
			inputs[in.Name] = true
			if in.Default != nil && (!in.Optional || in.DefaultConst() == nil || !in.Accept.Takes(in.DefaultConst().Type)) {
				t.Errorf("%s: input %q: its default %v is not what it takes", id, in.Name, in.Default)
			}
		}
	}
}
