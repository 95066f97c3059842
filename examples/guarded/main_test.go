package main

import (
	"bytes"
	"regexp"
	"testing"
)

func TestTripsAndRecovers(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, "../../testdata/cases/tiny_classifier/model.mlpackage"); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?s)request  0: \w+; breaker closed, fallback false.*` +
		`request 10: \w+; breaker open, fallback true: .*does not answer.*` +
		`breaker open, fallback true: .*want 95 %.*` +
		`breaker closed, fallback false: \n`)
	if !want.Match(out.Bytes()) {
		t.Errorf("it does not trip and recover:\n%s", &out)
	}
}
