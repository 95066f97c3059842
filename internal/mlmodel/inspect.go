package mlmodel

import "io/fs"

// Inspect reads a model whose weights may be absent: Blob works for none of them.
func Inspect(name string) (*Model, error) { return open(name, false) }

// InspectFS is Inspect in a file system.
func InspectFS(fsys fs.FS, name string) (*Model, error) { return openFS(fsys, name, false) }
