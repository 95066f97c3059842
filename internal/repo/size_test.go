package repo

import (
	"go/ast"
	"slices"
	"testing"
)

// Hard limits; the aims are 500 and 60.
const (
	maxFile     = 700
	maxFunction = 100
)

func functions(s *source) []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range s.ast.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			out = append(out, f)
		}
	}
	return out
}

func TestSizes(t *testing.T) {
	var sizes []int
	eachSource(t, func(s *source) {
		if s.generated {
			return
		}
		if s.lines > maxFile {
			t.Errorf("%s: %d lines, want at most %d", s.name, s.lines, maxFile)
		}
		for _, f := range functions(s) {
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			sizes = append(sizes, n)
			if n > maxFunction {
				t.Errorf("%s: func %s has %d lines, want at most %d", s.position(f), f.Name.Name, n, maxFunction)
			}
		}
	})
	slices.Sort(sizes)
	t.Logf("functions: median %d lines, 95 in 100 at most %d, longest %d", sizes[len(sizes)/2], sizes[len(sizes)*95/100], sizes[len(sizes)-1])
}
