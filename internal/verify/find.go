package verify

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"coreml/internal/fault"
)

// Set is an opened collection of cases.
type Set struct {
	Cases []*Case
	files []*zip.ReadCloser
}

// Close closes the zips behind the cases.
func (s *Set) Close() error {
	for _, f := range s.files {
		f.Close()
	}
	return nil
}

// Find collects the cases in folders and zips: a folder that is a case, that
// holds cases at any depth, or that holds zips of cases. One whose case.json
// cannot be read is Broken. The caller closes the set.
func Find(paths ...string) (*Set, error) {
	s := &Set{}
	for _, p := range paths {
		if err := s.add(p); err != nil {
			s.Close()
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	if len(s.Cases) == 0 {
		return nil, fmt.Errorf("verify: no case.json in %s", strings.Join(paths, ", "))
	}
	return s, nil
}

func (s *Set) add(p string) error {
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return s.addZip(p)
	}
	if err := s.addFS(diskFS(p)); err != nil {
		return err
	}
	zips, _ := filepath.Glob(filepath.Join(p, "*.zip"))
	for _, z := range zips {
		if err := s.addZip(z); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) addZip(p string) error {
	z, err := zip.OpenReader(p)
	if err != nil {
		return fault.As(fault.Invalid, fmt.Errorf("%s: %w: want a folder or a zip of cases", p, err))
	}
	s.files = append(s.files, z)
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	return s.addFS(newZipFS(z, info.Size()))
}

func (s *Set) addFS(fsys fs.FS) error {
	var dirs []string
	if z, ok := fsys.(*zipFS); ok {
		dirs = z.caseDirs()
	} else {
		err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && (strings.HasSuffix(name, ".mlpackage") || strings.HasPrefix(d.Name(), ".") && name != ".") {
				return fs.SkipDir
			}
			if err == nil && d.Name() == "case.json" {
				dirs = append(dirs, path.Dir(name))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	sort.Strings(dirs)
	for _, d := range dirs {
		c, err := Read(fsys, d)
		if err != nil {
			c = &Case{ID: folderName(fsys, d), FS: fsys, Dir: d, Broken: err}
		}
		s.Cases = append(s.Cases, c)
	}
	return nil
}

// diskFS is a folder on disk that knows where it is.
type diskFS string

func (d diskFS) Open(name string) (fs.File, error) { return os.DirFS(string(d)).Open(name) }

// path is the path of a file in the folder.
func (d diskFS) path(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }
