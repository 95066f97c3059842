package mlmodel

import (
	"encoding/binary"
	"fmt"

	"coreml/tensor"
)

// A weight file of storage version 2 is a header and, for each weight, a
// metadata record and its data. Each of them starts at a multiple of 64 bytes.
//
//	header  count uint32, version uint32, 56 bytes reserved
//	record  sentinel uint32, type uint32, size uint64, data offset uint64,
//	        padding bits uint64, 32 bytes reserved
const (
	blobHeaderSize = 64
	blobRecordSize = 64
	blobSentinel   = 0xDEADBEEF
	blobVersion    = 2
)

// blobDTypes are the element types by their number in a record.
var blobDTypes = [...]tensor.DType{
	1:  tensor.Float16,
	2:  tensor.Float32,
	3:  tensor.UInt8,
	4:  tensor.Int8,
	5:  tensor.BFloat16,
	6:  tensor.Int16,
	7:  tensor.UInt16,
	8:  tensor.Int4,
	9:  tensor.UInt1,
	10: tensor.UInt2,
	11: tensor.UInt4,
	12: tensor.UInt3,
	13: tensor.UInt6,
	14: tensor.Int32,
	15: tensor.UInt32,
	16: tensor.Float8E4M3FN,
	17: tensor.Float8E5M2,
}

// alignment is that of weights in a file, so that they can be viewed in memory
// as they are on disk.
const alignment = 64

// Blob is one weight in a weight file.
type Blob struct {
	DType tensor.DType
	// Data are the elements as they are stored: little-endian, those smaller
	// than a byte packed. It is a view of the file, not to be written to.
	Data []byte
	// PaddingBits at the end of Data belong to no element.
	PaddingBits int
}

// Len is the number of elements.
func (b Blob) Len() int { return (8*len(b.Data) - b.PaddingBits) / b.DType.Bits() }

// checkBlobHeader checks the header of a weight file.
func checkBlobHeader(file []byte) error {
	if len(file) < blobHeaderSize {
		return invalid("", fmt.Sprintf("has %d bytes", len(file)), fmt.Sprintf("a header of %d", blobHeaderSize))
	}
	if v := binary.LittleEndian.Uint32(file[4:]); v != blobVersion {
		return unsupported("", fmt.Sprintf("storage version %d", v), fmt.Sprintf("version %d", blobVersion))
	}
	return nil
}

// readBlob reads the weight whose record is at offset of a weight file with a
// valid header.
func readBlob(file []byte, offset uint64) (Blob, error) {
	where := fmt.Sprintf("weight at %d", offset)
	size := uint64(len(file))
	if offset%alignment != 0 || offset < blobHeaderSize {
		return Blob{}, invalid(where, "offset of its record", "a multiple of 64 after the header")
	}
	if offset > size || size-offset < blobRecordSize {
		return Blob{}, invalid(where, fmt.Sprintf("its record is past the end of the file, which has %d bytes", size), "a complete weight file")
	}
	record := file[offset : offset+blobRecordSize]
	if s := binary.LittleEndian.Uint32(record); s != blobSentinel {
		return Blob{}, invalid(where, fmt.Sprintf("its record starts with %#08x", s), fmt.Sprintf("%#x", uint32(blobSentinel)))
	}
	dtype := tensor.Invalid
	code := binary.LittleEndian.Uint32(record[4:])
	if code < uint32(len(blobDTypes)) {
		dtype = blobDTypes[code]
	}
	if dtype == tensor.Invalid {
		return Blob{}, unsupported(where, fmt.Sprintf("element type %d", code), fmt.Sprintf("1 to %d", len(blobDTypes)-1))
	}
	length := binary.LittleEndian.Uint64(record[8:])
	start := binary.LittleEndian.Uint64(record[16:])
	padding := uint64(0)
	if dtype.IsSubByte() {
		// Old writers left the field uninitialised, which mattered to no type they had.
		padding = binary.LittleEndian.Uint64(record[24:])
	}
	if start%alignment != 0 || start < blobHeaderSize {
		return Blob{}, invalid(where, fmt.Sprintf("its data are at %d", start), "a multiple of 64 after the header")
	}
	if start > size || length > size-start {
		return Blob{}, invalid(where, fmt.Sprintf("%d bytes at %d are past the end of the file, which has %d", length, start, size), "a complete weight file")
	}
	if err := checkPadding(dtype, length, padding); err != nil {
		return Blob{}, at(where, err)
	}
	end := start + length
	return Blob{DType: dtype, Data: file[start:end:end], PaddingBits: int(padding)}, nil
}

// checkPadding checks that length bytes less the padding are whole elements.
func checkPadding(dtype tensor.DType, length, padding uint64) error {
	bits := uint64(dtype.Bits())
	if padding >= 8 || padding > 8*length {
		return invalid("", fmt.Sprintf("%d bits of padding after %d bytes", padding, length), "less than a byte")
	}
	if (8*length-padding)%bits != 0 {
		return invalid("", fmt.Sprintf("%d bytes less %d bits", length, padding), "whole elements of "+dtype.String())
	}
	return nil
}
