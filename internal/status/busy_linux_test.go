package status

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestListKeepsTheBusy: a process whose queue of connections is full is alive.
func TestListKeepsTheBusy(t *testing.T) {
	dir := t.TempDir()
	a := Address{PID: 7, Network: "unix", Address: filepath.Join(dir, "status-7.sock")}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "status-7.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(syscall.Bind(s, &syscall.SockaddrUnix{Name: a.Address}), syscall.Listen(s, 0))
	for err == nil {
		var c net.Conn
		if c, err = net.Dial(a.Network, a.Address); err == nil {
			defer c.Close()
		}
	}
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("%v, want that the queue is full", err)
	}
	all, err := List(dir)
	if err != nil || len(all) != 1 || all[0].PID != 7 {
		t.Errorf("while it is busy: %+v, %v", all, err)
	}
	for _, n := range []string{name, a.Address} {
		if _, err := os.Stat(n); err != nil {
			t.Errorf("of a process that is busy: %v", err)
		}
	}
	if err := syscall.Close(s); err != nil {
		t.Fatal(err)
	}
	if all, err := List(dir); err != nil || len(all) != 0 {
		t.Errorf("when it is gone: %+v, %v", all, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("when it is gone, files are left: %v, %v", left, err)
	}
}
