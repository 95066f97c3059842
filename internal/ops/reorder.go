package ops

import (
	"fmt"

	"coreml/internal/graph"
	"coreml/internal/kernel/vec"
)

// Reorder brings a value from one form into another. The engine adds it to its
// plans; it has no opset and can never come from, or go to, a file.
var Reorder = &graph.Op{
	Name: "reorder", Doc: "Changes the form in which memory holds a tensor.",
	Inputs:  []graph.Input{graph.In("x", graph.Tensor)},
	Infer:   sameAsX,
	Prepare: prepareReorder,
}

func prepareReorder(c *graph.Call) (graph.Step, error) {
	from, to := c.In[0].Form, c.Out[0].Form
	name := fmt.Sprintf("reorder %v to %v", from, to)
	k := vec.For(c.Level)
	s := c.In[0].Type.Shape
	n := c.In[0].Type.Elements()
	switch {
	case from == graph.Half && to == graph.Plain:
		return graph.Parallel(name, (n+taskElems-1)/taskElems, func(x *graph.Exec, t int) error {
			lo, hi := t*taskElems, min((t+1)*taskElems, n)
			k.FromF16(x.OutF32(0)[lo:hi], x.U16(0)[lo:hi])
			return nil
		}), nil
	case from == graph.Plain && to == graph.Half:
		return graph.Parallel(name, (n+taskElems-1)/taskElems, func(x *graph.Exec, t int) error {
			lo, hi := t*taskElems, min((t+1)*taskElems, n)
			k.ToF16(x.OutU16(0)[lo:hi], x.F32(0)[lo:hi])
			return nil
		}), nil
	}
	// Tasks of some blocks of channels each.
	b, ch, sp := c.Lanes(), s[1], 1
	for _, d := range s[2:] {
		sp *= d
	}
	blocks := (ch + b - 1) / b
	all, per := s[0]*blocks, max(1, taskElems/max(1, sp*b))
	return graph.Parallel(name, ceilDiv(all, per), func(x *graph.Exec, task int) error {
		for t := task * per; t < min((task+1)*per, all); t++ {
			i, cb := t/blocks, t%blocks
			used := min(b, ch-cb*b)
			plain := (i*ch + cb*b) * sp
			if to == graph.Blocked {
				k.ToBlocked(x.OutF32(0)[t*sp*b:(t+1)*sp*b], x.F32(0)[plain:plain+used*sp], used, sp, b)
			} else {
				k.FromBlocked(x.OutF32(0)[plain:plain+used*sp], x.F32(0)[t*sp*b:(t+1)*sp*b], used, sp, b)
			}
		}
		return nil
	}), nil
}
