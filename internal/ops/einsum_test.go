package ops

import (
	"math/rand/v2"
	"strings"
	"testing"

	"coreml/internal/graph"
)

// TestEinsum compares with the definition: a sum over all indices.
func TestEinsum(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		equation string
		a, b     []int
	}{
		{"nchw,nwhu->nchu", []int{2, 3, 4, 5}, []int{2, 5, 4, 6}},
		{"nchw,nwhu->nchu", []int{1, 3, 4, 5}, []int{2, 5, 1, 6}},
		{"vnm,mno->vno", []int{3, 4, 5}, []int{5, 4, 19}},
		{"vnm,mno->vno", []int{3, 1, 5}, []int{5, 4, 1}},
		{"ij,jk->ik", []int{7, 3}, []int{3, 20}},
		{"ij,kj->ki", []int{7, 3}, []int{4, 3}},
		{"abi,ci->cab", []int{2, 3, 4}, []int{5, 4}},
		{"ab,cd->abcd", []int{2, 3}, []int{4, 5}},
		{"ij,ij->ij", []int{2, 3}, []int{2, 3}},
		{"i,i->", []int{6}, []int{6}},
		{"ij,jk->ik", []int{2, 0}, []int{0, 3}},
	} {
		a, b := randomFloats(r, c.a), randomFloats(r, c.b)
		got := runOp(t, "einsum", args{"values": []any{live{a}, live{b}}, "equation": stringOf(c.equation)}, 1)[0]
		shape, want := einsumByIndices(c.equation, a, b)
		near(t, got, shape, want, 1e-5)
	}
	thin := []any{live{floatsOf([]int{2, 2}, 1, 2, 3, 4)}, live{floatsOf([]int{1, 2}, 1, 2)}}
	if _, err := tryOp("einsum", graph.IOS15, args{"values": thin, "equation": stringOf("ij,jk->ik")}, 1); err == nil {
		t.Error("a sum over indices of sizes 2 and 1 is accepted")
	}
	two := []any{live{floatsOf([]int{2, 2}, 1, 2, 3, 4)}, live{floatsOf([]int{2, 2}, 1, 2, 3, 4)}}
	for _, bad := range []string{"", "ij,jk", "ij->ij", "ijk,kl->ijl", "ii,ij->j", "ij,jk->il", "i1,1k->ik", "ij,kl->k", "ij,jk->i"} {
		if _, err := tryOp("einsum", graph.IOS15, args{"values": two, "equation": stringOf(bad)}, 1); err == nil {
			t.Errorf("equation %q is accepted", bad)
		}
	}
}

func randomFloats(r *rand.Rand, shape []int) *graph.Const {
	v := make([]float32, graph.TensorOf(0, shape...).Elements())
	for i := range v {
		v[i] = r.Float32()*2 - 1
	}
	return floatsOf(shape, v...)
}

// einsumByIndices adds up the products for every value of every index.
func einsumByIndices(equation string, a, b *graph.Const) (shape []int, sum []float32) {
	ins, out, _ := strings.Cut(equation, "->")
	first, second, _ := strings.Cut(ins, ",")
	var names []byte
	var sizes []int
	note := func(s string, k *graph.Const) {
		for d, n := range k.Type.Shape {
			if i := strings.IndexByte(string(names), s[d]); i >= 0 {
				sizes[i] = max(sizes[i], n)
				if n == 0 {
					sizes[i] = 0
				}
				continue
			}
			names, sizes = append(names, s[d]), append(sizes, n)
		}
	}
	note(first, a)
	note(second, b)
	total := 1
	for _, n := range sizes {
		total *= n
	}
	n := 1
	for i := range len(out) {
		shape = append(shape, sizes[strings.IndexByte(string(names), out[i])])
		n *= shape[i]
	}
	sum = make([]float32, n)
	x, y := a.Floats(), b.Floats()
	place := make([]int, len(names))
	at := func(s string, shape []int) int {
		p := 0
		for d, n := range shape {
			v := place[strings.IndexByte(string(names), s[d])]
			p = p*n + min(v, n-1)
		}
		return p
	}
	for i := range total {
		for d, rest := len(sizes)-1, i; d >= 0; d-- {
			place[d] = rest % sizes[d]
			rest /= sizes[d]
		}
		sum[at(out, shape)] += x[at(first, a.Type.Shape)] * y[at(second, b.Type.Shape)]
	}
	return shape, sum
}
