package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"coreml/internal/spec"
	"coreml/tensor"
)

const sample = "../../testdata/cases"

// copyCase copies a case of the sample to memory, where it can be damaged.
func copyCase(t *testing.T, id string) fstest.MapFS {
	t.Helper()
	set, err := Find(sample)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, c := range set.Cases {
		if c.ID != id {
			continue
		}
		m := fstest.MapFS{}
		err := fs.WalkDir(c.FS, c.Dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := fs.ReadFile(c.FS, name)
			m[strings.TrimPrefix(name, path.Dir(c.Dir)+"/")] = &fstest.MapFile{Data: b}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatalf("the sample has no case %s", id)
	return nil
}

// verdict runs the only case of m.
func verdict(t *testing.T, m fstest.MapFS) Result {
	t.Helper()
	for name := range m {
		if path.Base(name) == "case.json" {
			c, err := Read(m, path.Dir(name))
			if err != nil {
				t.Fatal(err)
			}
			return Run(context.Background(), []*Case{c}, Options{})[0]
		}
	}
	t.Fatal("no case.json")
	return Result{}
}

func find(t *testing.T, m fstest.MapFS, base string) *fstest.MapFile {
	t.Helper()
	for name, f := range m {
		if path.Base(name) == base {
			return f
		}
	}
	t.Fatalf("the case has no %s", base)
	return nil
}

func demandFailure(t *testing.T, r Result, reason string) {
	t.Helper()
	if r.Status != Failed || !strings.Contains(r.Reason, reason) {
		t.Errorf("%s %q; want it failed for %q", r.Status, r.Reason, reason)
	}
	if s := Summarise([]Result{r}); s.Failed != 1 || s.Passed != 0 {
		t.Errorf("counted as %+v", s)
	}
}

// network is a small convolutional network with its weights in a file.
const network = "cnn_batch_range"

func TestUndamagedCasePasses(t *testing.T) {
	if r := verdict(t, copyCase(t, network)); r.Status != Passed {
		t.Errorf("%s: %s", r.Status, r.Reason)
	}
}

// TestFlippedWeightByteFails flips the byte with sign and exponent of one float16 weight in each blob.
func TestFlippedWeightByteFails(t *testing.T) {
	whole := find(t, copyCase(t, network), "weight.bin").Data
	const header, sentinel = 64, 0xDEADBEEF
	blobs := 0
	for at := header; at+header <= len(whole); {
		h := whole[at:]
		if binary.LittleEndian.Uint32(h) != sentinel {
			at += header
			continue
		}
		size, data := binary.LittleEndian.Uint64(h[8:]), binary.LittleEndian.Uint64(h[16:])
		m := copyCase(t, network)
		find(t, m, "weight.bin").Data[data+size/4*2+1] ^= 0xff
		t.Run(fmt.Sprint("blob at ", at), func(t *testing.T) { demandFailure(t, verdict(t, m), "differ") })
		at = int(data+size+header-1) / header * header
		blobs++
	}
	if blobs < 2 {
		t.Errorf("found %d blobs in %d bytes", blobs, len(whole))
	}
}

// TestScaledExpectationFails scales what is expected by 1.1.
func TestScaledExpectationFails(t *testing.T) {
	m := copyCase(t, network)
	f := find(t, m, "expected.npz")
	a, err := tensor.ReadNpz(bytes.NewReader(f.Data), int64(len(f.Data)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range a.Tensors {
		if a.Tensors[name], err = v.Convert(tensor.Float32); err != nil {
			t.Fatal(err)
		}
		for i, x := range tensor.Data[float32](a.Tensors[name]) {
			tensor.Data[float32](a.Tensors[name])[i] = x * 1.1
		}
	}
	var b bytes.Buffer
	if err := tensor.WriteNpz(&b, nil, a.Tensors); err != nil {
		t.Fatal(err)
	}
	f.Data = b.Bytes()
	demandFailure(t, verdict(t, m), "differ")
}

func TestMissingOutputFails(t *testing.T) {
	m := copyCase(t, network)
	c, err := Read(m, network)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range c.Calls[0].Expected {
		c.Calls[0].Expected["absent"] = w
		delete(c.Calls[0].Expected, name)
		break
	}
	demandFailure(t, Run(context.Background(), []*Case{c}, Options{})[0], "absent: missing")
}

// TestUnknownOperatorFails makes an operator one that does not exist.
func TestUnknownOperatorFails(t *testing.T) {
	m := copyCase(t, network)
	f := find(t, m, "model.mlmodel")
	model := new(spec.Model)
	if err := proto.Unmarshal(f.Data, model); err != nil {
		t.Fatal(err)
	}
	changed := false
	for _, fn := range model.GetMlProgram().GetFunctions() {
		for _, b := range fn.GetBlockSpecializations() {
			for _, o := range b.GetOperations() {
				if o.Type != "const" {
					o.Type, changed = "frobnicate", true
				}
			}
		}
	}
	b, err := proto.Marshal(model)
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	f.Data = b
	r := verdict(t, m)
	demandFailure(t, r, "frobnicate")
	if !strings.HasPrefix(r.Reason, "unsupported: ") {
		t.Errorf("reason %q; want it to begin with unsupported:", r.Reason)
	}
}

// peak is the largest absolute value.
func peak(t *tensor.Tensor) float64 {
	m := 0.0
	for _, x := range floats(t) {
		m = max(m, math.Abs(x))
	}
	return m
}

// TestZerosFail compares zeros with every value of the sample that is not zero itself.
func TestZerosFail(t *testing.T) {
	set, err := Find(sample)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	judged, accepted := 0, 0
	for _, c := range set.Cases {
		arrays, err := c.arrays("expected.npz")
		if err != nil {
			t.Fatal(err)
		}
		for i, call := range c.Calls {
			for name, w := range call.Expected {
				want := arrays[w.NPZ]
				if w.Kind != "array" || want == nil || w.ShapeOnly || peak(want) < 0.05 {
					continue
				}
				zeros, err := tensor.Make(want.DType(), want.Shape())
				if err != nil {
					t.Fatal(err)
				}
				judged++
				if w.compare(zeros, arrays, true, c.MixedFP16) == nil {
					accepted++
					t.Logf("%s: call %d, %s: zeros pass for values up to %g", c.ID, i, name, peak(want))
				}
			}
		}
	}
	if judged < 500 || accepted > 0 {
		t.Errorf("%d of %d expectations accept zeros", accepted, judged)
	}
}
