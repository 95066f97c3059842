package verify

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"coreml/internal/fault"
)

// zipFS is a zip of many folders as a file system whose look-ups do not depend
// on the number of its files.
type zipFS struct {
	size  uint64 // of the zip
	files map[string]*zip.File
	dirs  map[string][]fs.DirEntry
}

// A file of more than freeSize bytes may be at most maxRatio times as large as
// what is packed of it, which the zip has to hold.
const (
	maxRatio = 100
	freeSize = 1 << 20
)

func newZipFS(z *zip.ReadCloser, size int64) *zipFS {
	f := &zipFS{size: uint64(size), files: map[string]*zip.File{}, dirs: map[string][]fs.DirEntry{}}
	for _, e := range z.File {
		name := path.Clean(strings.TrimSuffix(e.Name, "/"))
		if e.FileInfo().IsDir() || !fs.ValidPath(name) || f.files[name] != nil {
			continue
		}
		f.files[name] = e
		f.link(name, fs.FileInfoToDirEntry(e.FileInfo()))
	}
	return f
}

// link adds an entry to its folder, and the folder to the one above.
func (f *zipFS) link(name string, e fs.DirEntry) {
	dir := path.Dir(name)
	_, known := f.dirs[dir]
	f.dirs[dir] = append(f.dirs[dir], e)
	if !known && dir != "." {
		f.link(dir, fs.FileInfoToDirEntry(dirInfo(path.Base(dir))))
	}
}

func (f *zipFS) caseDirs() []string {
	var out []string
	for name := range f.files {
		if path.Base(name) == "case.json" {
			out = append(out, path.Dir(name))
		}
	}
	return out
}

// Open implements fs.FS.
func (f *zipFS) Open(name string) (fs.File, error) {
	if e := f.files[name]; e != nil {
		if packed := min(e.CompressedSize64, f.size); e.UncompressedSize64 > freeSize && e.UncompressedSize64/maxRatio > packed {
			err := fmt.Errorf("%w: %d bytes packed in %d, want at most %d times as many", fault.Limit, e.UncompressedSize64, packed, maxRatio)
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		r, err := e.Open()
		return zipFile{r, e}, err
	}
	if l, ok := f.dirs[name]; ok {
		return &zipDir{name: path.Base(name), entries: l}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

type zipFile struct {
	io.ReadCloser
	entry *zip.File
}

func (f zipFile) Stat() (fs.FileInfo, error) { return f.entry.FileInfo(), nil }

type zipDir struct {
	name    string
	entries []fs.DirEntry
}

func (d *zipDir) Stat() (fs.FileInfo, error) { return dirInfo(d.name), nil }
func (d *zipDir) Read([]byte) (int, error)   { return 0, fs.ErrInvalid }
func (d *zipDir) Close() error               { return nil }

func (d *zipDir) ReadDir(n int) ([]fs.DirEntry, error) {
	l := d.entries
	if n > 0 && n < len(l) {
		l = l[:n]
	}
	d.entries = d.entries[len(l):]
	return l, nil
}

// dirInfo describes a folder of a zip.
type dirInfo string

func (d dirInfo) Name() string       { return string(d) }
func (d dirInfo) Size() int64        { return 0 }
func (d dirInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o555 }
func (d dirInfo) ModTime() time.Time { return time.Time{} }
func (d dirInfo) IsDir() bool        { return true }
func (d dirInfo) Sys() any           { return nil }
