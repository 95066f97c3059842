package ops

import (
	"unsafe"

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

func newEpilogue(c *graph.Call) (*epilogue, error) { return splitPost(c, (*epilogue).take) }

// newLateEpilogue leaves everything to rest.
func newLateEpilogue(c *graph.Call) (*epilogue, error) {
	return splitPost(c, func(*epilogue, *graph.Call, graph.Elem, int) bool { return false })
}

// splitPost gives the kernel the operators at the beginning that take accepts.
func splitPost(c *graph.Call, take func(*epilogue, *graph.Call, graph.Elem, int) bool) (*epilogue, error) {
	e := &epilogue{add: -1, rest: &chain{}}
	taking := true
	for _, p := range c.Post {
		f, err := p.Call.Op.Elem(p.Call)
		if err != nil {
			return nil, err
		}
		if taking = taking && take(e, c, f, p.Other); taking {
			continue
		}
		if err := e.rest.add(c, f, p.Other, p.Chain == 0); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// take makes f part of what the kernel does, if it can: a residual, then a limit.
func (e *epilogue) take(c *graph.Call, f graph.Elem, other int) bool {
	out := c.Out[0]
	switch f.Kind {
	case "add":
		if e.add >= 0 || e.flags != 0 || other < 0 {
			return false
		}
		o := c.In[other]
		if o.Const != nil || o.Form != out.Form || !tensor.EqualShape(o.Type.Shape, out.Type.Shape) {
			return false
		}
		e.add = other
		return true
	case "relu", "clip":
		if e.flags != 0 || out.Form == graph.Blocked && !f.Zero {
			return false
		}
		e.flags = gemm.AtLeast
		if f.Kind == "clip" {
			e.lo, e.hi, e.flags = f.Lo, f.Hi, gemm.AtLeast|gemm.AtMost
		}
		return true
	}
	return false
}

// limits are the flags and limits for the kernel's arguments, gemm's or dw's.
func (e *epilogue) limits() (flags int, lo, hi float32) { return e.flags, e.lo, e.hi }

// residual is the address of what is added to the result that starts at element off.
func (e *epilogue) residual(x *graph.Exec, off int) unsafe.Pointer {
	if e.add < 0 {
		return nil
	}
	return address(x.F32(e.add), off)
}
