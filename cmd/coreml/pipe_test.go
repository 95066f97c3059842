package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coreml"
	"coreml/internal/record"
	"coreml/tensor"
)

// converse gives a pipe the requests and returns its answers.
func converse(t *testing.T, requests ...string) []map[string]any {
	t.Helper()
	p := &pipe{flags: &openFlags{}, models: map[int]pipeModel{}, states: map[int]pipeState{}}
	defer p.close()
	var out bytes.Buffer
	if err := p.serve(t.Context(), strings.NewReader(strings.Join(requests, "\n")+"\n"), &out); err != nil {
		t.Fatal(err)
	}
	var answers []map[string]any
	for line := range strings.Lines(out.String()) {
		a := map[string]any{}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("answer %q: %v", line, err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(requests) {
		t.Fatalf("%d answers to %d requests: %v", len(answers), len(requests), answers)
	}
	return answers
}

func writeNpz(t *testing.T, name string, f coreml.Features) string {
	t.Helper()
	if err := writeFeatures(name, f, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func ones(shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	for i := range tensor.Data[float32](t) {
		tensor.Data[float32](t)[i] = 1
	}
	return t
}

func TestPipe(t *testing.T) {
	dir := t.TempDir()
	in := writeNpz(t, filepath.Join(dir, "in.npz"), coreml.Features{"x": ones(3, 4), "slot": ones(1)})
	total := writeNpz(t, filepath.Join(dir, "total.npz"), coreml.Features{"total": ones(3, 4)})
	out, state := filepath.Join(dir, "out.npz"), filepath.Join(dir, "state.npz")
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	answers := converse(t,
		`{"op":"load","model":"../../testdata/cases/sta_accumulators/model.mlpackage","function":null,"compute_units":"CPU_ONLY"}`,
		`{"op":"new_state","handle":1}`,
		`{"op":"write_state","state":2,"name":"total","input":`+quote(total)+`}`,
		`{"op":"predict","handle":1,"inputs":`+quote(in)+`,"output":`+quote(out)+`,"state":2}`,
		`{"op":"read_state","state":2,"name":"count","output":`+quote(state)+`}`,
		`{"op":"free_state","state":2}`,
		`{"op":"free","handle":1}`,
	)
	for i, a := range answers {
		if a["ok"] != true {
			t.Errorf("answer %d: %v, want ok", i, a)
		}
	}
	if answers[0]["handle"] != 1.0 || answers[1]["state"] != 2.0 || answers[3]["nanoseconds"].(float64) <= 0 {
		t.Errorf("answers %v: want handle 1, state 2 and a time", answers)
	}
	got, err := record.ReadFeatures(out)
	if err != nil {
		t.Fatal(err)
	}
	if before := got["before"].(*tensor.Tensor).Float32s(); before[0] != 2 {
		t.Errorf("before is %v, want twice what was written", before)
	}
	if got, err = record.ReadFeatures(state); err != nil || len(got) != 1 || got["count"].(*tensor.Tensor).Float32s()[0] != 1 {
		t.Errorf("state file holds %v (%v), want count = [1] alone", got, err)
	}
}

func TestPipeErrors(t *testing.T) {
	requests := []string{
		`{`,
		`{"op":"fly"}`,
		`{"op":"load","model":"nowhere.mlpackage"}`,
		`{"op":"predict","handle":1,"inputs":"in.npz","output":"out.npz"}`,
		`{"op":"free","handle":7}`,
		`{"op":"new_state"}`,
		`{"op":"read_state","state":9,"name":"x","output":"o.npz"}`,
		`{"op":"load","model":"../../testdata/cases/tiny_classifier/model.mlpackage"}`,
		`{"op":"new_state","handle":1}`,
		`{"op":"predict","handle":1,"inputs":"nowhere.npz","output":"out.npz"}`,
		`{"op":"predict","handle":1,"inputs":"nowhere.npz","output":"out.npz","state":3}`,
	}
	for i, a := range converse(t, requests...) {
		if loads := i == 7; a["ok"] != loads || !loads && a["error"] == "" {
			t.Errorf("%s: %v, want an error", requests[i], a)
		}
	}
	if _, err := os.Stat("out.npz"); err == nil {
		t.Error("a failed prediction has left out.npz")
	}
}

func TestPipeRefusesEndlessLines(t *testing.T) {
	p := &pipe{flags: &openFlags{}}
	err := p.serve(t.Context(), strings.NewReader(strings.Repeat("x", maxLine+1)), &bytes.Buffer{})
	if exitCode(err) != exitInput {
		t.Errorf("error %v, exit code %d, want %d", err, exitCode(err), exitInput)
	}
}

func TestPipeEndsWhileItWaits(t *testing.T) {
	r, w := io.Pipe() // nothing ever comes
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := (&pipe{}).serve(ctx, r, io.Discard); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}
