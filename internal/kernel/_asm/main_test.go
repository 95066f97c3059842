package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What is committed is what the generators write.
func TestFilesAreUpToDate(t *testing.T) {
	for _, g := range generators {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, g.Package), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, target := range g.Targets {
			if err := g.write(root, target); err != nil {
				t.Fatal(err)
			}
		}
		files, err := filepath.Glob(filepath.Join(root, g.Package, "*"))
		if err != nil || len(files) != 2*len(g.Targets) {
			t.Fatalf("%s/%s: %d files, %v", g.Package, g.Name, len(files), err)
		}
		for _, f := range files {
			want, _ := os.ReadFile(f)
			got, err := os.ReadFile(filepath.Join("..", g.Package, filepath.Base(f)))
			if err != nil || string(got) != string(want) {
				t.Errorf("%s/%s is out of date: run \"go run .\" in internal/kernel/_asm", g.Package, filepath.Base(f))
			}
		}
	}
}
