//go:build unix

package isolate

import (
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

// linger is how long the reading end of a pipe looks for more before it parks.
// Being woken takes longer than most of what passes between parent and child, so
// that small calls in a row take a third of the time.
const linger = 50 * time.Microsecond

// eager reads a pipe and lingers.
type eager struct {
	f   *os.File
	raw syscall.RawConn
}

func eagerly(f *os.File) io.Reader {
	raw, err := f.SyscallConn()
	if err != nil {
		return f
	}
	return &eager{f, raw}
}

func (e *eager) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	closed := e.raw.Read(func(fd uintptr) bool {
		start := time.Now()
		for {
			n, err = syscall.Read(int(fd), b)
			switch {
			case err == syscall.EINTR:
			case err != syscall.EAGAIN:
				return true
			case time.Since(start) > linger:
				return false
			default:
				runtime.Gosched()
			}
		}
	})
	switch {
	case closed != nil:
		return 0, closed
	case err != nil:
		return 0, &os.PathError{Op: "read", Path: e.f.Name(), Err: err}
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
