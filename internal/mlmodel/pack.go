package mlmodel

import (
	"archive/zip"
	"io"
)

// Pack writes the files of the model, those that Digest covers, as a zip archive
// without compression. OpenFS of the archive and the name opens the same model.
func (m *Model) Pack(w io.Writer) (name string, err error) {
	names, err := m.files()
	if err != nil {
		return "", err
	}
	name = m.name
	if m.whole {
		name = "."
	}
	z := zip.NewWriter(w)
	for _, n := range names {
		if err := m.tree.pack(z, n); err != nil {
			return "", at(m.where, err)
		}
	}
	return name, z.Close()
}

func (t *tree) pack(z *zip.Writer, name string) error {
	f, _, err := t.openRegular(name)
	if err != nil {
		return err
	}
	defer f.Close()
	to, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, f); err != nil {
		return t.openError(name, err)
	}
	return nil
}
