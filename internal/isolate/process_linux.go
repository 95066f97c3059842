package isolate

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// executable is this program, even if its file has been replaced.
func executable() (string, error) { return "/proc/self/exe", nil }

// attributes let the kernel kill the child when its parent is gone, whatever it is doing.
func attributes(a *syscall.SysProcAttr) *syscall.SysProcAttr {
	a.Pdeathsig = syscall.SIGKILL
	return a
}

// limitData bounds the writable private memory. The address space is no measure: a Go
// program reserves far more of it than it uses.
func limitData(n int64) {
	_ = unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)})
}

// offerToKill makes the kernel choose this process before its parent when memory runs out.
func offerToKill() { _ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0) }
