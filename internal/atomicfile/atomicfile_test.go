package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func content(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// onlyFile fails if a temporary file is left.
func onlyFile(t *testing.T, dir string, want int) {
	t.Helper()
	l, err := os.ReadDir(dir)
	if err != nil || len(l) != want {
		t.Errorf("folder holds %v (%v), want %d entries", l, err, want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	for _, want := range []string{"first", "second, longer", ""} {
		if err := Write(name, text(want)); err != nil {
			t.Fatal(err)
		}
		if got := content(t, name); got != want {
			t.Errorf("content %q, want %q", got, want)
		}
	}
	onlyFile(t, dir, 1)
}

func TestFailureKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	if err := Write(name, text("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Write(name, func(w io.Writer) error {
		io.WriteString(w, "half of the new")
		if got := content(t, name); got != "old" {
			t.Errorf("while writing, content is %q, want the old", got)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want what write returned", err)
	}
	if got := content(t, name); got != "old" {
		t.Errorf("content %q, want the old", got)
	}
	onlyFile(t, dir, 1)
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	broken := errors.New("broken")
	put := func(err error) func(string) error {
		return func(tmp string) error {
			if _, err := os.Lstat(name); err == nil {
				t.Error("it is there before it is whole")
			}
			return errors.Join(os.Mkdir(filepath.Join(tmp, "sub"), 0o755), os.WriteFile(filepath.Join(tmp, "sub", "f"), []byte("x"), 0o644), err)
		}
	}
	if err := Folder(name, put(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v, want what write returned", err)
	}
	onlyFile(t, dir, 0)
	if err := Folder(name, put(nil)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(name, "sub", "f")); got != "x" {
		t.Errorf("content %q", got)
	}
	if err := Folder(name, func(string) error { t.Error("it is written over"); return nil }); !errors.Is(err, os.ErrExist) {
		t.Errorf("error %v, want that it exists", err)
	}
	onlyFile(t, dir, 1)
}

func TestMissingFolder(t *testing.T) {
	name := filepath.Join(t.TempDir(), "no", "a")
	var file *os.PathError
	if err := Write(name, text("x")); !errors.Is(err, os.ErrNotExist) || !errors.As(err, &file) || file.Path != name {
		t.Errorf("error %v, want that the folder of %s does not exist", err, name)
	}
}

func TestDevice(t *testing.T) {
	if _, err := os.Stat("/dev/null"); err != nil {
		t.Skip("no /dev/null here")
	}
	if err := Write("/dev/null", text("gone")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null is %v now (%v)", info.Mode(), err)
	}
}
