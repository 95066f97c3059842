package mlmodel

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
)

// What the files of a model may unpack to that come out of zip archives, all
// together: so much, and so many times what they take there.
const (
	unpackFree  = 1 << 20
	unpackRatio = 100
)

// unpacking counts what is read of zip archives, before it is.
type unpacking struct {
	// archive is the file system itself where that is an archive: what its
	// directory says is checked. Otherwise the headers of files that have one are believed.
	archive        *zip.Reader
	taken          map[*zip.FileHeader]span // of the archive, by its files
	packed, opened int64
}

type span struct{ start, end int64 }

func newUnpacking(fsys fs.FS) *unpacking {
	switch z := fsys.(type) {
	case *zip.Reader:
		return &unpacking{archive: z, taken: map[*zip.FileHeader]span{}}
	case *zip.ReadCloser:
		return newUnpacking(&z.Reader)
	}
	return &unpacking{}
}

// admit refuses a file that unpacks to more than it may.
func (u *unpacking) admit(info fs.FileInfo) error {
	h, ok := info.Sys().(*zip.FileHeader)
	if !ok {
		return nil
	}
	packed := info.Size() // a file that is larger packed backs no more than itself
	if h.CompressedSize64 < uint64(packed) {
		packed = int64(h.CompressedSize64)
	}
	if err := u.backed(h); err != nil {
		return err
	}
	u.packed += packed
	u.opened += info.Size()
	if u.opened-unpackFree > unpackRatio*u.packed {
		return tooLarge("", fmt.Sprintf("unpacks to %d bytes from %d", info.Size(), packed),
			fmt.Sprintf("at most %d times as many: unpack the archive first", unpackRatio))
	}
	return nil
}

// backed checks that the archive has the bytes that its directory says a file takes,
// and that no other file of the model takes the same.
func (u *unpacking) backed(h *zip.FileHeader) error {
	if u.archive == nil || h.CompressedSize64 == 0 {
		return nil
	}
	for _, f := range u.archive.File {
		if &f.FileHeader != h {
			continue
		}
		start, err := f.DataOffset()
		if err != nil {
			return &Error{Kind: ErrInvalid, What: "is not where the directory of the archive says", Cause: err}
		}
		s := span{start, start + int64(h.CompressedSize64)}
		if !s.exists(f) {
			return invalid("", fmt.Sprintf("the archive does not have the %d bytes that it says this takes", h.CompressedSize64), "a complete archive")
		}
		for who, other := range u.taken {
			if s.start < other.end && other.start < s.end && who != h {
				return invalid("", "shares bytes of the archive with another file", "files of their own")
			}
		}
		u.taken[h] = s
	}
	return nil
}

// exists reports whether the last byte of a file's span can be read.
func (s span) exists(f *zip.File) bool {
	raw, err := f.OpenRaw()
	if err != nil || s.end <= s.start {
		return false
	}
	at, ok := raw.(io.ReaderAt)
	if !ok {
		return true
	}
	var last [1]byte
	n, _ := at.ReadAt(last[:], s.end-s.start-1)
	return n == 1
}
