package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"coreml/tensor"
)

// TestIntegersAreExact: integers are written as such, on the screen, among many, and in JSON.
func TestIntegersAreExact(t *testing.T) {
	for _, c := range []struct {
		t    *tensor.Tensor
		want string
	}{
		{tensor.Of([]int32{1e6, 123456789, -7, math.MinInt32}, 4), "1000000, 123456789, -7, -2147483648"},
		{tensor.Of([]int64{math.MaxInt64, math.MinInt64}, 2), "9223372036854775807, -9223372036854775808"},
		{tensor.Of([]uint64{math.MaxUint64}, 1), "18446744073709551615"},
		{tensor.Of([]uint8{200, 3}, 2), "200, 3"},
	} {
		for whole, want := range map[int]string{100: "= [" + c.want + "]\n", 0: "\n  " + c.want + ", …\n"} {
			var b strings.Builder
			if printTensor(&b, "x", c.t, whole); !strings.Contains(b.String(), want) {
				t.Errorf("printed\n%swant %s", b.String(), want)
			}
		}
		b, err := json.Marshal(jsonOutput(c.t))
		if err != nil || !strings.Contains(string(b), `"data":[`+strings.ReplaceAll(c.want, " ", "")+"]") {
			t.Errorf("JSON %s, %v; want %s", b, err, c.want)
		}
	}
	var w strings.Builder
	if printTensor(&w, "x", tensor.Of([]int32{1e6, 123456789}, 2), 0); !strings.Contains(w.String(), "min 1000000, max 123456789, ") {
		t.Errorf("printed\n%s", w.String())
	}
	b, err := json.Marshal(jsonOutput(tensor.Of([]float32{1e6, float32(math.NaN())}, 2)))
	if err != nil || !strings.Contains(string(b), `"data":[1e+06,"NaN"]`) {
		t.Errorf("JSON %s, %v", b, err)
	}
}
