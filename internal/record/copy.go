package record

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/mlmodel"
)

// copyModel copies a model to base with its ending, which it returns. One that did
// not come from the disk is in memory, and goes through it.
func copyModel(base string, m *mlmodel.Model) (kind string, err error) {
	if m.Path == "" {
		return copyPacked(base, m)
	}
	info, err := os.Stat(m.Path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "mlmodel", copyFile(base+".mlmodel", os.DirFS(filepath.Dir(m.Path)), filepath.Base(m.Path))
	}
	return "mlpackage", copyTree(base+".mlpackage", os.DirFS(m.Path))
}

func copyPacked(base string, m *mlmodel.Model) (kind string, err error) {
	var b bytes.Buffer
	name, err := m.Pack(&b)
	if err != nil {
		return "", err
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		return "", err
	}
	if name == "." {
		return "mlpackage", copyTree(base+".mlpackage", z)
	}
	return "mlmodel", copyFile(base+".mlmodel", z, name)
}

func copyTree(to string, from fs.FS) error {
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(to, filepath.FromSlash(name))
		if d.IsDir() {
			if strings.Count(name, "/") > 32 {
				return fmt.Errorf("%s: nested too deep: %w", name, fault.Limit)
			}
			return os.Mkdir(to, 0o777)
		}
		return copyFile(to, from, name)
	})
}

func copyFile(to string, from fs.FS, name string) error {
	r, err := from.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	if info, err := r.Stat(); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: want a regular file", name, fault.Invalid)
	}
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
