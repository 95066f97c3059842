package tensor

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Why a file is refused; errors.Is finds them in what the readers return.
var (
	ErrFormat      = errors.New("malformed")
	ErrUnsupported = errors.New("unsupported")
	ErrLimit       = errors.New("over the limit")
)

// firstRead is how much is allocated for data of which nothing is known yet
// but what the header says.
const firstRead = 1 << 20

// ReadNpy reads one array of NumPy's npy format, version 1 to 3, and nothing
// after it. Limit bounds the bytes of its data. Elements are bool, integers or
// floats of 16, 32 and 64 bits; big-endian and Fortran-ordered data are
// brought into a Tensor's order. Memory grows with what r delivers, never with
// what the header declares.
func ReadNpy(r io.Reader, limit int64) (*Tensor, error) {
	t, err := readNpy(r, limit, 0)
	if err != nil {
		return nil, fmt.Errorf("tensor: npy: %w", err)
	}
	return t, nil
}

// readNpy is ReadNpy for data of which backed bytes are known to exist.
func readNpy(r io.Reader, limit, backed int64) (*Tensor, error) {
	h, err := readNpyHeader(r)
	if err != nil {
		return nil, err
	}
	n, size, err := measure(h.dtype, h.shape)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if int64(size) > limit {
		return nil, fmt.Errorf("%w: %s: %d bytes, want at most %d", ErrLimit, describe(h.dtype, h.shape), size, max(limit, 0))
	}
	data, err := readData(r, size, backed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", describe(h.dtype, h.shape), err)
	}
	if h.bigEndian {
		swapBytes(data, h.dtype.Size())
	}
	if h.fortran {
		data = rowMajor(data, h.dtype.Size(), h.shape)
	}
	if h.dtype == Bool { // NumPy takes any bit as true
		for i, b := range data {
			data[i] = truth(b != 0)
		}
	}
	return &Tensor{dtype: h.dtype, n: n, shape: h.shape, data: data}, nil
}

// readData reads size bytes into memory that is allocated in growing steps
// unless backed says that they exist.
func readData(r io.Reader, size int, backed int64) ([]byte, error) {
	data := alloc(min(size, max(firstRead, int(min(backed, int64(size))))))
	for have := 0; ; {
		n, err := io.ReadFull(r, data[have:])
		if err != nil {
			return nil, fmt.Errorf("%d bytes of data, want %d: %w", have+n, size, malformed(err))
		}
		have = len(data)
		if have == size {
			return data, nil
		}
		more := alloc(min(size, 2*have))
		copy(more, data)
		data = more
	}
}

// malformed adds ErrFormat to what the contents of a file caused, and leaves
// errors of reading it alone.
func malformed(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	var corrupt flate.CorruptInputError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, zip.ErrFormat) ||
		errors.Is(err, zip.ErrChecksum) || errors.As(err, &corrupt) {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return err
}

func swapBytes(data []byte, size int) {
	for i := 0; i+size <= len(data); i += size {
		slices.Reverse(data[i : i+size])
	}
}

// rowMajor returns data, whose first dimension varies fastest, with the last
// one varying fastest. Elements have size bytes.
func rowMajor(data []byte, size int, shape []int) []byte {
	out := alloc(len(data))
	strides := make([]int, len(shape)) // in bytes of data
	step := size
	for i, d := range shape {
		strides[i] = step
		step *= d
	}
	index := make([]int, len(shape))
	from := 0
	for to := 0; to < len(out); to += size {
		copy(out[to:to+size], data[from:from+size])
		for i := len(shape) - 1; i >= 0; i-- {
			index[i]++
			from += strides[i]
			if index[i] < shape[i] {
				break
			}
			from -= strides[i] * shape[i]
			index[i] = 0
		}
	}
	return out
}

// WriteNpy writes t in NumPy's npy format, version 1.0. What NumPy has no type
// for is written as the smallest one that holds it exactly: BFloat16 and 8-bit
// floats as float32, packed integers as int8 or uint8.
func WriteNpy(w io.Writer, t *Tensor) error {
	t, err := forNumpy(t)
	if err != nil {
		return fmt.Errorf("tensor: npy: %w", err)
	}
	if _, err := w.Write(appendNpyHeader(nil, t.dtype, t.shape)); err != nil {
		return fmt.Errorf("tensor: npy: %w", err)
	}
	if _, err := w.Write(t.data); err != nil {
		return fmt.Errorf("tensor: npy: %w", err)
	}
	return nil
}

func forNumpy(t *Tensor) (*Tensor, error) {
	if len(t.shape) > npyMaxRank {
		return nil, fmt.Errorf("%w: rank %d, want at most %d", ErrUnsupported, len(t.shape), npyMaxRank)
	}
	switch {
	case npyCodes[t.dtype] != "":
		return t, nil
	case t.dtype.IsFloat():
		return t.Convert(Float32)
	case t.dtype.IsSigned():
		return t.Convert(Int8)
	case t.dtype.IsInt():
		return t.Convert(UInt8)
	}
	return nil, fmt.Errorf("%w: %v: want a numeric type", ErrUnsupported, t)
}
