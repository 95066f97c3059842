package passes

import (
	"testing"

	"coreml/internal/graph"
	"coreml/internal/ops"
	"coreml/tensor"
)

// chain builds movements on x, each with a constant argument and the shape of its result.
type movementStep struct {
	op    string
	arg   []int
	shape []int
}

func repeatedHeads(base []int, steps []movementStep) *graph.Value {
	v := &graph.Value{Name: "x", Type: graph.TensorOf(tensor.Float16, base...)}
	for _, s := range steps {
		n := &graph.Node{Op: ops.Find(s.op, graph.IOS18), Args: [][]*graph.Value{{v}, {{Const: graph.IntsConst(s.arg...)}}}}
		v = &graph.Value{Name: s.op, Type: graph.TensorOf(tensor.Float16, s.shape...), Def: n}
		n.Out = []*graph.Value{v}
	}
	return v
}

func TestFewerHeads(t *testing.T) {
	base := []int{1, 4, -1, 64}
	byInterleave := []movementStep{
		{"transpose", []int{1, 0, 2, 3}, []int{4, 1, -1, 64}},
		{"tile", []int{4, 1, 1, 1}, []int{16, 1, -1, 64}},
		{"reshape", []int{4, 4, 1, -1, 64}, []int{4, 4, 1, -1, 64}},
		{"transpose", []int{1, 0, 2, 3, 4}, []int{4, 4, 1, -1, 64}},
		{"reshape", []int{16, 1, -1, 64}, []int{16, 1, -1, 64}},
		{"transpose", []int{1, 0, 2, 3}, []int{1, 16, -1, 64}},
	}
	byExpand := []movementStep{
		{"expand_dims", []int{2}, []int{1, 4, 1, -1, 64}},
		{"tile", []int{1, 1, 4, 1, 1}, []int{1, 4, 4, -1, 64}},
		{"reshape", []int{1, 16, -1, 64}, []int{1, 16, -1, 64}},
	}
	// Heads repeated as a whole, 0 1 2 3 0 1 2 3 …, are not shared by neighbours.
	byTile := []movementStep{{"tile", []int{1, 4, 1, 1}, []int{1, 16, -1, 64}}}
	for _, c := range []struct {
		name  string
		steps []movementStep
		group int
	}{
		{"interleave", byInterleave, 4},
		{"expand", byExpand, 4},
		{"tile", byTile, 0},
		{"interleave without the last transpose", byInterleave[:5], 0},
		{"nothing", nil, 0},
		{"too few dimensions known", append(byExpand[:2:2], movementStep{"reshape", nil, []int{1, -1, -1, 64}}), 0},
	} {
		v := repeatedHeads(base, c.steps)
		from, group := fewerHeads(v)
		if group != c.group {
			t.Errorf("%s: group %d, want %d", c.name, group, c.group)
		}
		if group > 1 && from.Name != "x" {
			t.Errorf("%s: begins at %s, want x", c.name, from.Name)
		}
	}
}
