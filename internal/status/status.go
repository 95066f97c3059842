// Package status lets other processes of the same user read what a process says
// about itself: a local socket that answers every connection with one document,
// and a small file that says where it is.
package status

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"coreml/internal/atomicfile"
	"coreml/internal/cachedir"
	"coreml/internal/fault"
)

// Address is the content of a file: where a process answers, and to whom.
type Address struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
	Network string    `json:"network"` // "unix" or "tcp", then on the loopback interface
	Address string    `json:"address"`
	Token   string    `json:"token"` // what a connection has to send first: proof of having read the file
}

const (
	prefix  = "status-"
	patient = 2 * time.Second // with a peer that does not read or write
	maxFile = 64 << 10
	maxBody = 64 << 20
)

// Dir is the folder of the files, for one user.
func Dir() (string, error) { return cachedir.Path() }

// Serve answers connections with what write writes, until stop is called.
func Serve(dir string, write func(io.Writer) error) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("status: %w: %w", fault.Load, err)
	}
	pid := os.Getpid()
	base := filepath.Join(dir, prefix+strconv.Itoa(pid))
	a := Address{PID: pid, Command: filepath.Base(os.Args[0]), Since: time.Now(), Network: "unix", Address: base + ".sock", Token: rand.Text()}
	_ = os.Remove(a.Address) // of an earlier process with this number
	l, err := net.Listen(a.Network, a.Address)
	if err != nil { // no such sockets here, or the folder's name is too long for one
		a.Network = "tcp"
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("status: %w: %w", fault.Load, err)
		}
		a.Address = l.Addr().String()
	}
	text, err := json.Marshal(a)
	if err == nil {
		err = writePrivate(base+".json", text)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("status: %w: %w", fault.Load, err), l.Close())
	}
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			go func() {
				defer all.Done()
				answer(c, a.Token, write)
			}()
		}
	}()
	return func() error {
		err := errors.Join(os.Remove(base+".json"), l.Close())
		all.Wait()
		return err
	}, nil
}

// writePrivate makes a file that only its owner reads, whole or not at all.
func writePrivate(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Close())
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(name, func(w io.Writer) error { _, err := w.Write(text); return err })
}

// answer writes one document to whoever sends the token.
func answer(c net.Conn, token string, write func(io.Writer) error) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patient))
	got := make([]byte, len(token))
	if _, err := io.ReadFull(c, got); err != nil || subtle.ConstantTimeCompare(got, []byte(token)) != 1 {
		return
	}
	_ = write(c) // whoever reads it sees that it ends early
}

// List finds the processes that serve. Files of those that are gone are removed. One
// that cannot be asked now, for whatever other reason, is listed: Get says why.
func List(dir string) ([]Address, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("status: %w: %w", fault.Load, err)
	}
	var all []Address
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || filepath.Ext(e.Name()) != ".json" {
			continue
		}
		name := filepath.Join(dir, e.Name())
		a, err := read(name)
		if err != nil {
			continue // half-written, or not ours
		}
		if gone(a) {
			_ = os.Remove(name)
			if a.Network == "unix" {
				_ = os.Remove(strings.TrimSuffix(name, ".json") + ".sock")
			}
			continue
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b Address) int { return a.PID - b.PID })
	return all, nil
}

// gone reports whether nobody listens at a's address. That no answer comes, or that
// this process may open no more files, says nothing of the other one.
func gone(a Address) bool {
	c, err := net.DialTimeout(a.Network, a.Address, patient)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, refused) || errors.Is(err, os.ErrNotExist)
}

func read(name string) (a Address, err error) {
	f, err := os.Open(name)
	if err != nil {
		return a, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(&a); err != nil {
		return a, fmt.Errorf("status: %s: %w", name, err)
	}
	host, _, err := net.SplitHostPort(a.Address)
	if a.Network != "unix" && (a.Network != "tcp" || err != nil || !net.ParseIP(host).IsLoopback()) {
		return a, fmt.Errorf("status: %s: %s %q: want a local address", name, a.Network, a.Address)
	}
	return a, nil
}

// Get reads what the process of a says.
func Get(a Address) ([]byte, error) {
	c, err := net.DialTimeout(a.Network, a.Address, patient)
	if err != nil {
		return nil, fmt.Errorf("status: process %d: %w", a.PID, err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patient))
	if _, err := io.WriteString(c, a.Token); err != nil {
		return nil, fmt.Errorf("status: process %d: %w", a.PID, err)
	}
	b, err := io.ReadAll(io.LimitReader(c, maxBody))
	if err != nil {
		return nil, fmt.Errorf("status: process %d: %w", a.PID, err)
	}
	return b, nil
}
