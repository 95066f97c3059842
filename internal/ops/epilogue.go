package ops

import (
	"coreml/internal/graph"
	"coreml/internal/kernel/gemm"
	"coreml/tensor"
)

// epilogue is the Post of a call that computes with the dense kernels: what they do in
// registers, a residual and then a limit, and the rest, which runs on their results in cache.
type epilogue struct {
	add    int // operand of the residual; -1: none
	flags  int
	lo, hi float32
	rest   *chain
}

func newEpilogue(c *graph.Call) (*epilogue, error) {
	e := &epilogue{add: -1, rest: &chain{}}
	taken := 0
	for _, p := range c.Post {
		f, err := p.Call.Op.Elem(p.Call)
		if err != nil {
			return nil, err
		}
		if taken < 2 && e.take(c, f, p.Other, taken == 0) {
			if f.Kind == "add" {
				taken = 1
			} else {
				taken = 2
			}
			continue
		}
		taken = 2
		if err := e.rest.add(c, f, p.Other, p.Chain == 0); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// take makes f part of what the kernel does, if it can; a residual has to be the first operator.
func (e *epilogue) take(c *graph.Call, f graph.Elem, other int, first bool) bool {
	out := c.Out[0]
	switch f.Kind {
	case "add":
		if !first || other < 0 {
			return false
		}
		o := c.In[other]
		if o.Const != nil || o.Form != out.Form || !tensor.EqualShape(o.Type.Shape, out.Type.Shape) {
			return false
		}
		e.add = other
		return true
	case "relu", "clip":
		if out.Form == graph.Blocked && !f.Zero {
			return false
		}
		e.lo, e.flags = 0, gemm.AtLeast
		if f.Kind == "clip" {
			e.lo, e.hi, e.flags = f.Lo, f.Hi, gemm.AtLeast|gemm.AtMost
		}
		return true
	}
	return false
}

// set gives the kernel its part for a result that starts at element off.
func (e *epilogue) set(x *graph.Exec, a *gemm.Args, off int) {
	a.Flags, a.Lo, a.Hi = a.Flags|e.flags, e.lo, e.hi
	if e.add >= 0 {
		a.Add = address(x.F32(e.add), off)
	}
}
