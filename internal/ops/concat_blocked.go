package ops

import (
	"slices"

	"coreml/internal/graph"
)

// lump is a box of elements that belongs to one of the pieces of a blocked
// tensor as well as to the whole.
type lump struct {
	piece    int
	size     []int
	ps, ws   []int // strides in the piece and in the whole
	poff, wo int
}

// lumps relates a blocked tensor to its pieces along axis. Pieces of whole
// channel blocks are boxes of the memory as it is; others go by runs of lanes,
// in which case pads says that pad lanes have to be made zero.
func lumps(whole []int, pieces [][]int, axis, lanes int) (out []lump, pads bool) {
	ph := func(s []int) []int {
		return physical(graph.Operand{Type: graph.Type{Shape: s}, Form: graph.Blocked}, lanes)
	}
	ws := rowMajor(ph(whole))
	off := 0
	for i, p := range pieces {
		if axis == 1 && i < len(pieces)-1 && p[1]%lanes != 0 {
			return laneLumps(whole, pieces, lanes), true
		}
		size := ph(p)
		l := lump{piece: i, size: size, ps: rowMajor(size), ws: ws, wo: off * ws[axis]}
		if axis == 1 {
			l.wo = off / lanes * ws[1]
		}
		out = append(out, l)
		off += p[axis]
	}
	return out, false
}

func laneLumps(whole []int, pieces [][]int, lanes int) []lump {
	var out []lump
	n, sp := whole[0], volume(whole[2:])
	off := 0
	strides := func(c int) []int { return []int{ceilDiv(c, lanes) * sp * lanes, lanes, 1} }
	place := func(c int) int { return c/lanes*sp*lanes + c%lanes }
	for i, p := range pieces {
		for c := 0; c < p[1]; {
			k := min(lanes-c%lanes, lanes-(off+c)%lanes, p[1]-c)
			out = append(out, lump{piece: i, size: []int{n, sp, k}, ps: strides(p[1]), ws: strides(whole[1]), poff: place(c), wo: place(off + c)})
			c += k
		}
		off += p[1]
	}
	return out
}

// fitConcat takes blocked values when they are joined in order.
func fitConcat(c *graph.Call, f graph.Form) graph.Fit {
	out := c.Out[0].Type
	if f != graph.Blocked || !blockable(out) {
		return graph.Fit{}
	}
	if interleave, err := c.Bool(2); err != nil || interleave {
		return graph.Fit{}
	}
	fit := graph.Fit{Out: 1}
	for i := 0; i < c.N(0); i++ {
		at := c.At(0) + i
		if at >= 64 || c.In[at].Type.Elements() == 0 {
			return graph.Fit{}
		}
		fit.In |= 1 << at
	}
	return fit
}

func concatLumps(c *graph.Call) (out []lump, pads bool, err error) {
	axis, err := intAxis(c, 1, len(c.Out[0].Type.Shape))
	if err != nil {
		return nil, false, err
	}
	var pieces [][]int
	for _, o := range c.In[c.At(0):][:c.N(0)] {
		pieces = append(pieces, o.Type.Shape)
	}
	out, pads = lumps(c.Out[0].Type.Shape, pieces, axis, c.Lanes())
	return out, pads, nil
}

func prepareConcatBlocked(c *graph.Call) (graph.Step, error) {
	ls, pads, err := concatLumps(c)
	if err != nil {
		return graph.Step{}, err
	}
	var parts []part
	for _, l := range ls {
		parts = append(parts, part{in: c.At(0) + l.piece, move: newMove(4, l.size, l.ws, l.wo, l.ps, l.poff)})
	}
	s := partsStep("concat blocked", parts)
	if pads {
		s.Phases = append(clearPads(c), s.Phases...)
	}
	return s, nil
}

// clearPads zeroes the pad lanes of the outputs.
func clearPads(c *graph.Call) []graph.Phase {
	lanes := c.Lanes()
	var padded []int
	shapes := make([][]int, len(c.Out))
	for o, out := range c.Out {
		if shapes[o] = out.Type.Shape; shapes[o][1]%lanes != 0 {
			padded = append(padded, o)
		}
	}
	if padded == nil {
		return nil
	}
	return []graph.Phase{{Tasks: len(padded), Run: func(x *graph.Exec, task int) error {
		o := padded[task]
		clearPad(x.OutF32(o), shapes[o], lanes)
		return nil
	}}}
}

// clearPad zeroes the lanes of the last channel block that are no channels.
func clearPad(dst []float32, shape []int, lanes int) {
	used, sp := shape[1]%lanes, volume(shape[2:])
	blocks := ceilDiv(shape[1], lanes)
	for i := range shape[0] {
		last := dst[((i+1)*blocks-1)*sp*lanes:][:sp*lanes]
		for p := used; p < len(last); p += lanes {
			clear(last[p : p+lanes-used])
		}
	}
}

// blockedPlace is where blocked value i stands in the result, if it is one run of it.
func blockedPlace(c *graph.Call, i int) (off int, dense bool) {
	ls, pads, err := concatLumps(c)
	if err != nil || pads {
		return 0, false
	}
	l := ls[i]
	m := newMove(4, l.size, l.ws, l.wo, l.ps, l.poff)
	return l.wo, m.dense()
}

// fitSplit takes and gives blocked tensors.
func fitSplit(c *graph.Call, f graph.Form) graph.Fit {
	if f != graph.Blocked || !blockable(c.Type(0)) || len(c.Out) > 64 {
		return graph.Fit{}
	}
	for _, o := range c.Out {
		if !blockable(o.Type) {
			return graph.Fit{}
		}
	}
	return graph.Fit{In: 1, Out: 1<<len(c.Out) - 1}
}

func splitLumps(c *graph.Call) (out []lump, pads bool, err error) {
	axis, _, err := splitSizes(c)
	if err != nil {
		return nil, false, err
	}
	var pieces [][]int
	for _, o := range c.Out {
		pieces = append(pieces, o.Type.Shape)
	}
	out, pads = lumps(c.Shape(0), pieces, axis, c.Lanes())
	return out, pads, nil
}

func prepareSplitBlocked(c *graph.Call) (graph.Step, error) {
	ls, pads, err := splitLumps(c)
	if err != nil {
		return graph.Step{}, err
	}
	var parts []part
	for _, l := range ls {
		parts = append(parts, part{out: l.piece, move: newMove(4, l.size, l.ps, l.poff, l.ws, l.wo)})
	}
	s := partsStep("split blocked", parts)
	s.NoOp = !pads && !slices.ContainsFunc(parts, func(p part) bool { return !p.dense() })
	if pads {
		s.Phases = append(clearPads(c), s.Phases...)
	}
	return s, nil
}

func aliasSplitBlocked(c *graph.Call) []graph.Alias {
	ls, pads, err := splitLumps(c)
	if err != nil || pads {
		return nil
	}
	var out []graph.Alias
	for _, l := range ls {
		if m := newMove(4, l.size, l.ps, l.poff, l.ws, l.wo); m.dense() && c.Out[l.piece].Form == graph.Blocked {
			out = append(out, graph.Alias{Kind: graph.View, Out: l.piece, Off: l.wo})
		}
	}
	return out
}
