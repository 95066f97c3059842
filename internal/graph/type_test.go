package graph

import (
	"testing"

	"coreml/tensor"
)

func TestTypesAreEqualInAllButBound(t *testing.T) {
	list := func(e *Type) Type { return Type{Kind: KindList, Elem: e} }
	one, same, other := TensorOf(tensor.Float32, 4), TensorOf(tensor.Float32, 4), TensorOf(tensor.Float32, 5)
	bound := one
	bound.Bound = true
	for _, c := range []struct {
		a, b Type
		want bool
	}{
		{one, same, true}, {one, bound, true}, {one, other, false}, {one, TensorOf(tensor.Int32, 4), false},
		{one, Type{DType: tensor.Float32, Shape: []int{4}, Kind: KindState}, false},
		{list(nil), list(nil), true}, {list(&one), list(&same), true}, {list(&one), list(&other), false},
		{list(nil), list(&one), false}, {list(&one), list(nil), false},
	} {
		if got := c.a.Equal(c.b); got != c.want {
			t.Errorf("%v and %v are equal: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}
