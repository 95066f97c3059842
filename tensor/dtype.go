package tensor

import (
	"fmt"
	"reflect"
)

// DType is the type of a tensor's elements. The zero value is Invalid.
type DType uint8

const (
	Invalid DType = iota
	Bool
	Int8
	UInt8
	Int16
	UInt16
	Int32
	UInt32
	Int64
	UInt64
	Float16
	BFloat16
	Float32
	Float64
	Float8E4M3FN
	Float8E5M2
	Int4
	UInt1
	UInt2
	UInt3
	UInt4
	UInt6
	String
)

type class uint8

const (
	other class = iota
	signed
	unsigned
	floating
)

var dtypes = [...]struct {
	name  string
	bits  int
	class class
}{
	Invalid:      {"invalid", 0, other},
	Bool:         {"bool", 8, other},
	Int8:         {"int8", 8, signed},
	UInt8:        {"uint8", 8, unsigned},
	Int16:        {"int16", 16, signed},
	UInt16:       {"uint16", 16, unsigned},
	Int32:        {"int32", 32, signed},
	UInt32:       {"uint32", 32, unsigned},
	Int64:        {"int64", 64, signed},
	UInt64:       {"uint64", 64, unsigned},
	Float16:      {"fp16", 16, floating},
	BFloat16:     {"bf16", 16, floating},
	Float32:      {"fp32", 32, floating},
	Float64:      {"fp64", 64, floating},
	Float8E4M3FN: {"fp8e4m3fn", 8, floating},
	Float8E5M2:   {"fp8e5m2", 8, floating},
	Int4:         {"int4", 4, signed},
	UInt1:        {"uint1", 1, unsigned},
	UInt2:        {"uint2", 2, unsigned},
	UInt3:        {"uint3", 3, unsigned},
	UInt4:        {"uint4", 4, unsigned},
	UInt6:        {"uint6", 6, unsigned},
	String:       {"string", 0, other},
}

// String returns MIL's spelling: "fp16", "int32", "bool".
func (d DType) String() string {
	if int(d) >= len(dtypes) {
		return fmt.Sprintf("dtype(%d)", uint8(d))
	}
	return dtypes[d].name
}

// ParseDType returns the DType that MIL spells s.
func ParseDType(s string) (DType, error) {
	for d := Bool; int(d) < len(dtypes); d++ {
		if dtypes[d].name == s {
			return d, nil
		}
	}
	return Invalid, fmt.Errorf("tensor: dtype %q: unknown, want MIL's spelling as in fp16, int32, bool", s)
}

// Bits returns the size of an element in bits, 1 to 64, or 0 for String and Invalid.
// A Bool takes a whole byte.
func (d DType) Bits() int {
	if int(d) >= len(dtypes) {
		return 0
	}
	return dtypes[d].bits
}

// Size returns the size of an element in bytes, or 0 if elements are smaller
// than a byte or have no fixed size.
func (d DType) Size() int { return d.Bits() / 8 }

// IsFloat reports whether d is one of the floating-point types.
func (d DType) IsFloat() bool { return d.class() == floating }

// IsInt reports whether d is one of the integer types; Bool is not.
func (d DType) IsInt() bool { return d.class() == signed || d.class() == unsigned }

// IsSigned reports whether d is an integer type with negative values.
func (d DType) IsSigned() bool { return d.class() == signed }

// IsSubByte reports whether elements of d are bit-packed, several to a byte.
func (d DType) IsSubByte() bool { return d.Bits() > 0 && d.Bits() < 8 }

func (d DType) class() class {
	if int(d) >= len(dtypes) {
		return other
	}
	return dtypes[d].class
}

// Element is what a tensor's memory can be viewed as. Float16 and BFloat16
// are viewed as uint16, the 8-bit floats as uint8.
type Element interface {
	~bool | ~int8 | ~uint8 | ~int16 | ~uint16 | ~int32 | ~uint32 | ~int64 | ~uint64 | ~float32 | ~float64
}

// DTypeOf returns the DType whose elements are Ts.
func DTypeOf[T Element]() DType {
	switch kind := reflect.TypeFor[T]().Kind(); kind {
	case reflect.Bool:
		return Bool
	case reflect.Int8:
		return Int8
	case reflect.Uint8:
		return UInt8
	case reflect.Int16:
		return Int16
	case reflect.Uint16:
		return UInt16
	case reflect.Int32:
		return Int32
	case reflect.Uint32:
		return UInt32
	case reflect.Int64:
		return Int64
	case reflect.Uint64:
		return UInt64
	case reflect.Float32:
		return Float32
	case reflect.Float64:
		return Float64
	default:
		panic("BUG: tensor: DTypeOf: element kind " + kind.String())
	}
}

// viewableAs reports whether memory of d may be read as elements of view.
func (d DType) viewableAs(view DType) bool {
	switch d {
	case Float16, BFloat16:
		return view == UInt16
	case Float8E4M3FN, Float8E5M2:
		return view == UInt8
	}
	return d == view && d.Size() > 0
}
