package repo

import (
	"bytes"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"testing"
)

// private are paths of somebody's machine. They are put together here so that
// this file does not match.
var private = regexp.MustCompile("(^|[\\s\"'`(=:,])/(" + `work/|` + `root/|` + `home/[a-z]+/|` + `Users/[a-z]+/|` + `tmp/[a-z]+/)`)

func TestNoPrivatePaths(t *testing.T) {
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || name == "dist" || d.Name() == "fuzz" {
				return fs.SkipDir
			}
			return nil
		}
		if name == ".git" { // of a linked work tree
			return nil
		}
		b, err := fs.ReadFile(os.DirFS(root), name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(b, 0) >= 0 {
			return nil // not text
		}
		for i, line := range bytes.Split(b, []byte("\n")) {
			if private.Match(line) {
				t.Errorf("%s:%d: a path of somebody's machine: %.120s", name, i+1, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPrivatePathsAreSeen(t *testing.T) {
	for _, s := range []string{"see /" + "root/x", "\"/" + "home/jo/x"} {
		if !private.MatchString(s) {
			t.Errorf("%s is not seen", s)
		}
	}
	for _, s := range []string{"net/http", "../work/x", "a/root/b"} {
		if private.MatchString(s) {
			t.Errorf("%s is seen", s)
		}
	}
}

// public are the packages whose every exported name has a comment.
var public = []string{".", "tensor", "prometheus"}

func TestPublicNamesHaveComments(t *testing.T) {
	eachSource(t, func(s *source) {
		if s.test || !slices.Contains(public, s.pkg) {
			return
		}
		for _, d := range s.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s has no comment", s.position(d), d.Name.Name)
				}
			case *ast.GenDecl:
				if d.Tok != token.IMPORT {
					checkSpecs(t, s, d)
				}
			}
		}
	})
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	name, ok := typ.(*ast.Ident)
	return !ok || name.IsExported()
}

// checkSpecs accepts a comment before the group, before the name, or after it.
func checkSpecs(t *testing.T, s *source, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch x := spec.(type) {
		case *ast.TypeSpec:
			if x.Name.IsExported() && x.Doc == nil && x.Comment == nil && d.Doc == nil {
				t.Errorf("%s: %s has no comment", s.position(x), x.Name.Name)
			}
		case *ast.ValueSpec:
			for _, n := range x.Names {
				if n.IsExported() && x.Doc == nil && x.Comment == nil && d.Doc == nil && !enumeration(d) {
					t.Errorf("%s: %s has no comment", s.position(x), n.Name)
				}
			}
		}
	}
}

// enumeration reports whether d lists the values of a type, whose comment explains them.
func enumeration(d *ast.GenDecl) bool {
	first, ok := d.Specs[0].(*ast.ValueSpec)
	return ok && d.Tok == token.CONST && len(d.Specs) > 1 && first.Type != nil
}
