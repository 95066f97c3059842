package main

import (
	"strings"
	"testing"

	"coreml/tensor"
)

func TestPrintTensor(t *testing.T) {
	for _, c := range []struct {
		t    *tensor.Tensor
		want string
	}{
		{tensor.Of([]float32{1, 2, 3, 4}, 2, 2), "x: fp32 [2, 2] = [[1, 2], [3, 4]]\n"},
		{tensor.Of([]float32{1}), "x: fp32 [1] = [1]\n"},
		{tensor.New(tensor.Float32, 1000, 1000, 0), "x: fp32 [1000, 1000, 0] = []\n"},
	} {
		var b strings.Builder
		printTensor(&b, "x", c.t, 4)
		if got := b.String(); got != c.want {
			t.Errorf("%v: %d bytes %.100q, want %q", c.t.Shape(), len(got), got, c.want)
		}
	}
}
