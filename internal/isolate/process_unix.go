//go:build unix

package isolate

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// command is this program again, with the files open in it as handles says.
func command(files ...*os.File) (*exec.Cmd, error) {
	name, err := executable()
	if err != nil {
		return nil, err
	}
	// A group of its own: an interrupt of the terminal is for this process to handle.
	return &exec.Cmd{Path: name, ExtraFiles: files, SysProcAttr: attributes(&syscall.SysProcAttr{Setpgid: true})}, nil
}

func handles(files ...*os.File) string {
	s := ""
	for i := range files {
		s += fmt.Sprintf(" %d", 3+i)
	}
	return s[1:]
}

// inherit is the file that the parent left open under a number. A pipe that does
// not block is left to the runtime's poller, which wakes its reader in half the
// time that a thread in a read takes.
func inherit(fd uintptr) *os.File {
	syscall.CloseOnExec(int(fd))
	_ = syscall.SetNonblock(int(fd), true)
	return os.NewFile(fd, "isolate")
}
