package tensor

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

const (
	npzMaxMembers = 10_000
	// npzMaxDirectory bounds what opening the archive reads, and so the memory
	// for its directory, whatever number of members it holds.
	npzMaxDirectory = 8 << 20
	npySuffix       = ".npy"
)

// Archive is the contents of an npz file: named tensors in the file's order.
type Archive struct {
	Names   []string
	Tensors map[string]*Tensor
}

// OpenNpz reads the npz file at path. The limit for its tensors is four times
// the file's size and 256 MiB.
func OpenNpz(path string) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tensor: npz: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("tensor: npz: %w", err)
	}
	return ReadNpz(f, info.Size(), 4*info.Size()+256<<20)
}

// ReadNpz reads NumPy's npz format, stored or deflated, from the first size
// bytes of r. Limit bounds the bytes of all tensors together. Every member has
// to be an npy file as ReadNpy takes it; names are without their ".npy", may
// contain slashes and are no paths. Refused are duplicate names, more than
// 10,000 members, and members whose checksum is wrong.
func ReadNpz(r io.ReaderAt, size, limit int64) (*Archive, error) {
	a, err := readNpz(r, size, limit)
	if err != nil {
		return nil, fmt.Errorf("tensor: npz: %w", err)
	}
	return a, nil
}

func readNpz(r io.ReaderAt, size, limit int64) (*Archive, error) {
	meter := &meteredReader{r: r, left: npzMaxDirectory}
	archive, err := zip.NewReader(meter, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, malformed(err)
	}
	meter.left = -1
	if n := len(archive.File); n > npzMaxMembers {
		return nil, fmt.Errorf("%w: %d members, want at most %d", ErrLimit, n, npzMaxMembers)
	}
	a := &Archive{Tensors: make(map[string]*Tensor, len(archive.File))}
	for _, f := range archive.File {
		name, ok := strings.CutSuffix(f.Name, npySuffix)
		if !ok {
			return nil, fmt.Errorf("%w: member %.100q: want a name in %s", ErrUnsupported, f.Name, npySuffix)
		}
		if a.Tensors[name] != nil {
			return nil, fmt.Errorf("%w: member %.100q: there are two", ErrFormat, f.Name)
		}
		t, err := readMember(f, size, limit)
		if err != nil {
			return nil, fmt.Errorf("member %.100q: %w", f.Name, err)
		}
		limit -= int64(len(t.data))
		a.Names = append(a.Names, name)
		a.Tensors[name] = t
	}
	return a, nil
}

func readMember(f *zip.File, fileSize, limit int64) (*Tensor, error) {
	backed := int64(min(f.CompressedSize64, uint64(fileSize)))
	switch f.Method {
	case zip.Store:
	case zip.Deflate:
		backed = 0 // known only when inflated
	default:
		return nil, fmt.Errorf("%w: compression method %d, want stored or deflated", ErrUnsupported, f.Method)
	}
	r, err := f.Open()
	if err != nil {
		return nil, malformed(err)
	}
	defer r.Close()
	t, err := readNpy(r, limit, backed)
	if err != nil {
		return nil, err
	}
	// The checksum is compared at the end of the member.
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return nil, fmt.Errorf("%w: bytes after the array", ErrFormat)
	case err != io.EOF:
		return nil, malformed(err)
	}
	return t, nil
}

// meteredReader fails after left bytes unless left is negative, and refuses the
// negative offsets that a directory may declare.
type meteredReader struct {
	r    io.ReaderAt
	left int64
}

func (m *meteredReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: member at offset %d", ErrFormat, off)
	}
	if m.left >= 0 {
		if m.left -= int64(len(p)); m.left < 0 {
			m.left = 0
			return 0, fmt.Errorf("%w: directory of more than %d bytes", ErrLimit, npzMaxDirectory)
		}
	}
	return m.r.ReadAt(p, off)
}

// WriteNpz writes the tensors of m under the given names, in their order, as an
// npz file without compression. If names is nil it writes all of m, sorted by
// name. The same tensors give the same bytes.
func WriteNpz(w io.Writer, names []string, m map[string]*Tensor) error {
	if names == nil {
		names = slices.Sorted(maps.Keys(m))
	}
	z := zip.NewWriter(w)
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		t := m[name]
		if t == nil || seen[name] {
			return fmt.Errorf("tensor: npz: member %q: want one tensor of that name", name)
		}
		seen[name] = true
		member, err := z.CreateHeader(&zip.FileHeader{Name: name + npySuffix, Method: zip.Store})
		if err != nil {
			return fmt.Errorf("tensor: npz: member %q: %w", name, err)
		}
		if err := WriteNpy(member, t); err != nil {
			return fmt.Errorf("tensor: npz: member %q: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("tensor: npz: %w", err)
	}
	return nil
}
