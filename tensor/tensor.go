// Package tensor holds dense tensors of Core ML's element types: shapes,
// memory, conversion between types, NumPy's npy and npz files.
//
// A Tensor is row-major and contiguous. Its memory is little-endian, as in
// Core ML's weight files; typed views of it cost nothing.
package tensor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// alignment of the memory that this package allocates: a cache line, and the
// widest vector register.
const alignment = 64

// Tensor is a dense row-major tensor. Its type and shape never change;
// its elements may. The zero Tensor is Invalid and empty.
type Tensor struct {
	dtype DType
	n     int
	shape []int
	data  []byte
}

// New returns a zeroed tensor. It panics where Make returns an error.
func New(d DType, shape ...int) *Tensor {
	t, err := Make(d, shape)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return t
}

// Make returns a zeroed tensor whose memory is aligned to 64 bytes. It refuses
// shapes that Elements refuses and dtypes without a fixed size. It knows no
// memory budget: whoever takes a shape from a file or a request has to check
// ByteSize against one first.
func Make(d DType, shape []int) (*Tensor, error) {
	n, size, err := measure(d, shape)
	if err != nil {
		return nil, fmt.Errorf("tensor: Make: %w", err)
	}
	return &Tensor{dtype: d, n: n, shape: clone(shape), data: alloc(size)}, nil
}

// FromBytes returns a tensor over data itself. Its length has to be exactly
// what dtype and shape need; bytes of a Bool have to be 0 or 1, and stay so.
// Data need not be aligned.
func FromBytes(d DType, shape []int, data []byte) (*Tensor, error) {
	n, size, err := measure(d, shape)
	if err != nil {
		return nil, fmt.Errorf("tensor: FromBytes: %w", err)
	}
	if len(data) != size {
		return nil, fmt.Errorf("tensor: FromBytes: %s: %d bytes, want %d", describe(d, shape), len(data), size)
	}
	if d == Bool {
		if i := slices.IndexFunc(data, func(b byte) bool { return b > 1 }); i >= 0 {
			return nil, fmt.Errorf("tensor: FromBytes: %s: byte %d is %d, want 0 or 1", describe(d, shape), i, data[i])
		}
	}
	return &Tensor{dtype: d, n: n, shape: clone(shape), data: nonNil(data)}, nil
}

// Of returns a tensor over data itself. Without a shape it is a vector; an
// empty shape that is not nil, as Shape returns it, makes a tensor of rank 0.
// It panics if the shape has another number of elements than data.
func Of[T Element](data []T, shape ...int) *Tensor {
	return over(DTypeOf[T](), data, shape)
}

// Float16Of returns a Float16 tensor over the given IEEE binary16 words.
// Shapes are as for Of.
func Float16Of(bits []uint16, shape ...int) *Tensor {
	return over(Float16, bits, shape)
}

// Scalar returns a tensor of rank 0.
func Scalar[T Element](v T) *Tensor {
	t := New(DTypeOf[T]())
	Data[T](t)[0] = v
	return t
}

// Data returns the elements of t as a view of its memory, or nil if they are
// no Ts. Float16 and BFloat16 are viewed as uint16, the 8-bit floats as uint8.
// On machines that cannot load unaligned words, t's memory has to be aligned.
func Data[T Element](t *Tensor) []T {
	if !t.dtype.viewableAs(DTypeOf[T]()) {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.data))), t.n)
}

// DType returns the type of t's elements.
func (t *Tensor) DType() DType { return t.dtype }

// Shape returns t's dimensions, not nil. The caller must not modify them.
func (t *Tensor) Shape() []int { return t.shape }

// Len returns the number of elements.
func (t *Tensor) Len() int { return t.n }

// Bytes returns t's memory: little-endian elements, sub-byte ones packed as
// Unpack describes. Writing to it changes t.
func (t *Tensor) Bytes() []byte { return t.data }

// String returns dtype and shape in MIL's notation: tensor<fp32, [1, 3]>.
func (t *Tensor) String() string { return describe(t.dtype, t.shape) }

// Reshape returns a tensor over the same memory with another shape of the same
// number of elements.
func (t *Tensor) Reshape(shape ...int) (*Tensor, error) {
	if n, ok := Elements(shape); !ok || n != t.n {
		return nil, fmt.Errorf("tensor: Reshape: %v: shape %v, want %d elements", t, shape, t.n)
	}
	return &Tensor{dtype: t.dtype, n: t.n, shape: clone(shape), data: t.data}, nil
}

// Clone returns a copy of t with its own memory.
func (t *Tensor) Clone() *Tensor {
	data := alloc(len(t.data))
	copy(data, t.data)
	return &Tensor{dtype: t.dtype, n: t.n, shape: clone(t.shape), data: data}
}

func over[T Element](d DType, data []T, shape []int) *Tensor {
	if shape == nil {
		shape = []int{len(data)}
	}
	if n, ok := Elements(shape); !ok || n != len(data) {
		panic(fmt.Sprintf("BUG: tensor: Of: %d elements for %s", len(data), describe(d, shape)))
	}
	return &Tensor{dtype: d, n: len(data), shape: clone(shape), data: nonNil(BytesOf(data))}
}

func measure(d DType, shape []int) (n, size int, err error) {
	n, ok := Elements(shape)
	if !ok {
		return 0, 0, fmt.Errorf("shape %v: want dimensions >= 0 and at most 2^40 elements", shape)
	}
	size, ok = ByteSize(d, n)
	if !ok {
		return 0, 0, fmt.Errorf("dtype %v: want elements of a fixed size", d)
	}
	return n, size, nil
}

func alloc(n int) []byte {
	b := make([]byte, n+alignment)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (alignment - 1)
	return b[skip : skip+n : skip+n]
}

// clone returns a copy that is never nil, so that Of(data, t.Shape()...) keeps
// a rank of 0.
func clone(shape []int) []int { return append([]int{}, shape...) }

// nonNil keeps an empty tensor's views apart from the nil that Data returns
// for a wrong type.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func describe(d DType, shape []int) string {
	return "tensor<" + d.String() + ", [" + strings.Join(decimals(shape), ", ") + "]>"
}

func decimals(shape []int) []string {
	s := make([]string, len(shape))
	for i, d := range shape {
		s[i] = strconv.Itoa(d)
	}
	return s
}
