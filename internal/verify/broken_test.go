package verify

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"

	"coreml/internal/fault"
	"coreml/internal/spec"
)

// rewrite changes case.json of the only case of m.
func rewrite(t *testing.T, m fstest.MapFS, change func(c map[string]any)) {
	t.Helper()
	f := find(t, m, "case.json")
	c := map[string]any{}
	if err := json.Unmarshal(f.Data, &c); err != nil {
		t.Fatal(err)
	}
	change(c)
	var err error
	if f.Data, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
}

// writeZip puts files into a zip, deflated, in a folder of its own.
func writeZip(t *testing.T, files fstest.MapFS) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, f := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.Data); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "cases.zip")
	if err := errors.Join(z.Close(), os.WriteFile(name, b.Bytes(), 0o666)); err != nil {
		t.Fatal(err)
	}
	return name
}

// verdicts runs what Find finds at a path, by id.
func verdicts(t *testing.T, path string) map[string]Result {
	t.Helper()
	set, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	out := map[string]Result{}
	for _, r := range Run(context.Background(), set.Cases, Options{}) {
		out[r.ID] = r
	}
	return out
}

// TestBrokenCaseIsOneFailure: what case.json may hold ends that case, not the others.
func TestBrokenCaseIsOneFailure(t *testing.T) {
	good := copyCase(t, network)
	whole := find(t, good, "case.json").Data
	for name, data := range map[string][]byte{
		"truncated": whole[:len(whole)/2], "list": []byte("[]"), "empty": nil, "number": []byte("NaN"),
		"large": append(bytes.Repeat([]byte(" "), maxCaseFile), whole...), "path": []byte(`{"kind": "/../../x", "expect": "describes"}`),
		"negative": []byte(`{"kind": "mlmodel", "calls": [{"expected": {"y": {"kind": "int", "data": 1, "atol": -1}}}]}`),
		"anything": []byte(`{"kind": "mlmodel", "calls": [{"expected": {"y": {"kind": "int", "data": 1, "allow_mismatch_ratio": 1}}}]}`),
	} {
		good[name+"/case.json"] = &fstest.MapFile{Data: data}
	}
	got := verdicts(t, writeZip(t, good))
	for id, r := range got {
		if want := id == network; (r.Status == Passed) != want || !want && !strings.Contains(r.Reason, id+"/case.json: ") {
			t.Errorf("%s: %s %q; want it to pass: %v, and the file named", id, r.Status, r.Reason, want)
		}
	}
	if len(got) != 9 {
		t.Errorf("%d results, want 9", len(got))
	}
}

// TestNothingExpected: a case that compares nothing has failed.
func TestNothingExpected(t *testing.T) {
	for name, change := range map[string]func(c map[string]any){
		"no calls":     func(c map[string]any) { c["calls"] = []any{} },
		"calls absent": func(c map[string]any) { delete(c, "calls") },
		"nothing wanted": func(c map[string]any) {
			for _, call := range c["calls"].([]any) {
				call.(map[string]any)["expected"] = map[string]any{}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := copyCase(t, network)
			rewrite(t, m, change)
			demandFailure(t, verdict(t, m), "nothing is expected")
		})
	}
}

func TestStateOfNoNumber(t *testing.T) {
	for _, kind := range []string{"read_state", "write_state"} {
		m := copyCase(t, "sta_accumulators")
		rewrite(t, m, func(c map[string]any) {
			call := map[string]any{"type": kind, "state": nil, "name": "total"}
			c["calls"] = slices.Concat([]any{call}, c["calls"].([]any))
		})
		demandFailure(t, verdict(t, m), "call 0: "+kind+": state null: want")
	}
}

// panics is a folder that cannot even be opened without a panic.
type panics struct{}

func (panics) Open(string) (fs.File, error) { panic("no folder") }

func TestPanicIsOneFailure(t *testing.T) {
	c, err := Read(copyCase(t, network), network)
	if err != nil {
		t.Fatal(err)
	}
	bad := &Case{ID: "bad", FS: panics{}, Kind: c.Kind, Ops: c.Ops, Calls: c.Calls}
	r := Run(context.Background(), []*Case{bad, c, bad}, Options{Jobs: 1})
	if len(r) != 3 || r[1].Status != Passed {
		t.Fatalf("%+v, want the one between to pass", r)
	}
	demandFailure(t, r[0], "panic: no folder")
	if !strings.Contains(r[2].Stack, "Open") {
		t.Errorf("stack %q, want who panicked", r[2].Stack)
	}
}

// TestStop: a run that is stopped has no results of the cases that it did not check.
func TestStop(t *testing.T) {
	c, err := Read(copyCase(t, network), network)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	r := Run(ctx, slices.Repeat([]*Case{c}, 50), Options{Jobs: 2, Each: func(Result) {
		if n++; n == 3 {
			cancel()
		}
	}})
	if len(r) < 3 || len(r) > 5 || slices.ContainsFunc(r, func(r Result) bool { return r.Status != Passed }) {
		t.Errorf("%d results, %+v; want the few that had passed", len(r), r)
	}
}

// TestBareNotFinite: case.json may hold what Python's json writes.
func TestBareNotFinite(t *testing.T) {
	m := fstest.MapFS{"c/case.json": {Data: []byte(`{"kind": "mlmodel", "note": "NaN", "calls": [{"type": "predict",
		"inputs": {"x": {"kind": "double", "data": -Infinity}}, "expected": {"y": {"kind": "dict", "items": [["a", NaN], ["b", Infinity]]}}}]}`)}}
	c, err := Read(m, "c")
	if err != nil {
		t.Fatal(err)
	}
	in, err := features(c.Calls[0].Inputs, nil)
	if err != nil || in["x"] != math.Inf(-1) {
		t.Errorf("%v, %v; want -Inf", in, err)
	}
	w := c.Calls[0].Expected["y"]
	if m := w.compare(map[string]float64{"a": math.NaN(), "b": math.Inf(1)}, nil, false, false); m != nil {
		t.Error(m)
	}
}

// TestZipBombs: nothing in a zip is read that is not backed by its size.
func TestZipBombs(t *testing.T) {
	m := copyCase(t, network)
	const size = 64 << 20
	for name := range m {
		if base := filepath.Base(name); base != "case.json" && base != "model.mlmodel" && base != "expected.npz" {
			continue
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			bomb := copyCase(t, network)
			bomb[name] = &fstest.MapFile{Data: make([]byte, size)}
			file := writeZip(t, bomb)
			bomb = nil
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := verdicts(t, file)
			runtime.ReadMemStats(&after)
			demandFailure(t, got[network], "limit exceeded: 67108864 bytes packed in ")
			if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
				t.Errorf("%d bytes were allocated", n)
			}
		})
	}
}

// TestZipSizesAreClaims: a size in the zip's directory is no reason to allocate.
func TestZipSizesAreClaims(t *testing.T) {
	name := filepath.Join(t.TempDir(), "cases.zip")
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if _, err := z.CreateRaw(&zip.FileHeader{Name: "c/case.json", Method: zip.Deflate, CompressedSize64: 1 << 40, UncompressedSize64: 1 << 42}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(z.Close(), os.WriteFile(name, b.Bytes(), 0o666)); err != nil {
		t.Fatal(err)
	}
	demandFailure(t, verdicts(t, name)["c"], "limit exceeded")
}

func TestNoZip(t *testing.T) {
	name := filepath.Join(t.TempDir(), "cases.zip")
	if err := os.WriteFile(name, []byte("no zip"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(name); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
		t.Errorf("%v, want an invalid file that is named", err)
	}
}

// TestDescribesInZip: a model that cannot run is described, from a folder and from a zip.
func TestDescribesInZip(t *testing.T) {
	b, err := proto.Marshal(&spec.Model{SpecificationVersion: 1, Description: &spec.ModelDescription{}, Type: &spec.Model_Identity{Identity: &spec.Identity{}}})
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"c/model.mlmodel": {Data: b}, "c/case.json": {Data: []byte(`{"kind": "mlmodel", "expect": "describes"}`)}}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{dir, writeZip(t, files)} {
		if r := verdicts(t, where)["c"]; r.Status != Passed {
			t.Errorf("%s: %s %s, want it to pass", where, r.Status, r.Reason)
		}
	}
}

// TestOperatorsOfModel: a case that lists no operators has those of its model,
// which are the ones that the recorded cases list (of several functions, some list all).
func TestOperatorsOfModel(t *testing.T) {
	set, err := Find(sample)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	compared := 0
	for _, c := range set.Cases {
		if c.ModelType != "mlProgram" || c.Ops == nil {
			continue
		}
		listed := c.Operators()
		c = &Case{FS: c.FS, Dir: c.Dir, Kind: c.Kind, Function: c.Function}
		if got := c.Operators(); !slices.Equal(got, listed) && !strings.Contains(c.Dir, "_multi") {
			t.Errorf("%s: %v, want %v", c.Dir, got, listed)
		}
		compared++
	}
	if compared < 100 {
		t.Errorf("%d cases were compared", compared)
	}
}
