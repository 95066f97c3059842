package mlmodel

import (
	"fmt"
	"reflect"
	"sync"

	"coreml/internal/spec"
	"coreml/schema"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxDepth is the limit that protobuf's C++, Python and Java readers have
	// by default, so no deeper model could have been written or compiled.
	maxDepth = 100

	// What reading and describing a model may allocate: a fixed amount and a
	// multiple of the size of its model file. Mapped weights do not count.
	budgetFixed   = 256 << 20
	budgetPerByte = 4

	// budgetReserve is kept for what is not counted message by message: the
	// manifest, the overlays and the tables of package protobuf itself.
	budgetReserve = 96 << 20
)

// Overheads of the decoded form, rounded up: all allocations count, also those
// that a growing slice leaves behind.
const (
	growth   = 6  // a slice grown by quarters leaves more than four times its size behind
	ifaceBox = 16 // a oneof's wrapper around a word
	mapSlot  = 256
	nameSlot = 64 // a name in a set
	unknowns = 64 // the header of a message's unknown fields
)

// layout is what one message type costs once decoded.
type layout struct {
	name   string
	size   int64
	fields map[protowire.Number]*fieldLayout
}

type fieldLayout struct {
	name  string
	wire  protowire.Type // of one element
	elem  int64          // bytes that one element takes besides its contents
	list  bool
	sub   *layout // of message fields, else nil
	bytes bool    // string or bytes: the contents are copied
}

// modelLayout is the layout of Model and of all that it can hold.
var modelLayout = sync.OnceValue(func() *layout {
	return makeLayout(new(spec.Model).ProtoReflect().Type(), map[protoreflect.FullName]*layout{})
})

// descriptionCost is what describing adds to a message of the named type.
var descriptionCost = map[protoreflect.Name]int64{
	"FeatureDescription":  nameSlot + int64(reflect.TypeFor[schema.Feature]().Size()+reflect.TypeFor[schema.TensorConstraint]().Size()+reflect.TypeFor[schema.ImageConstraint]().Size()),
	"FunctionDescription": nameSlot + int64(reflect.TypeFor[schema.Function]().Size()),
	"Model":               int64(reflect.TypeFor[schema.Description]().Size() + reflect.TypeFor[schema.PipelineStep]().Size()),
	"Shape":               int64(reflect.TypeFor[[]int]().Size()),
	"SizeRange":           int64(reflect.TypeFor[schema.Range]().Size()),
	"ImageSize":           int64(reflect.TypeFor[schema.ImageSize]().Size()),
	"Value":               64 + int64(reflect.TypeFor[schema.ClassLabels]().Size()), // maybe a class label
}

func makeLayout(t protoreflect.MessageType, done map[protoreflect.FullName]*layout) *layout {
	d := t.Descriptor()
	if l := done[d.FullName()]; l != nil {
		return l
	}
	size := int64(reflect.TypeOf(t.Zero().Interface()).Elem().Size())
	l := &layout{
		name:   string(d.Name()),
		size:   size + size/8 + descriptionCost[d.Name()], // allocations come in size classes
		fields: map[protowire.Number]*fieldLayout{},
	}
	done[d.FullName()] = l
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		l.fields[f.Number()] = fieldLayoutOf(t, f, done)
	}
	return l
}

func fieldLayoutOf(t protoreflect.MessageType, f protoreflect.FieldDescriptor, done map[protoreflect.FullName]*layout) *fieldLayout {
	l := &fieldLayout{name: string(f.Name()), list: f.IsList()}
	l.wire, l.elem = elementLayout(f.Kind())
	l.bytes = f.Kind() == protoreflect.StringKind || f.Kind() == protoreflect.BytesKind
	switch {
	case f.IsMap():
		l.list, l.elem, l.sub = true, mapSlot, makeMapLayout(t, f, done)
		return l
	case f.Kind() == protoreflect.MessageKind && f.IsList():
		l.sub = makeLayout(t.Zero().NewField(f).List().NewElement().Message().Type(), done)
	case f.Kind() == protoreflect.MessageKind:
		l.sub = makeLayout(t.Zero().NewField(f).Message().Type(), done)
	}
	switch {
	case l.list && (l.sub != nil || l.bytes):
		l.elem *= growth
	case f.Kind() == protoreflect.Int64Kind && l.list:
		l.elem *= 2 // copied once more when it is a shape
	case l.list:
	case f.ContainingOneof() != nil:
		l.elem = max(l.elem, ifaceBox)
	case l.sub == nil:
		l.elem = 0 // part of the message
	}
	return l
}

// makeMapLayout is the layout of a map's entry, which is a message on the wire only.
func makeMapLayout(t protoreflect.MessageType, f protoreflect.FieldDescriptor, done map[protoreflect.FullName]*layout) *layout {
	l := &layout{name: string(f.Name()), fields: map[protowire.Number]*fieldLayout{}}
	for i, part := range []protoreflect.FieldDescriptor{f.MapKey(), f.MapValue()} {
		p := &fieldLayout{name: string(part.Name())}
		p.wire, p.elem = elementLayout(part.Kind())
		p.bytes = part.Kind() == protoreflect.StringKind || part.Kind() == protoreflect.BytesKind
		if part.Kind() == protoreflect.MessageKind {
			p.sub = makeLayout(t.New().Mutable(f).Map().NewValue().Message().Type(), done)
		}
		l.fields[protowire.Number(i+1)] = p
	}
	return l
}

func elementLayout(kind protoreflect.Kind) (wire protowire.Type, size int64) {
	switch kind {
	case protoreflect.BoolKind:
		return protowire.VarintType, 1
	case protoreflect.EnumKind, protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind:
		return protowire.VarintType, 4
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Uint64Kind:
		return protowire.VarintType, 8
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.Fixed32Type, 4
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.Fixed64Type, 8
	case protoreflect.StringKind:
		return protowire.BytesType, 16
	case protoreflect.BytesKind:
		return protowire.BytesType, 24
	case protoreflect.MessageKind:
		return protowire.BytesType, 8
	}
	panic("BUG: the schema has a field of kind " + kind.String())
}

// checkBudget walks over an encoded model and fails if decoding and describing
// it would allocate more than is left of the budget, nest deeper than maxDepth
// or take time out of proportion. It allocates next to nothing itself. Spent is
// what reading the data has allocated.
func checkBudget(data []byte, spent int64) error {
	w := meter{left: budgetFixed - budgetReserve + budgetPerByte*int64(len(data)) - spent, end: len(data)}
	return w.message(data, modelLayout(), 1, 0)
}

// meter counts down while it walks.
type meter struct {
	left int64 // bytes that may still be allocated
	end  int   // length of the whole file

	// seen is a stack with a segment for each message being walked: its
	// lists of numbers with their lengths, and its single messages.
	seen []seenField
}

type seenField struct {
	number protowire.Number
	count  int64
}

// message walks over the fields of one message. It starts at byte offset of the
// file.
func (w *meter) message(b []byte, l *layout, depth, offset int) error {
	if depth > maxDepth {
		return tooLarge("", fmt.Sprintf("messages nest deeper than %d", maxDepth), "a model that Core ML can compile")
	}
	if err := w.charge(l.size); err != nil {
		return err
	}
	base := len(w.seen)
	whole := len(b)
	for len(b) > 0 {
		here := offset + whole - len(b)
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(l, here, "bad field tag")
		}
		if wire == protowire.StartGroupType || wire == protowire.EndGroupType {
			return malformed(l, here, "field group")
		}
		size := protowire.ConsumeFieldValue(number, wire, b[n:])
		if size < 0 {
			return malformed(l, here, "field is cut off")
		}
		value := b[n : n+size]
		if err := w.field(value, l, number, wire, depth, here+n, base); err != nil {
			return err
		}
		b = b[n+size:]
	}
	w.seen = w.seen[:base]
	return nil
}

func malformed(l *layout, offset int, what string) error {
	return invalid("", fmt.Sprintf("%s at byte %d, in message %s", what, offset, l.name), "a Core ML model")
}

func (w *meter) field(value []byte, l *layout, number protowire.Number, wire protowire.Type, depth, offset, base int) error {
	f := l.fields[number]
	packed := f != nil && f.list && f.wire != protowire.BytesType && wire == protowire.BytesType
	if f == nil || wire != f.wire && !packed {
		return w.charge(unknowns + growth*int64(len(value)+10))
	}
	if f.list && f.wire != protowire.BytesType {
		return w.numbers(value, f, number, packed, base)
	}
	if err := w.charge(f.elem); err != nil || wire != protowire.BytesType {
		return err
	}
	contents, _ := protowire.ConsumeBytes(value)
	if f.sub == nil {
		return w.charge(int64(len(contents)+15) &^ 7)
	}
	if !f.list {
		// Decoding would merge a repetition into the first, which costs time
		// and memory that grow with the square of the repetitions.
		seen := w.find(number, base)
		if seen.count++; seen.count > 1 {
			return malformed(l, offset, "field "+f.name+" occurs again")
		}
	}
	return w.message(contents, f.sub, depth+1, offset+len(value)-len(contents))
}

// numbers charges one piece of a list of numbers: one number or a packed run.
// For each run the decoder allocates the list anew, to its exact length.
func (w *meter) numbers(value []byte, f *fieldLayout, number protowire.Number, packed bool, base int) error {
	list := w.find(number, base)
	if !packed {
		list.count++
		return w.charge(growth * f.elem)
	}
	contents, _ := protowire.ConsumeBytes(value)
	switch f.wire {
	case protowire.Fixed32Type:
		list.count += int64(len(contents) / 4)
	case protowire.Fixed64Type:
		list.count += int64(len(contents) / 8)
	default:
		for _, b := range contents {
			if b < 0x80 {
				list.count++
			}
		}
	}
	return w.charge(list.count * f.elem * 9 / 8) // in size classes
}

// find gives the entry of a field in the segment of the stack that starts at base.
func (w *meter) find(number protowire.Number, base int) *seenField {
	for i := base; i < len(w.seen); i++ {
		if w.seen[i].number == number {
			return &w.seen[i]
		}
	}
	w.seen = append(w.seen, seenField{number: number})
	return &w.seen[len(w.seen)-1]
}

func (w *meter) charge(bytes int64) error {
	w.left -= bytes
	if w.left < 0 {
		return tooLarge("", fmt.Sprintf("reading its %d bytes would take more than %d bytes of memory",
			w.end, budgetFixed+budgetPerByte*int64(w.end)), "fewer or smaller messages")
	}
	return nil
}
