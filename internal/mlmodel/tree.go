package mlmodel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"coreml/internal/fault"
	"coreml/tensor"
)

// tree is a folder that the files of a model are read from. Names in it are
// slash separated; those that come from a file have passed checkName.
type tree struct {
	files fs.FS
	root  *os.Root   // nil for a tree that is not on disk: its files are read, not mapped
	zips  *unpacking // of such a tree
}

func openTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &Error{Kind: ErrLoad, Where: dir, What: "cannot be opened", Cause: bare(err)}
	}
	return &tree{files: root.FS(), root: root}, nil
}

// sub is the tree of a folder inside t. It is closed apart from t.
func (t *tree) sub(name string) (*tree, error) {
	if t.root == nil {
		files, err := fs.Sub(t.files, name)
		return &tree{files: files, zips: t.zips}, err
	}
	root, err := t.root.OpenRoot(name)
	if err != nil {
		return nil, t.openError(name, err)
	}
	return &tree{files: root.FS(), root: root}, nil
}

func (t *tree) Close() error {
	if t.root == nil {
		return nil
	}
	return t.root.Close()
}

// exists is true also for what is there but cannot be read.
func (t *tree) exists(name string) bool {
	_, err := fs.Stat(t.files, name)
	return !errors.Is(err, fs.ErrNotExist)
}

// content is a file's bytes until it is closed.
type content struct {
	data  []byte
	links uint64
	spent int64        // bytes allocated in reading it
	unmap func() error // nil when data is ordinary memory
}

func (c *content) Close() error {
	data, unmap := c.data, c.unmap
	c.data, c.unmap = nil, nil
	if data == nil || unmap == nil {
		return nil
	}
	return unmap()
}

// open maps or reads a regular file. An empty one has no data.
func (t *tree) open(name string) (*content, error) {
	f, info, err := t.openRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := &content{links: linkCount(info)}
	if info.Size() == 0 {
		return c, nil
	}
	if onDisk, ok := f.(*os.File); ok && t.root != nil {
		c.data, c.unmap, err = mapFile(onDisk, int(info.Size()))
	} else {
		if t.zips != nil {
			if err := t.zips.admit(info); err != nil {
				return nil, at(fault.Quote(name), err)
			}
		}
		c.data, c.spent, err = readAligned(f, int(info.Size()))
	}
	if err != nil {
		return nil, t.openError(name, err)
	}
	return c, nil
}

// openRegular opens a file whose size fits the address space.
func (t *tree) openRegular(name string) (fs.File, fs.FileInfo, error) {
	// A pipe would block when it is opened, so ask first.
	if info, err := fs.Stat(t.files, name); err != nil {
		return nil, nil, t.openError(name, err)
	} else if err := checkRegular(name, info); err != nil {
		return nil, nil, err
	}
	f, err := t.openFile(name)
	if err != nil {
		return nil, nil, t.openError(name, err)
	}
	info, err := f.Stat()
	if err != nil {
		err = t.openError(name, err)
	} else {
		err = checkRegular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func (t *tree) openFile(name string) (fs.File, error) {
	if t.root == nil {
		return t.files.Open(name)
	}
	return t.root.OpenFile(name, openFlags, 0)
}

func checkRegular(name string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return invalid(fault.Quote(name), "is a folder", "a file")
	case !info.Mode().IsRegular():
		return invalid(fault.Quote(name), "is not a regular file", "a file")
	case info.Size() < 0 || info.Size() > math.MaxInt:
		return tooLarge(fault.Quote(name), fmt.Sprintf("has %d bytes", info.Size()), "a file that fits the address space")
	}
	return nil
}

// openError explains why a file of the tree could not be opened or read.
func (t *tree) openError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Kind: ErrLoad, Where: fault.Quote(name), What: "is absent", Cause: fs.ErrNotExist}
	}
	if link := t.linkOn(name); link != "" {
		return &Error{Kind: ErrInvalid, Where: fault.Quote(name), Cause: bare(err),
			What: fault.Quote(link) + " is a symbolic link", Want: "a copy of the file, since links may not leave the model's folder"}
	}
	return &Error{Kind: ErrLoad, Where: fault.Quote(name), What: "cannot be read", Cause: bare(err)}
}

// linkOn returns the first symbolic link on the way to name, or nothing.
func (t *tree) linkOn(name string) string {
	if t.root == nil {
		return ""
	}
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if info, err := t.root.Lstat(name[:i]); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return name[:i]
		}
	}
	return ""
}

// bare strips a path error of its path, which the message gives already.
func bare(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// readAligned reads at most size bytes of r, to an aligned address. It
// allocates ahead at most three times what it has read, because size is only a
// claim, and says how much it has allocated.
func readAligned(r io.Reader, size int) (data []byte, spent int64, err error) {
	data = tensor.Aligned(min(size, 1<<20))
	spent = int64(len(data))
	for n := 0; ; {
		got, err := io.ReadFull(r, data[n:])
		n += got
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF || n == size:
			return data[:n:n], spent, nil
		case err != nil:
			return nil, spent, err
		}
		more := tensor.Aligned(min(size, 4*len(data)))
		spent += int64(len(more))
		copy(more, data)
		data = more
	}
}

// maxEntries bounds the entries of a folder, or of a whole package, that are looked at.
const maxEntries = 10000

// candidates are the models in a folder, by the endings of their names.
func (t *tree) candidates() (names []string, err error) {
	dir, err := t.files.Open(".")
	if err != nil {
		return nil, t.openError(".", err)
	}
	defer dir.Close()
	reader, ok := dir.(fs.ReadDirFile)
	if !ok {
		return nil, nil
	}
	entries, err := reader.ReadDir(maxEntries)
	if err != nil && err != io.EOF {
		return nil, t.openError(".", err)
	}
	for _, entry := range entries {
		switch strings.ToLower(path.Ext(entry.Name())) {
		case ".mlpackage", ".mlmodel":
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}
