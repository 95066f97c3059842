// Package atomicfile writes files and folders that are either whole or not there.
package atomicfile

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes the file name of what write writes. Until all of it is on the
// disk, another file of that name stays as it was; after a crash, the name holds
// the old content or the new. The mode stays, too. A symbolic link is followed,
// also one to nothing. Devices and pipes, such as /dev/stdout, are written to as they are.
func Write(name string, write func(io.Writer) error) error {
	info, err := os.Stat(name)
	old := err == nil
	if old && !info.Mode().IsRegular() {
		return direct(name, write)
	}
	target, err := follow(name)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o666)
	if old {
		mode = info.Mode().Perm()
	}
	f, err := create(target, mode)
	if err != nil {
		return err
	}
	if old {
		err = keepMode(f, mode)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err := fill(f, write); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(target))
}

// maxLinks is how many links may follow one another.
const maxLinks = 40

// follow is the name that a chain of symbolic links ends at, whether or not a file is there.
func follow(name string) (string, error) {
	start := name
	for range maxLinks {
		target, err := filepath.EvalSymlinks(name)
		if err == nil {
			return target, nil
		}
		link, err2 := os.Readlink(name)
		switch {
		case err2 != nil:
			return name, nil // no link: whoever opens it says what is wrong
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case !filepath.IsAbs(link):
			// Not cleaned, since what is before a .. may be a link.
			link = filepath.Dir(name) + string(filepath.Separator) + link
		}
		name = link
	}
	return "", &fs.PathError{Op: "follow", Path: start, Err: fmt.Errorf("more than %d symbolic links", maxLinks)}
}

// keepMode gives a new file the mode of the old one, whatever the umask is.
func keepMode(f *os.File, mode fs.FileMode) error {
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() == mode {
		return err
	}
	return f.Chmod(mode)
}

// Folder makes the folder name of what write puts into the folder that it is given.
// Name must not exist; it appears when all of it is on the disk. What a crash leaves
// has a name that begins with a dot.
func Folder(name string, write func(dir string) error) error {
	name = filepath.Clean(name)
	if _, err := os.Lstat(name); err == nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	parent := filepath.Dir(name)
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	if err = write(tmp); err == nil {
		err = os.Chmod(tmp, 0o755)
	}
	if err == nil {
		err = filepath.WalkDir(tmp, syncEntry)
	}
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return syncFolder(parent)
}

func syncEntry(name string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if d.IsDir() {
		return syncFolder(name)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// create makes a file beside target, under a name that is not in use.
func create(target string, mode fs.FileMode) (*os.File, error) {
	for range 100 {
		f, err := os.OpenFile(target+"."+rand.Text()[:10]+".tmp", os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		var file *fs.PathError
		if errors.As(err, &file) {
			file.Path = target // which the caller knows
		}
		return f, err
	}
	return nil, fmt.Errorf("atomicfile: %s: no temporary name is free", target)
}

func fill(f *os.File, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(f, 1<<16)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

func direct(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<16)
	err = write(b)
	if err == nil {
		err = b.Flush()
	}
	return errors.Join(err, f.Close())
}
