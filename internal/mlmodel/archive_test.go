package mlmodel

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"coreml/internal/spec"
)

// archived puts files into a zip archive, in the order of their names.
func archived(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range sortedKeys(files) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unzipped(t *testing.T, data []byte) *zip.Reader {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// refuseArchive wants a model in an archive refused, and nearly nothing allocated for that.
func refuseArchive(t *testing.T, fsys fs.FS, name string, kind error, text string) {
	t.Helper()
	before := allocated()
	m, err := OpenFS(fsys, name)
	if err == nil {
		m.Close()
	}
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want %v: %s", err, kind, text)
	}
	if n := allocated() - before; n > 4<<20 {
		t.Errorf("allocated %d bytes to say so", n)
	}
}

// TestArchiveBombs: what unpacks to far more than it takes is refused before it is read.
func TestArchiveBombs(t *testing.T) {
	zeros := make([]byte, 64<<20)
	z := unzipped(t, archived(t, map[string][]byte{"model.mlmodel": zeros}))
	const text = "unpacks to 6710" // and some
	refuseArchive(t, z, "model.mlmodel", ErrLimit, text)
	refuseArchive(t, struct{ fs.FS }{z}, "model.mlmodel", ErrLimit, text) // behind another file system
	p := newPackage()
	p.weights = append(p.weights, zeros...)
	refuseArchive(t, unzipped(t, archived(t, p.files())), ".", ErrLimit, text)
}

// TestManySmallBombs: they are counted together.
func TestManySmallBombs(t *testing.T) {
	const size = 1<<20 - 128
	p := newPackage()
	p.extra = map[string]string{}
	zeros := string(newWeights(record{dtype: 2, size: size, start: 128}, make([]byte, size)))
	var ops []*spec.Operation
	for i := range 200 {
		name := fmt.Sprintf("weights/%d.bin", i)
		ops = append(ops, constOp(modelPath+name, 64, spec.DataType_FLOAT32, size/4))
		p.extra["Data/com.apple.CoreML/"+name] = zeros
	}
	p.model = newProgram(ops...)
	refuseArchive(t, unzipped(t, archived(t, p.files())), ".", ErrLimit, "unpacks to 1048576 bytes")
}

// TestArchiveThatLies: sizes that the archive does not have back nothing.
func TestArchiveThatLies(t *testing.T) {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestCompression)
	w.Write(make([]byte, 64<<20))
	w.Close()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	raw, err := z.CreateRaw(&zip.FileHeader{Name: "model.mlmodel", Method: zip.Deflate, UncompressedSize64: 64 << 20, CompressedSize64: 1 << 20})
	if err == nil {
		_, err = io.Copy(raw, &packed)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	refuseArchive(t, unzipped(t, b.Bytes()), "model.mlmodel", ErrInvalid, "does not have the 1048576 bytes")
}

// TestArchiveThatOverlaps: two files cannot both count the same bytes.
func TestArchiveThatOverlaps(t *testing.T) {
	p := newPackage()
	files := p.files()
	names := sortedKeys(files)
	data := archived(t, files)
	var records []int // of the directory
	for i := 0; i < len(data); {
		n := bytes.Index(data[i:], []byte("PK\x01\x02"))
		if n < 0 {
			break
		}
		records = append(records, i+n)
		i += n + 4
	}
	if len(records) != len(names) {
		t.Fatalf("%d records of %d files", len(records), len(names))
	}
	model := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, p.modelPath) })
	weights := slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, ".bin") })
	const offset = 42
	at := binary.LittleEndian.Uint32(data[records[model]+offset:])
	binary.LittleEndian.PutUint32(data[records[weights]+offset:], at)
	refuseArchive(t, unzipped(t, data), ".", ErrInvalid, "shares bytes of the archive")
}

// TestArchivesThatAreSound: packed well or not at all, and of zeros up to a MiB.
func TestArchivesThatAreSound(t *testing.T) {
	p := newPackage()
	noise := make([]byte, 4<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(noise)
	for name, tail := range map[string][]byte{"small": nil, "zeros": make([]byte, 900<<10), "noise": noise} {
		q := *p
		q.weights = append(slices.Clone(p.weights), tail...)
		z := unzipped(t, archived(t, q.files()))
		for _, fsys := range []fs.FS{z, struct{ fs.FS }{z}} {
			m, err := OpenFS(fsys, ".")
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			m.Close()
		}
	}
}
