package main

import (
	"errors"
	"strings"
	"testing"

	"coreml"
	"coreml/telemetry"
)

// TestTellOfDrifts: the first drift in words, and every case that is kept or lost.
func TestTellOfDrifts(t *testing.T) {
	var w strings.Builder
	s := &coreml.Shadow{}
	o := tell(s, &w)
	for range 3 {
		s.OnDrift(coreml.Drift{Err: errors.New("SNR 3 dB")})
		o.Observe(coreml.Event{Type: telemetry.Recorded, Detail: "drifts/a b"})
		o.Observe(coreml.Event{Type: telemetry.Ran, Err: errors.New("not this")})
	}
	o.Observe(coreml.Event{Type: telemetry.Recorded, Err: errors.New("disk full"), Detail: "drifts/c"})
	want := "SNR 3 dB\n" + strings.Repeat("recorded; check with: coreml verify 'drifts/a b'\n", 3) + "an answer that differs could not be recorded: disk full\n"
	if w.String() != want {
		t.Errorf("%q, want %q", w.String(), want)
	}
}
