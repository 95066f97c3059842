//go:build unix

package mlmodel

import (
	"io/fs"
	"syscall"
)

// linkCount is the number of names of a file, or 1 where that is unknown.
func linkCount(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}
