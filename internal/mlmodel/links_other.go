//go:build !unix

package mlmodel

import "io/fs"

// linkCount is the number of names of a file, or 1 where that is unknown.
func linkCount(fs.FileInfo) uint64 { return 1 }
