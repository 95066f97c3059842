package ops

import (
	"slices"
	"testing"

	"coreml/internal/graph"
	"coreml/internal/kernel/cpu"
	"coreml/internal/kernel/vec"
	"coreml/tensor"
)

// blockedOf is a tensor's memory in the blocked form.
func blockedOf(k *graph.Const, lanes int) []byte {
	s := k.Type.Shape
	sp := volume(s[2:])
	out := graph.Aligned(graph.Bytes(k.Type, graph.Blocked, lanes))
	per := ceilDiv(s[1], lanes) * sp * lanes
	for i := range s[0] {
		vec.For(cpu.Generic).ToBlocked(tensor.View[float32](out)[i*per:][:per], k.Floats()[i*s[1]*sp:][:s[1]*sp], s[1], sp, lanes)
	}
	return out
}

func TestSplitOfBlockedMemory(t *testing.T) {
	for _, tt := range []struct {
		shape []int
		axis  int
		sizes []int
	}{
		{[]int{2, 48, 3, 5}, 1, []int{16, 32}},
		{[]int{2, 33, 3, 5}, 1, []int{16, 17}},
		{[]int{2, 24, 3, 5}, 1, []int{5, 16, 3}},
		{[]int{2, 17, 6}, 2, []int{2, 4}},
		{[]int{3, 17, 6}, 0, []int{2, 1}},
	} {
		x := wave(tt.shape, 0.37)
		a := args{"x": live{x}, "split_sizes": vector(tt.sizes...), "axis": single(tt.axis)}
		want := runOp(t, "split", a, len(tt.sizes))
		fn, _ := oneNode(Find("split", graph.IOS15), a, len(tt.sizes))
		n := fn.Body.Nodes[0]
		for _, level := range cpu.Levels() {
			c := graph.NewCall(n, level, func(v *graph.Value) graph.Operand { return graph.Operand{Value: v, Type: v.Type, Const: v.Const} })
			types, err := c.Op.Infer(c)
			if err != nil {
				t.Fatal(err)
			}
			slots := make([]graph.Slot, fn.Values)
			exec := &graph.Exec{Node: n, Slots: slots}
			for i := range c.In {
				exec.In = append(exec.In, int32(c.In[i].Value.ID))
			}
			slots[c.In[0].Value.ID].Data = blockedOf(x, c.Lanes())
			c.In[0].Form = graph.Blocked
			for i, typ := range types {
				c.Out[i].Type, c.Out[i].Form = typ, graph.Blocked
				exec.Out = append(exec.Out, int32(c.Out[i].Value.ID))
				d := graph.Aligned(graph.Bytes(typ, graph.Blocked, c.Lanes()))
				fill(d, 0xff)
				slots[c.Out[i].Value.ID].Data = d
			}
			step, err := c.Op.Prepare(c)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range step.Phases {
				for task := range p.Tasks {
					if err := p.Run(exec, task); err != nil {
						t.Fatal(err)
					}
				}
			}
			for i, typ := range types {
				plain := &graph.Const{Type: typ, Data: want[i].Data, Held: true}
				if !slices.Equal(exec.OutBytes(i), blockedOf(plain, c.Lanes())) {
					t.Errorf("%v %v on axis %d, part %d at %v: wrong", tt.shape, tt.sizes, tt.axis, i, level)
				}
			}
		}
	}
}
