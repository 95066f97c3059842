package engine

import (
	"fmt"

	"coreml/internal/eval"
	"coreml/internal/fault"
	"coreml/internal/graph"
	"coreml/tensor"
)

// inferred is what Infer and folding say about a call.
type inferred struct {
	types  []graph.Type
	consts []*graph.Const
	bound  bool
}

// foldBytes is the largest value that is folded.
const foldBytes = 64 << 10

// inferCall runs Infer, checks what it says, and folds the call if it can.
func inferCall(c *graph.Call) (inferred, error) {
	var r inferred
	if c.Op.Expand != nil {
		ks, err := c.Op.Expand(c)
		for _, k := range ks {
			r.types = append(r.types, k.Type)
		}
		r.consts = ks
		return r, err
	}
	types, err := c.Infer()
	if err != nil {
		return r, err
	}
	if len(types) != len(c.Out) {
		return r, fmt.Errorf("%d outputs: %w: want %d", len(c.Out), fault.Invalid, len(types))
	}
	size := 0
	for _, t := range types {
		if t.Bound {
			r.bound = true
		}
		if t.Kind != graph.KindTensor || !t.Static() {
			continue
		}
		if _, ok := tensor.Elements(t.Shape); !ok {
			return r, fmt.Errorf("result of shape %v: %w", t.Shape, fault.Limit)
		}
		size += graph.Bytes(t, graph.Plain, 1)
	}
	r.types = types
	if !foldable(c) || size > foldBytes || r.bound && size == 0 {
		return r, nil
	}
	derived := derives(c)
	if derived && !shapeLike(types) {
		return r, nil
	}
	r.consts, err = eval.Fold(c, types)
	for i, k := range r.consts {
		k.Derived = derived
		r.types[i] = k.Type
	}
	r.bound = r.bound && r.consts == nil
	return r, err
}

// foldable reports whether the call's value is known before the run.
func foldable(c *graph.Call) bool {
	if c.Op.FromType {
		return true
	}
	if c.Op.Effect || c.Op.NoFold || len(c.Node.Blocks) > 0 {
		return false
	}
	for _, o := range c.In {
		if o.Const == nil || o.Const.Code != nil {
			return false
		}
	}
	for _, v := range c.Out {
		if v.Value.Type.Kind != graph.KindTensor || v.Value.Type.DType == tensor.String {
			return false
		}
	}
	return true
}

// derives reports whether the call's value may differ from plan to plan.
func derives(c *graph.Call) bool {
	if c.Op.FromType {
		return true
	}
	for _, o := range c.In {
		if o.Const.Derived {
			return true
		}
	}
	return false
}

// shapeLike reports whether results are what shapes are computed with: integers
// and a few numbers. Anything else that follows from shapes (a slice of a table
// of positions) is left to the run: folded, it would change what sees it with every length.
func shapeLike(types []graph.Type) bool {
	const few = 16
	for _, t := range types {
		if t.DType.IsFloat() && t.Elements() > few {
			return false
		}
	}
	return true
}

// infer is inferCall, except that what is the same for all plans is expanded or folded
// once: packed weights are found by the constant that they were made of.
func (p *program) infer(c *graph.Call) (inferred, error) {
	if c.Op.Expand == nil && (!foldable(c) || derives(c)) {
		return inferCall(c)
	}
	p.mu.Lock()
	r, ok := p.folded[c.Node]
	p.mu.Unlock()
	if ok {
		return r, nil
	}
	r, err := inferCall(c)
	if err != nil {
		return r, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.folded[c.Node]; ok {
		return first, nil
	}
	size := int64(0)
	for _, k := range r.consts {
		size += int64(len(k.Data))
	}
	if c.Op.Expand == nil {
		if err := p.share(size, 0); err != nil {
			return r, err
		}
	}
	p.folded[c.Node] = r
	return r, nil
}
