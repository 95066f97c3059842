package isolate

import (
	"os"

	"golang.org/x/sys/unix"
)

// createShared makes memory without a name, sealed so that the other end cannot
// take mapped pages away. With dir it is a file there.
func createShared(dir string) (*os.File, error) {
	if dir != "" {
		return unlinkedFile(dir)
	}
	fd, err := unix.MemfdCreate("coreml", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return unlinkedFile(dir) // a kernel or sandbox without it
	}
	f := os.NewFile(uintptr(fd), "memfd:coreml")
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// growShared allocates the pages now: a page that cannot be had later would be a SIGBUS.
func growShared(f *os.File, from, to int64) error {
	return control(f, func(fd int) error {
		for {
			if err := unix.Fallocate(fd, 0, from, to-from); err != unix.EINTR {
				return err
			}
		}
	})
}

// discardShared frees the pages of a part of the file.
func discardShared(f *os.File, off, size int64) error {
	return control(f, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size)
	})
}
