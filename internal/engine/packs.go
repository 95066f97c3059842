package engine

import (
	"fmt"
	"unsafe"

	"coreml/internal/fault"
	"coreml/internal/graph"
)

// packKey identifies packed bytes: where the constant is, and the form.
type packKey struct {
	at   unsafe.Pointer
	len  int
	form string
}

// Get implements graph.PackStore.
func (p *program) Get(c *graph.Call, in int, pk graph.Packing) *graph.Packed {
	return p.packed(c.In[in].Const, pk)
}

// packed is the one place of a constant in a form. What differs from plan to plan
// has few elements, and goes with its plan.
func (p *program) packed(k *graph.Const, pk graph.Packing) *graph.Packed {
	if k.Derived {
		return &graph.Packed{Packing: pk, Src: k}
	}
	key := packKey{unsafe.Pointer(k), 0, pk.Form}
	if k.Code == nil && len(k.Data) > 0 {
		key.at, key.len = unsafe.Pointer(&k.Data[0]), len(k.Data)
		key.form = k.Type.DType.String() + pk.Form
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.packs[key]; have != nil {
		return have
	}
	n := &graph.Packed{Packing: pk, Src: k}
	p.packs[key] = n
	p.held += int64(pk.Size)
	return n
}

// coldBytes is the size from which weights are taken not to stay in cache: more
// than one core's share of any last-level cache.
const coldBytes = 32 << 20

// Cold implements graph.PackStore.
func (p *program) Cold() bool { return p.coded > coldBytes }

// codedBytes is what a function's compressed weights would take as float16.
func codedBytes(fn *graph.Function) int64 {
	n := int64(0)
	fn.Body.Walk(func(d *graph.Node) {
		if d.Op.Expand == nil {
			return
		}
		for _, v := range d.Out {
			if v.Type.Static() {
				n += 2 * int64(v.Type.Elements())
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
		if err := p.affordWeights(); err != nil {
			return nil, err
		}
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

func (p *program) affordWeights() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limit := p.config.MemoryLimit; limit > 0 && p.held > limit {
		return fmt.Errorf("weights need %d bytes: %w: %d are allowed", p.held, fault.Limit, limit)
	}
	return nil
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
	var all []*graph.Packed
	for _, k := range p.packs {
		all = append(all, k)
	}
	p.mu.Unlock()
	t := crew.take(p.threads())
	if t != nil {
		defer crew.giveBack()
	}
	for _, k := range all {
		if err := p.fill(k, t); err != nil {
			return err
		}
	}
	return nil
}
