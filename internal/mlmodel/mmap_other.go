//go:build !unix && !windows

package mlmodel

import (
	"io"
	"os"
)

const openFlags = os.O_RDONLY

// mapFile reads size bytes of f to memory, where there are no mappings.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data, _, err = readAligned(f, size)
	if err == nil && len(data) < size {
		err = io.ErrUnexpectedEOF
	}
	return data, func() error { return nil }, err
}
