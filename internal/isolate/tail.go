package isolate

import (
	"strings"
	"sync"
	"unicode"
)

const (
	tailLines = 20
	tailWidth = 400
)

// tail keeps the last lines of what is written to it, and the first that says why a process fails.
type tail struct {
	mu       sync.Mutex
	headline string
	lines    []string
	part     []byte // of a line without an end yet
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range p {
		if b == '\n' {
			t.line()
		} else if len(t.part) < tailWidth {
			t.part = append(t.part, b)
		}
	}
	return len(p), nil
}

func (t *tail) line() {
	s := strings.TrimRightFunc(strings.Map(printable, strings.ToValidUTF8(string(t.part), "?")), unicode.IsSpace)
	t.part = t.part[:0]
	if s == "" {
		return
	}
	if t.headline == "" && isHeadline(s) {
		t.headline = s
	}
	if len(t.lines) == tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, s)
}

func printable(r rune) rune {
	if r == '\r' {
		return -1
	}
	if r == '\t' || unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// isHeadline knows how Go programs and C libraries begin to say that they end.
func isHeadline(s string) bool {
	for _, p := range []string{"panic: ", "fatal error: ", "runtime: out of memory", "SIG", "*** Terminating app", "terminate called", "libc++abi: "} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// words are the headline and the last lines.
func (t *tail) words() (string, []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.part) > 0 {
		t.line()
	}
	return t.headline, append([]string(nil), t.lines...)
}
