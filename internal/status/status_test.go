package status

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServesUntilStopped(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), strings.Repeat("long", 40))} {
		n := 0
		stop, err := Serve(dir, func(w io.Writer) error { n++; _, err := io.WriteString(w, "document"); return err })
		if err != nil {
			t.Fatal(err)
		}
		all, err := List(dir)
		if err != nil || len(all) != 1 || all[0].PID != os.Getpid() {
			t.Fatalf("%+v, %v", all, err)
		}
		if b, err := Get(all[0]); err != nil || string(b) != "document" {
			t.Errorf("%q, %v", b, err)
		}
		stranger := all[0]
		stranger.Token = strings.Repeat("x", len(stranger.Token))
		if b, err := Get(stranger); len(b) != 0 {
			t.Errorf("with another token: %q, %v", b, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if all, err := List(dir); err != nil || len(all) != 0 {
			t.Errorf("afterwards: %+v, %v", all, err)
		}
		if n != 1 {
			t.Errorf("written %d times, want once", n)
		}
	}
}

func TestListForgetsTheDead(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	for name, text := range map[string]string{
		"status-1.json": `{"pid":1,"network":"tcp","address":"` + gone + `"}`,
		"status-2.json": `{"pid":2,"network":"tcp","address":"192.0.2.1:80"}`,
		"status-3.json": `{"pid":`,
		"other.json":    `{}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := List(dir); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "status-1.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of a process that is gone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.json")); err != nil {
		t.Errorf("a file that is none of ours: %v", err)
	}
	if all, err := List(filepath.Join(dir, "absent")); err != nil || len(all) != 0 {
		t.Errorf("without a folder: %+v, %v", all, err)
	}
}
