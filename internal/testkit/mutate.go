package testkit

import (
	"math"
	"math/rand/v2"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"coreml/internal/spec"
)

// field is one field of an encoded message. Exactly one of number, bytes and kids is in use.
type field struct {
	num    protowire.Number
	wire   protowire.Type
	number uint64   // of varint and fixed fields
	bytes  []byte   // of strings, bytes and packed numbers
	kids   []*field // of messages
	desc   protoreflect.FieldDescriptor
	of     protoreflect.MessageDescriptor // of messages
}

// Mutator damages encoded models, field by field.
type Mutator struct {
	top  []*field
	all  []*field // every field, at any depth
	r    *rand.Rand
	strs [][]byte // the strings in it
}

// NewMutator reads a model. It damages another copy of it each time.
func NewMutator(model []byte, seed uint64) *Mutator {
	m := &Mutator{r: rand.New(rand.NewPCG(seed, 3))}
	m.top = m.parse(model, new(spec.Model).ProtoReflect().Descriptor(), 0)
	return m
}

func (m *Mutator) parse(b []byte, d protoreflect.MessageDescriptor, depth int) []*field {
	var out []*field
	for len(b) > 0 {
		num, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return out
		}
		b = b[n:]
		f := &field{num: num, wire: wire, desc: d.Fields().ByNumber(num)}
		switch wire {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			f.number = uint64(v)
		case protowire.Fixed64Type:
			f.number, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
			if f.desc != nil && f.desc.Kind() == protoreflect.MessageKind && depth < 60 {
				f.of = f.desc.Message()
				f.kids, f.bytes = m.parse(f.bytes, f.of, depth+1), nil
			} else if f.desc != nil && f.desc.Kind() == protoreflect.StringKind {
				m.strs = append(m.strs, f.bytes)
			}
		default:
			return out
		}
		if n < 0 {
			return out
		}
		b = b[n:]
		out = append(out, f)
		m.all = append(m.all, f)
	}
	return out
}

// encoder writes fields. Damage may put a message inside itself, so it has limits.
type encoder struct{ fields int }

const (
	mostFields = 200_000
	mostDepth  = 300
)

func (e *encoder) encode(b []byte, fields []*field, depth int) []byte {
	for _, f := range fields {
		if e.fields++; e.fields > mostFields || depth > mostDepth {
			return b
		}
		b = protowire.AppendTag(b, f.num, f.wire)
		switch f.wire {
		case protowire.VarintType:
			b = protowire.AppendVarint(b, f.number)
		case protowire.Fixed32Type:
			b = protowire.AppendFixed32(b, uint32(f.number))
		case protowire.Fixed64Type:
			b = protowire.AppendFixed64(b, f.number)
		default:
			if f.of != nil {
				b = protowire.AppendBytes(b, e.encode(nil, f.kids, depth+1))
			} else {
				b = protowire.AppendBytes(b, f.bytes)
			}
		}
	}
	return b
}

// Mutant is the model with one to three fields damaged; the mutator's copy stays whole.
func (m *Mutator) Mutant() []byte {
	var undo []func()
	for range 1 + m.r.IntN(3) {
		undo = append(undo, m.damage(m.all[m.r.IntN(len(m.all))]))
	}
	b := new(encoder).encode(nil, m.top, 0)
	for i := len(undo) - 1; i >= 0; i-- {
		undo[i]()
	}
	return b
}

// edges are the numbers at which arithmetic goes wrong.
var edges = []uint64{0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 65, 127, 255, 1000, 1 << 20, 1<<31 - 1, 1 << 31, 1<<31 + 1, 1 << 32, 1<<63 - 1, 1 << 63, math.MaxUint64, math.MaxUint64 - 1, math.MaxUint64 - 63}

// damage changes one field and returns what takes it back.
func (m *Mutator) damage(f *field) (undo func()) {
	was := *f
	undo = func() { *f = was }
	switch {
	case m.r.IntN(24) == 0:
		f.num = protowire.Number(1 + m.r.IntN(20))
	case f.of != nil:
		f.kids = m.message(f)
	case f.wire == protowire.BytesType:
		f.bytes = m.text(f)
	case f.wire == protowire.VarintType:
		f.number = m.near(f.number)
	default:
		f.number = []uint64{0, 0x3f800000, 0x7f800000, 0x7fc00000, 0xff800000, 1, 0x7f7fffff, 0xbf800000, math.MaxUint64}[m.r.IntN(9)]
	}
	return undo
}

func (m *Mutator) near(v uint64) uint64 {
	if m.r.IntN(2) == 0 {
		return edges[m.r.IntN(len(edges))]
	}
	return v + []uint64{1, math.MaxUint64, 64, 1 << 20, v}[m.r.IntN(5)]
}

// message drops, repeats, moves, swaps or replaces fields of a message.
func (m *Mutator) message(f *field) []*field {
	k := append([]*field(nil), f.kids...)
	if len(k) == 0 {
		return m.other(f)
	}
	i, j := m.r.IntN(len(k)), m.r.IntN(len(k))
	switch m.r.IntN(6) {
	case 0:
		return append(k[:i], k[i+1:]...)
	case 1:
		return append(k, k[i])
	case 2:
		k[i], k[j] = k[j], k[i]
	case 3:
		return nil
	case 4:
		return m.other(f)
	case 5: // inside itself, a few times
		for range 1 + m.r.IntN(40) {
			k = []*field{{num: f.num, wire: f.wire, kids: k, of: f.of, desc: f.desc}}
		}
	}
	return k
}

// other are the contents of another message of the same type.
func (m *Mutator) other(f *field) []*field {
	start := m.r.IntN(len(m.all))
	for i := range m.all {
		g := m.all[(start+i)%len(m.all)]
		if g != f && g.of == f.of {
			return g.kids
		}
	}
	return nil
}

func (m *Mutator) text(f *field) []byte {
	b := append([]byte(nil), f.bytes...)
	isString := f.desc != nil && f.desc.Kind() == protoreflect.StringKind
	switch k := m.r.IntN(5); {
	case isString && k < 3 && len(m.strs) > 0:
		return m.strs[m.r.IntN(len(m.strs))]
	case len(b) == 0:
		return []byte{byte(m.r.IntN(256))}
	case k == 0:
		return b[:m.r.IntN(len(b))]
	case k == 1:
		return append(b, b[m.r.IntN(len(b)):]...)
	case k == 2 && f.desc != nil && f.desc.IsPacked(): // a list of numbers with an edge in it
		if f.desc.Kind() == protoreflect.FloatKind {
			at := m.r.IntN(len(b)+3) / 4 * 4
			return append(b[:min(at, len(b))], 0, 0, 0x80, 0x7f)
		}
		return append(b[:m.r.IntN(len(b))], protowire.AppendVarint(nil, edges[m.r.IntN(len(edges))])...)
	}
	b[m.r.IntN(len(b))] ^= byte(1 << m.r.IntN(8))
	return b
}
