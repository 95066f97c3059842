//go:build unix && !linux

package isolate

import (
	"os"
	"syscall"
)

func executable() (string, error) { return os.Executable() }

// attributes adds nothing here: the child sees by its pipe that the parent is gone.
func attributes(a *syscall.SysProcAttr) *syscall.SysProcAttr { return a }

func limitData(int64) {} // the Go runtime's soft limit has to do

func offerToKill() {}
