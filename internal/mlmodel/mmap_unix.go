//go:build unix

package mlmodel

import (
	"os"

	"golang.org/x/sys/unix"
)

// openFlags keeps an open from waiting when the name is a pipe after all.
const openFlags = os.O_RDONLY | unix.O_NONBLOCK

// mapFile maps size bytes of f read only; size is positive. The mapping
// outlives f. Reading past the end of a file that was truncated meanwhile
// faults.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, os.NewSyscallError("mmap", err)
	}
	return data, func() error { return os.NewSyscallError("munmap", unix.Munmap(data)) }, nil
}
