//go:build unix

package isolate

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapShared(f *os.File, off int64, size int) ([]byte, error) {
	var mem []byte
	err := control(f, func(fd int) (err error) {
		mem, err = unix.Mmap(fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
	return mem, err
}

func unmapShared(mem []byte) error { return unix.Munmap(mem) }

// control calls do with the descriptor of f, which stays open meanwhile.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// unlinkedFile is a new file in dir that has no name any more.
func unlinkedFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "coreml-shared-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
