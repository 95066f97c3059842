package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const root = "../.."

// source is one Go file of the module.
type source struct {
	name      string // with slashes, from the root
	pkg       string // its folder, "." for the root
	test      bool
	generated bool
	lines     int
	ast       *ast.File
	fset      *token.FileSet
}

// sources parses all Go files of the module, for every platform. Nested modules
// lie in folders that start with an underscore and are left out.
var sources = sync.OnceValues(func() ([]*source, error) {
	var all []*source
	fset := token.NewFileSet()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (base == "testdata" || base[0] == '_' || base[0] == '.') {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(fset, filepath.Join(root, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, &source{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(f), lines: fset.File(f.Pos()).LineCount(), ast: f, fset: fset})
		return nil
	})
	return all, err
})

// eachSource calls f for every Go file.
func eachSource(t *testing.T, f func(s *source)) {
	t.Helper()
	all, err := sources()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("found %d Go files; is %s the module?", len(all), root)
	}
	for _, s := range all {
		f(s)
	}
}

func (s *source) imports() []string {
	var out []string
	for _, i := range s.ast.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

// position names the place of a node.
func (s *source) position(n ast.Node) string {
	p := s.fset.Position(n.Pos())
	return strings.TrimPrefix(filepath.ToSlash(p.String()), root+"/")
}
