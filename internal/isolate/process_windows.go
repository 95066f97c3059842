package isolate

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// command is this program again, with the files open in it as handles says.
func command(files ...*os.File) (*exec.Cmd, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.CREATE_NO_WINDOW}
	for _, f := range files {
		h := windows.Handle(f.Fd())
		if err := windows.SetHandleInformation(h, windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT); err != nil {
			return nil, err
		}
		a.AdditionalInheritedHandles = append(a.AdditionalInheritedHandles, syscall.Handle(h))
	}
	return &exec.Cmd{Path: name, SysProcAttr: a}, nil
}

func handles(files ...*os.File) string {
	s := ""
	for _, f := range files {
		s += fmt.Sprintf(" %d", f.Fd())
	}
	return s[1:]
}

// inherit is the file that the parent left open under a handle.
func inherit(h uintptr) *os.File {
	_ = windows.SetHandleInformation(windows.Handle(h), windows.HANDLE_FLAG_INHERIT, 0)
	return os.NewFile(h, "isolate")
}

func limitData(int64) {} // the Go runtime's soft limit has to do

func offerToKill() {}
