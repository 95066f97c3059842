// Package mlmodel reads Core ML model files, .mlpackage folders and .mlmodel
// files, and describes them.
//
// A model is checked as it is read, and nothing in it is trusted: sizes are
// compared with the bytes that back them, names stay inside the model's folder,
// nesting and memory have limits. What it reads and describes takes at most four
// times the size of the model file and 256 MiB; weight files are mapped, not read.
package mlmodel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"coreml/internal/fault"
	"coreml/internal/spec"
	"coreml/schema"

	"google.golang.org/protobuf/proto"
)

// newestVersion is the last specification version that this package knows.
const newestVersion = 10

// Model is a model read, checked and described, but not executable yet.
// Its methods may be called concurrently, except for Close.
type Model struct {
	Spec        *spec.Model
	Description *schema.Description
	// Kind is the type of the model as the schema spells it, for instance
	// mlProgram, neuralNetworkClassifier or pipeline.
	Kind string
	// Path is where the model was opened; empty if that was no file on disk.
	Path string

	where   string // the name that the caller gave
	tree    *tree
	name    string              // of the model file in tree
	whole   bool                // tree is a package: all of it is the model
	weights map[string]*content // by the name in tree
}

// Open reads a .mlpackage folder, a .mlmodel file, or the only model in a
// folder. Weight files stay mapped until Close, and have to stay as they are.
//
// Files of a package may be symbolic links that stay inside it. A weight file
// with further hard links is refused: a package that somebody else has put on
// this machine could reach any file of the same disk that way.
func Open(name string) (*Model, error) { return open(name, true) }

// Describe reads the description of a model, whose weights may be absent.
func Describe(name string) (*schema.Description, error) {
	m, err := open(name, false)
	if err != nil {
		return nil, err
	}
	return m.Description, m.Close()
}

func open(name string, weights bool) (*Model, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, &Error{Kind: ErrLoad, Where: name, What: "cannot be opened", Cause: bare(err)}
	}
	dir, base := name, "."
	if !info.IsDir() {
		// The name is the caller's, so that a link may lead anywhere.
		target, err := filepath.EvalSymlinks(name)
		if err != nil {
			return nil, &Error{Kind: ErrLoad, Where: name, What: "cannot be opened", Cause: bare(err)}
		}
		dir, base = filepath.Split(target)
		if dir == "" {
			dir = "."
		}
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	m := &Model{Path: name, where: name, tree: t, name: base}
	if err := m.read(weights); err != nil {
		return nil, err
	}
	return m, nil
}

// OpenFS reads a model like Open, from a file system and to memory. It can
// leave fsys no more than fsys itself allows.
//
// Files in a zip archive may together unpack to a hundred times what they take
// there and 1 MiB; more is refused before it is read. Of an archive that is fsys
// itself the sizes are checked, of one behind another file system they are
// believed. Any other file system's sizes bound what is read of its files.
func OpenFS(fsys fs.FS, name string) (*Model, error) { return openFS(fsys, name, true) }

func openFS(fsys fs.FS, name string, weights bool) (*Model, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, &Error{Kind: ErrLoad, Where: name, What: "cannot be opened", Cause: bare(err)}
	}
	dir, base := name, "."
	if !info.IsDir() {
		dir, base = path.Dir(name), path.Base(name)
	}
	files, err := fs.Sub(fsys, dir)
	if err != nil {
		return nil, &Error{Kind: ErrLoad, Where: name, What: "cannot be opened", Cause: bare(err)}
	}
	m := &Model{where: name, tree: &tree{files: files, zips: newUnpacking(fsys)}, name: base}
	if err := m.read(weights); err != nil {
		return nil, err
	}
	return m, nil
}

// read reads the model file m.name of m.tree, or the model in that folder if
// the name is ".". It closes m if that fails.
func (m *Model) read(weights bool) (err error) {
	defer func() {
		if err != nil {
			m.Close()
			err = at(m.where, err)
		}
	}()
	defer recoverFault("", &err)()
	m.weights = map[string]*content{}
	return m.readParts(weights)
}

func (m *Model) readParts(weights bool) error {
	if m.name == "." && !m.tree.exists(manifestName) {
		if err := m.chooseModel(); err != nil {
			return err
		}
	}
	var items *manifest
	if m.name == "." {
		var err error
		if items, err = readManifest(m.tree); err != nil {
			return err
		}
		m.name, m.whole = items.modelFile(), true
	}
	if err := m.readSpec(); err != nil {
		return at(fault.Quote(m.name), err)
	}
	var err error
	if m.Description, err = describe(m.Spec); err != nil {
		return err
	}
	if items != nil {
		if err := applyOverlays(m.tree, items, m.Description); err != nil {
			return err
		}
	}
	if weights {
		return m.checkWeights()
	}
	return nil
}

// chooseModel goes to the only model of a folder that is no package.
func (m *Model) chooseModel() error {
	if strings.EqualFold(filepath.Ext(m.where), ".mlmodelc") || m.tree.exists("coremldata.bin") || m.tree.exists("model.mil") {
		return unsupported("", "is a compiled model", "the .mlpackage or .mlmodel that it was compiled from")
	}
	names, err := m.tree.candidates()
	if err != nil {
		return err
	}
	if strings.EqualFold(filepath.Ext(m.where), ".mlpackage") || len(names) == 0 {
		return invalid("", "has no "+manifestName, "a .mlpackage folder or a .mlmodel file")
	}
	if len(names) > 1 {
		return invalid("", fmt.Sprintf("holds %d models", len(names)), fault.OneOf(names))
	}
	info, err := fs.Stat(m.tree.files, names[0])
	if err != nil {
		return m.tree.openError(names[0], err)
	}
	if !info.IsDir() {
		m.name = names[0]
		return nil
	}
	inner, err := m.tree.sub(names[0])
	if err != nil {
		return err
	}
	outer := m.tree
	m.tree = inner
	if !inner.exists(manifestName) {
		err = invalid(fault.Quote(names[0]), "has no "+manifestName, "a .mlpackage folder")
	}
	return errors.Join(err, outer.Close())
}

func readManifest(t *tree) (*manifest, error) {
	c, err := t.open(manifestName)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return parseManifest(c.data)
}

func (m *Model) readSpec() error {
	c, err := m.tree.open(m.name)
	if err != nil {
		return err
	}
	defer c.Close() // decoding copies what it keeps
	m.Spec, err = parseSpec(c.data, c.spent)
	if err != nil {
		return err
	}
	m.Kind = modelType(m.Spec)
	return nil
}

// parseSpec decodes a model file after it has been found to be worth it. Spent
// is what reading the data has allocated.
func parseSpec(data []byte, spent int64) (*spec.Model, error) {
	if err := sniff(data); err != nil {
		return nil, err
	}
	if err := checkBudget(data, spent); err != nil {
		return nil, err
	}
	m := new(spec.Model)
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, &Error{Kind: ErrInvalid, What: "is not a Core ML model", Cause: err}
	}
	if v := m.GetSpecificationVersion(); v > newestVersion {
		return nil, unsupported("", fmt.Sprintf("specification version %d", v), fmt.Sprintf("at most %d", newestVersion))
	}
	if m.GetSpecificationVersion() < 1 || m.GetDescription() == nil {
		return nil, invalid("", "has no specification version and description", "a Core ML model")
	}
	if modelType(m) == "" {
		return nil, unsupported("", "holds no model of a known type", "a Core ML model of specification version 1 to 10")
	}
	return m, nil
}

// Close unmaps the weights. No use of the model or of its blobs may be in
// progress or follow.
func (m *Model) Close() error {
	var errs []error
	for _, c := range m.weights {
		errs = append(errs, c.Close())
	}
	m.weights = nil
	errs = append(errs, m.tree.Close())
	return errors.Join(errs...)
}

// recoverFault is deferred around reads of mapped files: a fault, which means
// that the file was truncated meanwhile, becomes an error.
func recoverFault(where string, err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			*err = &Error{Kind: ErrLoad, Where: where, What: "a file changed while it was read", Want: "files that stay as they are"}
		default:
			panic(r)
		}
	}
}
