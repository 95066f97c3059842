package telemetry

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

//go:embed log.schema.json
var logSchema []byte

//go:embed snapshot.schema.json
var snapshotSchema []byte

// validate checks v against the keywords of JSON Schema that our two schemas
// use; it fails on any other, so that none is passed over.
func validate(root, schema map[string]any, at string, v any) (errs []string) {
	bad := func(format string, a ...any) { errs = append(errs, at+": "+fmt.Sprintf(format, a...)) }
	for keyword, want := range schema {
		switch keyword {
		case "$schema", "$defs", "title", "description":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			errs = append(errs, validate(root, root["$defs"].(map[string]any)[name].(map[string]any), at, v)...)
		case "type":
			if !hasType(want, v) {
				bad("%T, want %v", v, want)
			}
		case "const":
			if !reflect.DeepEqual(v, want) {
				bad("%v, want %v", v, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				bad("%v, want one of %v", v, want)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < want.(float64) {
				bad("%v, want at least %v", n, want)
			}
		case "maxLength":
			if s, ok := v.(string); ok && len(s) > int(want.(float64)) {
				bad("%d bytes, want at most %v", len(s), want)
			}
		case "format":
			if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v)); err != nil {
				bad("%v is no date-time", v)
			}
		case "oneOf":
			fits := 0
			for _, one := range want.([]any) {
				if len(validate(root, one.(map[string]any), at, v)) == 0 {
					fits++
				}
			}
			if fits != 1 {
				bad("fits %d of oneOf", fits)
			}
		case "items":
			list, _ := v.([]any)
			for i, x := range list {
				errs = append(errs, validate(root, want.(map[string]any), fmt.Sprintf("%s[%d]", at, i), x)...)
			}
		case "required", "properties", "additionalProperties", "dependentRequired":
		default:
			bad("the schema uses %q", keyword)
		}
	}
	if o, ok := v.(map[string]any); ok {
		errs = append(errs, validateObject(root, schema, at, o)...)
	}
	return errs
}

func validateObject(root, schema map[string]any, at string, o map[string]any) (errs []string) {
	required, _ := schema["required"].([]any)
	dependent, _ := schema["dependentRequired"].(map[string]any)
	for k, more := range dependent {
		if _, ok := o[k]; ok {
			required = append(slices.Clone(required), more.([]any)...)
		}
	}
	for _, k := range required {
		if _, ok := o[k.(string)]; !ok {
			errs = append(errs, fmt.Sprintf("%s: without %q", at, k))
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for k, v := range o {
		if p, ok := properties[k].(map[string]any); ok {
			errs = append(errs, validate(root, p, at+"."+k, v)...)
		} else if schema["additionalProperties"] == false {
			errs = append(errs, fmt.Sprintf("%s: %q is not described", at, k))
		}
	}
	return errs
}

func hasType(want, v any) bool {
	if list, ok := want.([]any); ok {
		return slices.ContainsFunc(list, func(w any) bool { return hasType(w, v) })
	}
	switch v := v.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case float64:
		return want == "number" || want == "integer" && v == float64(int64(v))
	case []any:
		return want == "array"
	}
	return want == "object"
}

// wantValid reports where text does not fit a schema.
func wantValid(t *testing.T, schema, text []byte) {
	t.Helper()
	for _, e := range invalid(t, schema, text) {
		t.Errorf("%s\nin %s", e, text)
	}
}

func invalid(t *testing.T, schema, text []byte) []string {
	t.Helper()
	var s, v map[string]any
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return []string{err.Error()}
	}
	return validate(s, s, "$", v)
}

func TestSchemasRefuse(t *testing.T) {
	const good = `"time":"2026-01-02T03:04:05Z","level":"INFO","model":"m","backend":"b","unit":"u"`
	for _, c := range []struct{ line, why string }{
		{`{` + good + `,"msg":"inference"}`, ""},
		{`{` + good + `,"msg":"inference","kind":"Timeout","error":"x","duration_ns":5}`, ""},
		{`{` + good + `,"msg":"inference","error":"x"}`, `without "kind"`},
		{`{` + good + `,"msg":"inference","kind":"Other"}`, "want one of"},
		{`{` + good + `,"msg":"inference","duration_ns":-5}`, "want at least 0"},
		{`{` + good + `,"msg":"inference","duration_ns":"5"}`, "want integer"},
		{`{` + good + `,"msg":"inference","extra":1}`, "is not described"},
		{`{` + good + `,"msg":"answer"}`, "fits 0 of oneOf"},
		{`{` + good + `,"msg":"nothing"}`, "want one of"},
		{`{"level":"INFO","msg":"lost","count":1}`, `without "time"`},
		{`{"time":"yesterday","level":"WARN","msg":"lost","count":1}`, "no date-time"},
		{`{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"lost","count":1}`, ""},
	} {
		got := strings.Join(invalid(t, logSchema, []byte(c.line)), "; ")
		if (got == "") != (c.why == "") || !strings.Contains(got, c.why) {
			t.Errorf("%s: %q, want %q", c.line, got, c.why)
		}
	}
}

func TestSchemaNamesAllTypesAndKinds(t *testing.T) {
	for i, name := range typeNames {
		if Type(i) != Started && Type(i) != Measured && !strings.Contains(string(logSchema), `"`+name+`"`) {
			t.Errorf("the log's schema does not name %q", name)
		}
	}
	for _, name := range kindNames[1:] {
		for i, schema := range [][]byte{logSchema, snapshotSchema} {
			if !strings.Contains(string(schema), `"`+name+`"`) {
				t.Errorf("schema %d does not name %q", i, name)
			}
		}
	}
}
