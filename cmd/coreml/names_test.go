package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"coreml"
	"coreml/schema"
	"coreml/tensor"
)

// TestNamesStayInTheirLine: names and texts of a file reach the terminal without
// line breaks and control characters of their own.
func TestNamesStayInTheirLine(t *testing.T) {
	const evil = "x\nFAILED\x1b[31m"
	f := []coreml.Feature{{Name: evil, Type: schema.TypeString, ShortDescription: evil}}
	d := schema.Description{ModelType: "mlProgram", Function: schema.Function{Name: evil, Inputs: f, Outputs: f,
		ClassLabels: &schema.ClassLabels{Strings: []string{evil}}}}
	d.Metadata.UserDefined = map[string]string{evil: evil}
	d.Pipeline = []schema.PipelineStep{{Name: evil, Description: &schema.Description{}}}
	var b bytes.Buffer
	if err := (&report{Description: &d}).print(&b, "model"); err != nil {
		t.Fatal(err)
	}
	out := coreml.Features{evil: tensor.Of([]float32{1}, 1), evil + "2": map[string]float64{evil: 1}, evil + "3": evil}
	if err := printOutputs(&b, &function{}, out, 10); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "FAILED") || strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("printed %q", line)
		}
	}
}
