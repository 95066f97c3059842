package repo

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(os.DirFS(root), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// section is what stands under a heading of the second level.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, after, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	part, _, _ := strings.Cut(after, "\n## ")
	return part
}

// notGo are folders in the table of packages that go list does not see.
var notGo = []string{"internal/kernel/_asm", "oracle"}

func TestArchitectureNamesEveryPackage(t *testing.T) {
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .+ \\|$").FindAllStringSubmatch(section(t, document(t, "ARCHITECTURE.md"), "Packages"), -1) {
		if named[m[1]] {
			t.Errorf("%s stands twice in the table", m[1])
		}
		named[m[1]] = true
	}
	have := map[string]bool{}
	eachSource(t, func(s *source) { have[s.pkg] = true })
	for _, dir := range notGo {
		if _, err := fs.Stat(os.DirFS(root), dir); err != nil {
			t.Error(err)
		}
		have[dir] = true
	}
	for pkg := range have {
		if !named[pkg] {
			t.Errorf("ARCHITECTURE.md: the table of packages lacks %s", pkg)
		}
	}
	for pkg := range named {
		if !have[pkg] {
			t.Errorf("ARCHITECTURE.md: the table of packages has %s, which does not exist", pkg)
		}
	}
}

// TestArchitecturesFilesExist: the table of what a plan decides names files of the engine.
func TestArchitecturesFilesExist(t *testing.T) {
	part := section(t, document(t, "ARCHITECTURE.md"), "What a plan decides")
	files := regexp.MustCompile(`\b[a-z_]+\.go\b`).FindAllString(part, -1)
	if len(files) < 8 {
		t.Errorf("the table names only %q", files)
	}
	for _, name := range files {
		if _, err := fs.Stat(os.DirFS(root), path.Join("internal/engine", name)); err != nil {
			t.Error(err)
		}
	}
}

// TestRationaleNamesEveryDependency: each direct requirement has its reason.
func TestRationaleNamesEveryDependency(t *testing.T) {
	reasons := section(t, document(t, "RATIONALE.md"), "Dependencies")
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(document(t, "go.mod"), -1)
	if len(direct) < 8 {
		t.Fatalf("go.mod has %d direct requirements", len(direct))
	}
	for _, d := range direct {
		if !strings.Contains(reasons, path.Base(d[1])) {
			t.Errorf("RATIONALE.md: %s has no reason", d[1])
		}
	}
}
