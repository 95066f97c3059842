//go:build unix

package mlmodel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"coreml/internal/spec"
)

func TestLinks(t *testing.T) {
	const weights, model, manifest = "Data/com.apple.CoreML/weights/weight.bin", "Data/com.apple.CoreML/model.mlmodel", "Manifest.json"
	// move takes a file of the package outside and puts something in its place.
	move := func(t *testing.T, pkg, name string, replace func(outside, name string) error) {
		outside := filepath.Join(t.TempDir(), "outside")
		if err := os.Rename(filepath.Join(pkg, name), outside); err != nil {
			t.Fatal(err)
		}
		if err := replace(outside, filepath.Join(pkg, name)); err != nil {
			t.Skip(err)
		}
	}
	fifo := func(_, name string) error { return syscall.Mkfifo(name, 0o644) }
	for _, c := range []struct {
		name, file string
		replace    func(outside, name string) error
		kind       error
		text       string
	}{
		{"weights linked outside", weights, os.Symlink, ErrInvalid, "is a symbolic link"},
		{"model linked outside", model, os.Symlink, ErrInvalid, "is a symbolic link"},
		{"manifest linked outside", manifest, os.Symlink, ErrInvalid, "is a symbolic link"},
		{"folder linked outside", "Data/com.apple.CoreML/weights", os.Symlink, ErrInvalid, `weights" is a symbolic link`},
		{"data linked outside", "Data", os.Symlink, ErrInvalid, `"Data" is a symbolic link`},
		{"weights hard linked", weights, os.Link, ErrInvalid, "has 2 hard links"},
		{"weights are a pipe", weights, fifo, ErrInvalid, "not a regular file"},
		{"model is a pipe", model, fifo, ErrInvalid, "not a regular file"},
		{"manifest is a pipe", manifest, fifo, ErrInvalid, "not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pkg := newPackage().write(t)
			move(t, pkg, c.file, c.replace)
			start := time.Now()
			m, err := Open(pkg)
			checkRefused(t, m, err, c.kind, c.text)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestLinksInsideThePackageAreFollowed(t *testing.T) {
	pkg := newPackage().write(t)
	folder := filepath.Join(pkg, "Data/com.apple.CoreML/weights")
	if err := os.Rename(filepath.Join(folder, "weight.bin"), filepath.Join(folder, "real.bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.bin", filepath.Join(folder, "weight.bin")); err != nil {
		t.Skip(err)
	}
	m, err := Open(pkg)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

// The caller's own path may be a link anywhere, as in a cache of downloads.
func TestOpenThroughALink(t *testing.T) {
	pkg := newPackage().write(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(pkg, link); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "model.mlmodel")
	if err := os.Symlink(filepath.Join(pkg, "Data/com.apple.CoreML/model.mlmodel"), file); err != nil {
		t.Skip(err)
	}
	for _, name := range []string{link, file} {
		m, err := Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		m.Close()
	}
}

func TestUnreadableFileSaysWhy(t *testing.T) {
	pkg := newPackage().write(t)
	if err := os.Chmod(filepath.Join(pkg, "Data/com.apple.CoreML/model.mlmodel"), 0); err != nil {
		t.Fatal(err)
	}
	m, err := Open(pkg)
	if err == nil {
		m.Close()
		t.Skip("this user may read every file")
	}
	if !errors.Is(err, ErrLoad) || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want ErrLoad and fs.ErrPermission", err)
	}
}

// A mapped file that is truncated faults when it is read.
func TestTruncationWhileOpen(t *testing.T) {
	const size = 1 << 20
	p := newPackage()
	p.weights = newWeights(record{dtype: 2, size: size, start: 128}, make([]byte, size))
	// The second record lies in another page than the first.
	copy(p.weights[size/2:], p.weights[64:128])
	p.model = newProgram(constOp(weightFile, size/2, spec.DataType_FLOAT32, size/4))
	pkg := p.write(t)
	m, err := Open(pkg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Truncate(filepath.Join(pkg, "Data/com.apple.CoreML/weights/weight.bin"), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Blob(weightFile, size/2); !errors.Is(err, ErrLoad) {
		t.Errorf("got %v, want ErrLoad", err)
	}
}

// faultyFS gives files whose contents fault, like a mapping of a file that was truncated.
type faultyFS struct {
	fs.FS
	mapped []byte
}

func (f faultyFS) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	return faultyFile{file, f.mapped}, err
}

type faultyFile struct {
	fs.File
	mapped []byte
}

func (f faultyFile) Read(p []byte) (int, error) { return copy(p, f.mapped), nil }

func TestFaultWhileOpeningIsAnError(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	writeFile(t, name, make([]byte, 1<<16))
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	mapped, unmap, err := mapFile(file, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	defer unmap()
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	m, err := OpenFS(faultyFS{newPackage().memory(), mapped}, "test.mlpackage")
	checkRefused(t, m, err, ErrLoad, "test.mlpackage: a file changed while it was read")
}

func TestOtherPanicsAreNotHidden(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("the panic was swallowed")
		}
	}()
	var err error
	defer recoverFault("", &err)()
	panic("BUG: planted")
}
