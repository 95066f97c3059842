package isolate

import (
	"encoding/binary"
	"fmt"
	"math"

	"coreml/internal/fault"
	"coreml/tensor"
)

// Encoder writes the body of a message, and what is large to a slot of shared memory.
type Encoder struct {
	buf  []byte
	mem  []byte
	used int // bytes of mem
}

// NewEncoder starts a message whose tensors go to mem.
func NewEncoder(mem []byte) *Encoder {
	return &Encoder{buf: appendHeader(make([]byte, 0, 512)), mem: mem}
}

func (e *Encoder) Uint(v uint64)   { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *Encoder) Int(v int64)     { e.buf = binary.AppendVarint(e.buf, v) }
func (e *Encoder) Byte(v byte)     { e.buf = append(e.buf, v) }
func (e *Encoder) Float(v float64) { e.fixed(math.Float64bits(v)) }

func (e *Encoder) String(s string) {
	e.Uint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

func (e *Encoder) fixed(v uint64) { e.buf = binary.LittleEndian.AppendUint64(e.buf, v) }

// align is that of tensors in a slot.
const align = 64

func aligned(n int) int { return (n + align - 1) &^ (align - 1) }

// reserve finds place for n bytes in the slot, which the caller has made large enough.
func (e *Encoder) reserve(n int) ([]byte, error) {
	at := e.used
	if n > len(e.mem)-at {
		return nil, fmt.Errorf("isolate: %d bytes more: %w: the slot has %d of %d left", n, fault.Limit, len(e.mem)-at, len(e.mem))
	}
	e.used = min(aligned(at+n), len(e.mem))
	e.Uint(uint64(at))
	return e.mem[at : at+n : at+n], nil
}

// Decoder reads what an Encoder wrote. It trusts nothing; the first thing that
// is wrong makes all further results zero, and Err says what it was.
type Decoder struct {
	b    []byte
	mem  []byte
	used int // bytes of mem, up to the last that the message names
	err  error
}

// NewDecoder reads a body whose tensors are in mem.
func NewDecoder(body, mem []byte) *Decoder { return &Decoder{b: body, mem: mem} }

// Err is what was wrong, or nil.
func (d *Decoder) Err() error { return d.err }

func (d *Decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("isolate: message: "+format, a...)
		d.b = nil
	}
}

func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("ends in a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("ends in a number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *Decoder) Byte() byte {
	if len(d.b) == 0 {
		d.fail("ends early")
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *Decoder) fixed() uint64 {
	if len(d.b) < 8 {
		d.fail("ends early")
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *Decoder) Float() float64 { return math.Float64frombits(d.fixed()) }

func (d *Decoder) String() string {
	n := d.Uint()
	if n > uint64(len(d.b)) {
		d.fail("a text of %d bytes, %d are left", n, len(d.b))
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

// Count reads the number of items that follow, each of at least one byte.
func (d *Decoder) Count() int {
	n := d.Uint()
	if n > uint64(len(d.b)) {
		d.fail("%d items, %d bytes are left", n, len(d.b))
		return 0
	}
	return int(n)
}

// place is the part of the slot that reserve found, and where it begins.
func (d *Decoder) place(n int) ([]byte, int) {
	at := d.Uint()
	if n < 0 || at > uint64(len(d.mem)) || n > len(d.mem)-int(at) {
		d.fail("%d bytes at %d of a slot of %d", n, at, len(d.mem))
		return nil, 0
	}
	d.used = max(d.used, min(aligned(int(at)+n), len(d.mem)))
	return d.mem[at : int(at)+n : int(at)+n], int(at)
}

// maxRank bounds the dimensions of a tensor in a message. A caller's tensor may have more
// than any program takes, which is for the program to refuse; NumPy's have at most so many.
const maxRank = 64

func (e *Encoder) header(t *tensor.Tensor) {
	e.Byte(byte(t.DType()))
	e.Uint(uint64(len(t.Shape())))
	for _, n := range t.Shape() {
		e.Uint(uint64(n))
	}
}

// header reads dtype, shape and bytes; size is -1 when they are wrong.
func (d *Decoder) header() (dt tensor.DType, shape []int, size int) {
	dt = tensor.DType(d.Byte())
	rank := d.Count()
	if rank > maxRank {
		d.fail("a tensor of rank %d", rank)
		rank = 0
	}
	shape = make([]int, rank)
	for i := range shape {
		shape[i] = int(d.Uint())
	}
	n, ok := tensor.Elements(shape)
	if ok && dt.Bits() > 0 {
		if size, ok = tensor.ByteSize(dt, n); ok && d.err == nil {
			return dt, shape, size
		}
	}
	d.fail("a tensor of type %d and shape %v", dt, shape)
	return dt, shape, -1
}
