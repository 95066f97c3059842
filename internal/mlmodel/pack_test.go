package mlmodel

import (
	"archive/zip"
	"bytes"
	"testing"
)

func TestPack(t *testing.T) {
	p := newPackage()
	raw := t.TempDir() + "/plain.mlmodel"
	writeFile(t, raw, encode(newProgram()))
	for _, open := range []func() (*Model, error){
		func() (*Model, error) { return Open(p.write(t)) },
		func() (*Model, error) { return OpenFS(p.memory(), "test.mlpackage") },
		func() (*Model, error) { return Open(raw) },
	} {
		m, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		var b bytes.Buffer
		name, err := m.Pack(&b)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		again, err := OpenFS(z, name)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		want, err := m.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := again.Digest(); err != nil || got != want {
			t.Errorf("%s: digest %s (%v), want %s", name, got, err, want)
		}
	}
}
