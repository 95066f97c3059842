package ops

import (
	"fmt"
	"slices"

	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/tensor"
)

// controlOps run the blocks of their node.
var controlOps = []*graph.Op{
	{
		Name: "cond", Doc: "The results of the first block if pred is true, else of the second.",
		Inputs: []graph.Input{graph.In("pred", graph.Bool)}, NoFold: true, Effect: true,
		Infer: inferCond, Prepare: prepareCond,
	},
	{
		Name: "while_loop", Doc: "loop_vars after the second block has been applied to them as long as the first one says true.",
		Inputs: []graph.Input{graph.Var("loop_vars", graph.Tensor|graph.String|graph.List)}, NoFold: true, Effect: true,
		Infer: inferWhile, Prepare: prepareWhile,
	},
}

// declared are the types that a node with blocks declares; sizes that the file leaves open are left to the run.
func declared(c *graph.Call) []graph.Type {
	out := make([]graph.Type, len(c.Out))
	for i, o := range c.Out {
		out[i] = o.Value.Type
		out[i].Bound = !out[i].Static()
	}
	return out
}

// compatible reports that a value of type t may stand where the file declares u.
func compatible(t, u graph.Type) bool {
	if t.Kind != u.Kind || t.Kind == graph.KindState {
		return false
	}
	if t.Kind != graph.KindTensor {
		return true
	}
	return t.DType == u.DType
}

// wantBlock checks a block of the node: the types of its inputs, and of its outputs.
func wantBlock(c *graph.Call, b int, in, out []graph.Type) error {
	block := c.Node.Blocks[b]
	if len(block.Inputs) != len(in) || len(block.Outputs) != len(out) {
		return fmt.Errorf("block %d: %d inputs and %d outputs, want %d and %d", b, len(block.Inputs), len(block.Outputs), len(in), len(out))
	}
	for i, v := range block.Inputs {
		if !compatible(in[i], v.Type) {
			return fmt.Errorf("block %d: input %s: %v, want %v", b, fault.Quote(v.Name), v.Type, in[i])
		}
	}
	for i, v := range block.Outputs {
		if !compatible(v.Type, out[i]) {
			return fmt.Errorf("block %d: output %s: %v, want %v", b, fault.Quote(v.Name), v.Type, out[i])
		}
	}
	return nil
}

func wantTwoBlocks(c *graph.Call) error {
	if n := len(c.Node.Blocks); n != 2 {
		return fmt.Errorf("%d blocks, want 2", n)
	}
	return nil
}

func inferCond(c *graph.Call) ([]graph.Type, error) {
	if err := wantTwoBlocks(c); err != nil {
		return nil, err
	}
	if err := wantOne(c, 0); err != nil {
		return nil, err
	}
	out := declared(c)
	for b := range c.Node.Blocks {
		if err := wantBlock(c, b, nil, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func prepareCond(c *graph.Call) (graph.Step, error) {
	types := declared(c)
	return graph.Serial("cond", func(x *graph.Exec) error {
		b := 1
		if x.Bytes(0)[0] != 0 {
			b = 0
		}
		out := make([]graph.Slot, len(types))
		for i := range out {
			out[i].Data = slices.Clip(x.OutBytes(i))
		}
		if err := x.Env.RunBlock(x, b, nil, out); err != nil {
			return err
		}
		return finish(x, types, out)
	}), nil
}

// finish hands out the results of a node, which have to be what it declares.
func finish(x *graph.Exec, types []graph.Type, out []graph.Slot) error {
	for i, t := range types {
		if err := holds(out[i], t); err != nil {
			return fmt.Errorf("output %d: %w", i, err)
		}
		give(x, i, t, out[i])
	}
	return nil
}

// give hands out one result. One of a known size has a place, inside which others may lie already.
func give(x *graph.Exec, o int, t graph.Type, s graph.Slot) {
	if t.Kind == graph.KindTensor && t.Static() && t.DType != tensor.String {
		copy(x.OutBytes(o), s.Data)
		return
	}
	x.Slots[x.Out[o]] = s
}

// holds checks that memory holds a tensor of a declared type.
func holds(s graph.Slot, t graph.Type) error {
	if t.Kind != graph.KindTensor || t.DType == tensor.String {
		return nil
	}
	ok := len(s.Shape) == len(t.Shape) && len(s.Data) == volume(s.Shape)*graph.StoreSize(t.DType)
	for i := 0; ok && i < len(t.Shape); i++ {
		ok = t.Shape[i] < 0 || t.Shape[i] == s.Shape[i]
	}
	if !ok {
		return fmt.Errorf("shape %v in %d bytes, want %v", s.Shape, len(s.Data), t)
	}
	return nil
}

func inferWhile(c *graph.Call) ([]graph.Type, error) {
	if err := wantTwoBlocks(c); err != nil {
		return nil, err
	}
	in := make([]graph.Type, len(c.In))
	for i, o := range c.In {
		in[i] = o.Type
	}
	out := declared(c)
	if len(in) != len(out) {
		return nil, c.Errorf(0, "%d values, but the operation has %d outputs", len(in), len(out))
	}
	for i := range in {
		if !compatible(in[i], out[i]) {
			return nil, c.Errorf(0, "value %d: %v, want %v", i, in[i], out[i])
		}
	}
	if err := wantBlock(c, 0, in, []graph.Type{graph.TensorOf(tensor.Bool)}); err != nil {
		return nil, err
	}
	return out, wantBlock(c, 1, in, out)
}

// prepareWhile lets the loop variables alternate between two sets of memory,
// which grow to what the body needs and are then reused.
func prepareWhile(c *graph.Call) (graph.Step, error) {
	types := declared(c)
	inputs := make([]graph.Type, len(types))
	for i, v := range c.Node.Blocks[1].Inputs {
		inputs[i] = v.Type
	}
	return graph.Serial("while_loop", func(x *graph.Exec) error {
		n := len(types)
		var sets [2][]graph.Slot
		sets[0], sets[1] = make([]graph.Slot, n), make([]graph.Slot, n)
		vars := make([]graph.Slot, n)
		for i := range vars {
			vars[i] = x.Slots[x.In[i]]
		}
		more := make([]graph.Slot, 1)
		for trip := 0; ; trip++ {
			if err := x.Env.Context().Err(); err != nil {
				return err
			}
			for i, t := range inputs {
				if err := holds(vars[i], t); err != nil {
					return fmt.Errorf("loop variable %d, trip %d: %w", i, trip, err)
				}
			}
			if err := x.Env.RunBlock(x, 0, vars, more); err != nil {
				return err
			}
			if len(more[0].Data) != 1 {
				return fmt.Errorf("block 0: a condition of %d values, want 1", len(more[0].Data))
			}
			if more[0].Data[0] == 0 {
				return leave(x, types, vars, trip > 0)
			}
			next := sets[trip%2]
			if err := x.Env.RunBlock(x, 1, vars, next); err != nil {
				return err
			}
			vars = next
		}
	}), nil
}

// leave hands out the loop variables. Before the first trip they are the operands, which are copied.
func leave(x *graph.Exec, types []graph.Type, vars []graph.Slot, own bool) error {
	out := slices.Clone(vars)
	for i := range out {
		if !own {
			out[i].Data = append(slices.Clip(x.OutBytes(i))[:0], out[i].Data...)
		}
	}
	return finish(x, types, out)
}
