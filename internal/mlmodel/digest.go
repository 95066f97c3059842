package mlmodel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"coreml/internal/fault"
)

// Digest reads every byte of the model and returns "sha256:" and a hash in
// hexadecimal: of the model file alone, or, where there are several files, of
// their list as sha256sum prints it, sorted by name, with names relative to the
// package.
func (m *Model) Digest() (string, error) {
	names, err := m.files()
	if err != nil {
		return "", err
	}
	var list strings.Builder
	for _, name := range names {
		sum, err := m.tree.hash(name)
		if err != nil {
			return "", at(m.where, err)
		}
		if len(names) == 1 {
			return "sha256:" + sum, nil
		}
		fmt.Fprintf(&list, "%s  %s\n", sum, name)
	}
	sum := sha256.Sum256([]byte(list.String()))
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// files are the sorted names in m.tree of what makes up the model: all of a
// package, or the model file and its weights.
func (m *Model) files() ([]string, error) {
	names := slices.Collect(maps.Keys(m.weights))
	names = append(names, m.name)
	if m.whole {
		var err error
		if names, err = m.tree.fileNames(); err != nil {
			return nil, at(m.where, err)
		}
	}
	slices.Sort(names)
	return names, nil
}

// fileNames are the names of all files under t.
func (t *tree) fileNames() (names []string, err error) {
	err = fs.WalkDir(t.files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return t.openError(name, err)
		case entry.IsDir():
			return nil
		case len(names) == maxEntries:
			return tooLarge("", "more files", fmt.Sprintf("at most %d", maxEntries))
		case strings.ContainsAny(name, "\n\\"):
			return invalid(fault.Quote(name), "file name", "a name on one line, without a backslash")
		}
		names = append(names, name)
		return nil
	})
	return names, err
}

func (t *tree) hash(name string) (string, error) {
	f, _, err := t.openRegular(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", t.openError(name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
