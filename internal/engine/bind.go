package engine

import (
	"fmt"

	"coreml/internal/fault"
	"coreml/internal/graph"
)

// bind points the slots at memory. What the layout says holds from the call before
// if that had the same layout, in the same memory, and moved no other slots.
func (r *run) bind(seg *segment) error {
	top := r.stack.mark() == mark{}
	if seg.scratch[0] > r.room[0] || seg.scratch[1] > r.room[1] {
		if err := r.makeRoom(seg.scratch); err != nil {
			return err
		}
	}
	frame, err := r.push(seg.frame)
	if err != nil {
		return err
	}
	holds := top && r.bound != nil && r.bound.layout == seg.layout && r.bound.age <= seg.age &&
		len(frame) == len(r.frame) && (len(frame) == 0 || &frame[0] == &r.frame[0])
	if !holds {
		for i := range seg.fixed {
			if err := r.place(&seg.fixed[i], frame); err != nil {
				return err
			}
		}
		if err := r.bring(seg.consts); err != nil {
			return err
		}
	}
	if top && len(seg.dynamic) == 0 {
		r.bound, r.frame = seg, frame
	} else {
		r.bound, r.frame = nil, nil
	}
	for _, l := range [][]place{seg.linked, seg.moved} {
		for i := range l {
			if err := r.place(&l[i], frame); err != nil {
				return err
			}
		}
	}
	return r.bring(seg.renewed)
}

// place points one slot into the frame, or into another slot's memory.
func (r *run) place(p *place, frame []byte) error {
	if p.base >= 0 {
		frame = r.slots[p.base].Data
	}
	if p.off+p.size > len(frame) {
		return fmt.Errorf("%w: BUG: %d bytes at %d leave memory of %d", fault.Runtime, p.size, p.off, len(frame))
	}
	r.slots[p.slot] = graph.Slot{Data: frame[p.off : p.off+p.size : p.off+p.size], Shape: p.shape}
	return nil
}

// bring puts constants into their slots.
func (r *run) bring(ks []constant) error {
	for i := range ks {
		k := &ks[i]
		s := graph.Slot{Data: k.value.Data, Shape: k.value.Type.Shape}
		switch {
		case k.plain != nil:
			if err := r.pack(k.plain); err != nil {
				return err
			}
			s.Data = k.plain.Data
		case k.value.Strings != nil:
			s.Obj = k.value.Strings
		}
		r.slots[k.slot] = s
	}
	return nil
}

// forget drops what belongs to the caller.
func (r *run) forget() {
	r.ctx, r.profile, r.grown = nil, nil, 0
	r.empty(r.prog.fn.Body.Inputs)
	r.leave(0)
	r.stack.release(mark{})
}

// leave drops what segments hold that is not in the run's frames, from one of ran on: views
// of inputs and states, lists and dictionaries, and what steps have allocated.
func (r *run) leave(from int) {
	for _, seg := range r.ran[from:] {
		for i := range seg.linked {
			r.slots[seg.linked[i].slot] = graph.Slot{}
		}
		for _, s := range seg.objects {
			r.slots[s].Obj = nil
		}
		r.empty(seg.dynamic)
	}
	clear(r.ran[from:])
	r.ran = r.ran[:from]
}

// empty clears the slots of values as they are given from outside.
func (r *run) empty(l []*graph.Value) {
	for _, v := range l {
		f := graph.Plain
		if v.Type.Kind == graph.KindState {
			f = stateForm(v.Type)
		}
		r.slots[slotOf(v, f)] = graph.Slot{}
	}
}
