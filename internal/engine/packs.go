package engine

import (
	"unsafe"

	"coreml/internal/graph"
	"coreml/tensor"
)

// packKey identifies packed bytes: where the constant is, and the form.
type packKey struct {
	at   unsafe.Pointer
	len  int
	form string
}

// weight is a constant in one form.
type weight struct {
	graph.Packed
	counted bool // in program.held; guarded by its lock
}

// asker is the graph.PackStore of one planner. It notes weights that are not counted yet.
type asker struct {
	*program
	fresh []*weight
}

// Get implements graph.PackStore.
func (a *asker) Get(c *graph.Call, in int, pk graph.Packing) *graph.Packed {
	return a.packed(c.In[in].Const, pk)
}

// packed is the one place of a constant in a form. What differs from plan to plan
// has few elements, and goes with its plan.
func (a *asker) packed(k *graph.Const, pk graph.Packing) *graph.Packed {
	if k.Derived {
		return &graph.Packed{Packing: pk, Src: k}
	}
	key := packKey{unsafe.Pointer(k), 0, pk.Form}
	if k.Code == nil && len(k.Data) > 0 {
		key.at, key.len = unsafe.Pointer(&k.Data[0]), len(k.Data)
		key.form = k.Type.DType.String() + pk.Form
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.packs[key]
	if w == nil {
		w = &weight{Packed: graph.Packed{Packing: pk, Src: k}}
		a.packs[key] = w
	}
	if !w.counted {
		a.fresh = append(a.fresh, w)
	}
	return &w.Packed
}

// plainOf is a constant in Plain form, for a run that reads it without a plan.
func (r *run) plainOf(k *graph.Const) ([]byte, error) {
	if k.IsPlain() {
		return k.Data, nil
	}
	a := asker{program: r.prog}
	w := a.packed(k, k.PlainForm())
	a.mu.Lock()
	err := a.shareWeights(a.fresh, 0)
	a.mu.Unlock()
	if err == nil {
		err = r.pack(w)
	}
	return w.Data, err
}

// coldBytes is the size from which weights are taken not to stay in cache: more
// than one core's share of any last-level cache.
const coldBytes = 32 << 20

// Cold implements graph.PackStore.
func (p *program) Cold() bool { return p.coded > coldBytes }

// codedBytes is what a function's compressed weights would take as float16, as their types are declared.
func codedBytes(fn *graph.Function) int64 {
	n := int64(0)
	fn.Body.Walk(func(d *graph.Node) {
		if d.Op.Expand == nil {
			return
		}
		for _, v := range d.Out {
			if e, ok := tensor.Elements(v.Type.Shape); ok {
				n += 2 * int64(e)
			} else if v.Type.Static() {
				n += coldBytes // too large to be true
			}
		}
	})
	return n
}

// fill packs a weight, once, with a team or, if that is nil, alone. It stops nobody who does not need this weight.
func (p *program) fill(k *graph.Packed, t *team) error {
	if t == nil {
		t = &team{threads: 1}
	}
	return k.Fill(func() ([]byte, error) {
		data := graph.Aligned(k.Packing.Size)
		useHugePages(data)
		items := k.Packing.Items
		const piece = 4
		err := t.do((items+piece-1)/piece, func(_, task int) error {
			k.Packing.Do(data, k.Src, task*piece, min(items, (task+1)*piece))
			return nil
		})
		if err == nil {
			p.giveBack(k.Src)
		}
		return data, err
	})
}

// giveBack lets go of the file's pages behind a constant that has been packed.
func (p *program) giveBack(k *graph.Const) {
	if k.Code == nil {
		p.discard(k.Data)
		return
	}
	for _, part := range k.Code.Parts() {
		p.giveBack(part)
	}
}

// preload packs every weight that the plans made so far ask for.
func (p *program) preload() (err error) {
	defer guard(&err, "")()
	p.mu.Lock()
	var all []*weight
	for _, w := range p.packs {
		if w.counted {
			all = append(all, w)
		}
	}
	p.mu.Unlock()
	t := crew.take(p.threads())
	if t != nil {
		defer crew.giveBack()
	}
	for _, w := range all {
		if err := p.fill(&w.Packed, t); err != nil {
			return err
		}
	}
	return nil
}
