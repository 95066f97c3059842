package passes

import (
	"slices"

	"coreml/internal/graph"
	"coreml/internal/ops"
)

// factor is a part of a dimension: size elements along dimension src of the
// tensor that a chain of movements began with, or as many repetitions.
type factor struct {
	size int // -1: not known before the run
	src  int // repeated: the same elements again
}

const repeated = -1

// layout says which element of the beginning each element of a tensor is: the
// factors of every dimension, outermost first, without those of size 1.
type layout [][]factor

// shareHeads takes the repetition of heads out of attention: where key and value
// are tensors of fewer heads whose heads have been repeated for groups of the
// query's, the attention reads the fewer heads themselves.
func shareHeads(n *graph.Node) *graph.Node {
	if n.Op.Name != "scaled_dot_product_attention" || len(n.Args[1]) != 1 || len(n.Args[2]) != 1 {
		return nil
	}
	key, kg := fewerHeads(n.Args[1][0])
	value, vg := fewerHeads(n.Args[2][0])
	if kg < 2 || kg != vg {
		return nil
	}
	out := *n
	out.Op = ops.GroupedAttention
	out.Args = slices.Clone(n.Args)
	out.Args[1], out.Args[2] = []*graph.Value{key}, []*graph.Value{value}
	return &out
}

// fewerHeads follows v [B, H, T, E] back through movements to a tensor
// [B, H/group, T, E] of which every head is repeated group times in a row; group 0: there is none.
func fewerHeads(v *graph.Value) (base *graph.Value, group int) {
	var chain []*graph.Node
	for n := v.Def; n != nil && len(chain) < 16; n = n.Args[0][0].Def {
		if !movement(n) {
			break
		}
		chain = append(chain, n)
		from := n.Args[0][0]
		if len(from.Type.Shape) != 4 {
			continue
		}
		l := begin(from.Type.Shape)
		for i := len(chain) - 1; i >= 0 && l != nil; i-- {
			l = l.apply(chain[i])
		}
		if g := l.group(from.Type.Shape); g > 1 {
			base, group = from, g
		}
	}
	return base, group
}

func movement(n *graph.Node) bool {
	switch n.Op.Name {
	case "transpose", "reshape", "tile", "expand_dims", "squeeze", "identity":
		return len(n.Args[0]) == 1
	}
	return false
}

func begin(shape []int) layout {
	l := make(layout, len(shape))
	for i, d := range shape {
		if d != 1 {
			l[i] = []factor{{d, i}}
		}
	}
	return l
}

// apply follows one movement; nil if it cannot be followed.
func (l layout) apply(n *graph.Node) layout {
	var arg []int
	if len(n.Args) > 1 && len(n.Args[1]) == 1 {
		k := n.Args[1][0].Const
		if k == nil {
			return nil
		}
		v, err := k.Ints()
		if err != nil {
			return nil
		}
		arg = v
	}
	switch n.Op.Name {
	case "identity":
		return l
	case "transpose":
		return l.transpose(arg)
	case "tile":
		return l.tile(arg)
	}
	return l.reshape(n.Out[0].Type.Shape)
}

func (l layout) transpose(perm []int) layout {
	if len(perm) != len(l) {
		return nil
	}
	out := make(layout, len(l))
	for i, p := range perm {
		if p < 0 {
			p += len(l)
		}
		if p < 0 || p >= len(l) {
			return nil
		}
		out[i] = l[p]
	}
	return out
}

func (l layout) tile(reps []int) layout {
	if len(reps) != len(l) {
		return nil
	}
	out := slices.Clone(l)
	for i, r := range reps {
		if r < 1 {
			return nil
		}
		if r > 1 {
			out[i] = append([]factor{{r, repeated}}, l[i]...)
		}
	}
	return out
}

// reshape gives the factors in order to the dimensions of the declared shape. A
// dimension that is not known takes exactly one factor that is not known.
func (l layout) reshape(shape []int) layout {
	rest := slices.Concat(l...)
	out := make(layout, len(shape))
	for i, want := range shape {
		if want < 0 {
			if len(rest) == 0 || rest[0].size >= 0 {
				return nil
			}
			out[i], rest = rest[:1:1], rest[1:]
			continue
		}
		have, n := 1, 0
		for have < want && n < len(rest) && rest[n].size > 0 {
			have *= rest[n].size
			n++
		}
		if have != want {
			return nil
		}
		out[i], rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return nil
	}
	return out
}

// group is how often each head of [B, H, T, E] is repeated in l, if that is all that l does; otherwise 0.
func (l layout) group(shape []int) int {
	if len(l) != 4 || len(l[1]) == 0 {
		return 0
	}
	last := l[1][len(l[1])-1]
	plain := begin(shape)
	rest := slices.Clone(l)
	rest[1] = l[1][:len(l[1])-1]
	if last.src != repeated || !slices.EqualFunc(rest, plain, slices.Equal[[]factor]) {
		return 0
	}
	return last.size
}
