package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"coreml/internal/atomicfile"
	"coreml/tensor"
)

// dumpOutput writes the first output of the first call as raw float32.
func (s *subject) dumpOutput(name string) error {
	t, err := s.firstTensor()
	if err != nil {
		return err
	}
	return atomicfile.Write(name, func(w io.Writer) error {
		_, err := w.Write(tensor.BytesOf(t.Float32s()))
		return err
	})
}

// serve measures on request, so that programs which are compared can take turns.
func (s *subject) serve(ctx context.Context, r io.Reader, w io.Writer) error {
	enc := json.NewEncoder(w)
	err := enc.Encode(struct {
		Ready   bool    `json:"ready"`
		LoadMS  float64 `json:"load_ms"`
		FirstMS float64 `json:"first_ms"`
	}{true, milliseconds(s.load), milliseconds(s.first)})
	if err != nil {
		return err
	}
	return eachLine(ctx, r, func(line string) error {
		var seconds float64
		var runs int
		if n, _ := fmt.Sscanf(line, "GO %g %d", &seconds, &runs); n != 2 || seconds < 0 || seconds > 3600 {
			return inputError{fmt.Errorf("bench: line %q: want GO SECONDS RUNS", cut(line, 40))}
		}
		lat, err := s.rounds(ctx, time.Duration(seconds*float64(time.Second)), max(runs, 1))
		if err != nil {
			return err
		}
		var all []float64
		for _, l := range lat {
			all = append(all, inMilliseconds(l)...)
		}
		return enc.Encode(map[string][]float64{"lat_ms": all})
	})
}
