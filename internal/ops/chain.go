package ops

import (
	"coreml/internal/graph"
)

// chain is a sequence of elementwise operators that runs on a step's result
// piece by piece: its own operator's Post, or an elementwise call with its Post.
type chain struct {
	links []link
	pad   padding
}

// link is one elementwise operator of a chain.
type link struct {
	elem  graph.Elem
	other int // index among the host call's operands; -1: unary, or number
	// number is the other operand when it is one known number.
	number  float32
	numeric bool
	first   bool // the running value is the first operand
	pack    *graph.Packed
	walk    walk
}

// padding describes the pad lanes of a blocked result that have to be made zero again.
type padding struct {
	on               bool
	lanes, used, per int // lanes of a block; used ones in the last block; elements of one channel block
	blocks           int
}

// newChain binds the Post calls of c. A kernel runs it on each piece of its
// result once the piece is complete.
func newChain(c *graph.Call) (*chain, error) {
	ch := &chain{}
	return ch, ch.addPost(c)
}

func (ch *chain) addPost(c *graph.Call) error {
	for _, p := range c.Post {
		e, err := p.Call.Op.Elem(p.Call)
		if err != nil {
			return err
		}
		if err := ch.add(c, e, p.Other, p.Chain == 0); err != nil {
			return err
		}
	}
	return nil
}

// add appends an operator whose other operand is c.In[other]; -1: a unary one.
func (ch *chain) add(c *graph.Call, e graph.Elem, other int, first bool) error {
	l := link{elem: e, other: other, first: first}
	out := c.Out[0]
	rank := len(out.Type.Shape)
	keeps, zero := e.Zero, []float32{0} // pad lanes stay zero
	if e.F1 != nil {
		e.F1(zero, zero) // asked, for a parameter may be infinite
		keeps = zero[0] == 0
	}
	if other >= 0 {
		o := c.In[other]
		if e.Channel {
			o.Type.Shape = channelShape(o.Type, rank)
		}
		switch {
		case o.Const != nil && o.Type.Elements() == 1:
			l.number, l.numeric = o.Const.Floats()[0], true
			l.scalar(zero, zero, l.number)
			keeps = zero[0] == 0
		case o.Const != nil && out.Form == graph.Blocked:
			o.Type.Shape = rankUp(o.Type.Shape, rank)
			l.pack = c.Pack(other, blockConst(o.Type.Shape, out.Type.Shape[1], c.Lanes()))
			o.Form = graph.Blocked
			keeps = keeps && o.Type.Shape[1] > 1
		case out.Form == graph.Blocked:
			keeps = keeps && o.Form == graph.Blocked
		}
		l.walk = newWalk(physical(out, c.Lanes()), physical(o, c.Lanes()))
	}
	if out.Form == graph.Blocked && !keeps {
		ch.pad = newPadding(out.Type.Shape, c.Lanes())
	}
	ch.links = append(ch.links, l)
	return nil
}

// channelShape lays a vector along dimension 1.
func channelShape(t graph.Type, rank int) []int {
	s := rankUp(nil, rank)
	if rank > 1 {
		s[1] = t.Elements()
	}
	return s
}

func newPadding(shape []int, lanes int) padding {
	c := shape[1]
	if c%lanes == 0 {
		return padding{}
	}
	p := padding{on: true, lanes: lanes, used: c % lanes, per: lanes, blocks: (c + lanes - 1) / lanes}
	for _, d := range shape[2:] {
		p.per *= d
	}
	return p
}

// empty reports that apply would do nothing.
func (ch *chain) empty() bool { return len(ch.links) == 0 }

// apply runs the chain on dst, a piece of the result that starts at element off
// of its memory.
func (ch *chain) apply(x *graph.Exec, dst []float32, off int) {
	for i := range ch.links {
		ch.links[i].apply(x, dst, dst, off)
	}
	if ch.pad.on {
		ch.pad.clear(dst, off)
	}
}

// clear zeroes the pad lanes in dst, which starts at element off of the tensor.
func (p *padding) clear(dst []float32, off int) {
	for at := 0; at < len(dst); {
		block := (off + at) / p.per
		end := min((block+1)*p.per-off, len(dst))
		if block%p.blocks == p.blocks-1 {
			for row := (off+at)/p.lanes*p.lanes - off; row < end; row += p.lanes {
				clear(dst[max(row+p.used, at):min(row+p.lanes, end)])
			}
		}
		at = end
	}
}

// apply computes dst = op(src, other) or op(other, src) for the piece at element off.
func (l *link) apply(x *graph.Exec, dst, src []float32, off int) {
	switch {
	case l.elem.F1 != nil:
		l.elem.F1(dst, src)
	case l.numeric:
		l.scalar(dst, src, l.number)
	default:
		var o []float32
		if l.pack != nil {
			o = l.pack.F32()
		} else {
			o = x.F32(l.other)
		}
		l.walk.each(x, len(dst), off, o,
			func(at, n int, v []float32) { l.vector(dst[at:at+n], src[at:at+n], v) },
			func(at, n int, v float32) { l.scalar(dst[at:at+n], src[at:at+n], v) })
	}
}

func (l *link) vector(dst, src, o []float32) {
	if l.first {
		l.elem.F2(dst, src, o)
	} else {
		l.elem.F2(dst, o, src)
	}
}

func (l *link) scalar(dst, src []float32, o float32) {
	if l.first {
		l.elem.F2S(dst, src, o)
	} else {
		l.elem.F2R(dst, o, src)
	}
}

// physical is the shape of an operand's memory.
func physical(o graph.Operand, lanes int) []int {
	s := o.Type.Shape
	if o.Form != graph.Blocked {
		return s
	}
	p := append([]int{s[0], (s[1] + lanes - 1) / lanes}, s[2:]...)
	return append(p, lanes)
}

func rankUp(s []int, rank int) []int {
	out := make([]int, rank)
	for i := range out {
		out[i] = 1
	}
	copy(out[rank-len(s):], s)
	return out
}

// blockConst brings a constant of the given shape into the blocked form of a result of c channels.
// One that is the same for all channels is repeated in the lanes of one block.
func blockConst(shape []int, c, lanes int) graph.Packing {
	n, have, sp := shape[0], shape[1], 1
	for _, d := range shape[2:] {
		sp *= d
	}
	blocks := (have + lanes - 1) / lanes
	return graph.Packing{
		Form:  "blocked" + itoa(lanes) + shapeKey(shape) + " of " + itoa(min(c, 2)),
		Size:  n * blocks * sp * lanes * 4,
		Items: 1,
		Do: func(dst []byte, src *graph.Const, _, _ int) {
			if have == 1 && c > 1 {
				for i, v := range src.Floats() {
					fill(f32(dst)[i*lanes:(i+1)*lanes], v)
				}
				return
			}
			toBlocked(f32(dst), src.Floats(), n, have, sp, lanes)
		},
	}
}
