//go:build unix

package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

func mode(t *testing.T, name string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestKeepsModeAndLink(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	dir := t.TempDir()
	name, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	if err := os.Symlink("a", link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, m := range []fs.FileMode{0o664, 0o606, 0o600, 0o444} {
		if err := os.Chmod(name, m); err != nil {
			t.Fatal(err)
		}
		if err := Write(link, text("through")); err != nil {
			t.Fatal(err)
		}
		if got := mode(t, name); got != m || content(t, name) != "through" {
			t.Errorf("mode %v, content %q, want %v and the new content", got, content(t, name), m)
		}
	}
	if got := mode(t, link); got&fs.ModeSymlink == 0 {
		t.Errorf("the link has become %v", got)
	}
	if err := Write(filepath.Join(dir, "new"), text("new")); err != nil {
		t.Fatal(err)
	}
	if got := mode(t, filepath.Join(dir, "new")); got != 0o640 {
		t.Errorf("a new file has mode %v, want what the umask leaves of 666", got)
	}
}

// TestDanglingLink writes through links to a file that is not there.
func TestDanglingLink(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "deep", "sub")
	if err := os.MkdirAll(sub, 0o777); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{
		"one":      "a",
		"two":      "one",
		"absolute": filepath.Join(dir, "b"),
		"folder":   filepath.Join("deep", "sub"),
		"up":       "folder/../c", // of deep, since folder is a link
		"loop":     "loop",
		"nowhere":  "absent/a",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ link, file string }{{"two", "a"}, {"absolute", "b"}, {"up", "deep/c"}} {
		if err := Write(filepath.Join(dir, c.link), text(c.link)); err != nil {
			t.Errorf("%s: %v", c.link, err)
			continue
		}
		if got := content(t, filepath.Join(dir, c.file)); got != c.link {
			t.Errorf("%s: content %q", c.file, got)
		}
	}
	for _, link := range []string{"loop", "nowhere"} {
		if err := Write(filepath.Join(dir, link), text("x")); err == nil {
			t.Errorf("%s: written", link)
		}
	}
	for _, link := range []string{"one", "two", "absolute", "up", "loop", "nowhere"} {
		if got := mode(t, filepath.Join(dir, link)); got&fs.ModeSymlink == 0 {
			t.Errorf("%s has become %v", link, got)
		}
	}
}

// TestOpenPipe writes to a pipe that has a name only through a link.
func TestOpenPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	name := "/dev/fd/" + strconv.Itoa(int(w.Fd()))
	if _, err := os.Stat(name); err != nil {
		t.Skip("no /dev/fd here")
	}
	if err := Write(name, text("through")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 7)
	if n, err := r.Read(b); err != nil || string(b[:n]) != "through" {
		t.Errorf("%q, %v", b[:n], err)
	}
}
