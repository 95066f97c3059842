package mlmodel

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Copy copies the model into the folder dir, as name and its ending, which it
// returns. It takes the files that Digest covers: a package goes into a folder of
// that name, a model file's weights where they lie beside it. Nothing is written over.
func (m *Model) Copy(dir, name string) (ending string, err error) {
	names, err := m.files()
	if err != nil {
		return "", err
	}
	ending = "mlmodel"
	if m.whole {
		ending = "mlpackage"
		dir = filepath.Join(dir, name+".mlpackage")
	}
	for _, from := range names {
		to := from
		if !m.whole {
			if to = strings.TrimPrefix(from, path.Dir(m.name)+"/"); from == m.name {
				to = name + ".mlmodel"
			}
		}
		if err := m.tree.copy(filepath.Join(dir, filepath.FromSlash(to)), from); err != nil {
			return "", at(m.where, err)
		}
	}
	return ending, nil
}

func (t *tree) copy(to, from string) error {
	r, _, err := t.openRegular(from)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}
