package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"coreml/internal/fault"
)

// discard is a handler that writes nothing.
type discard struct{}

func (discard) Enabled(context.Context, slog.Level) bool  { return true }
func (discard) Handle(context.Context, slog.Record) error { return nil }
func (d discard) WithAttrs([]slog.Attr) slog.Handler      { return d }
func (d discard) WithGroup(string) slog.Handler           { return d }

// hook is a handler that calls f.
type hook struct {
	discard
	f func(slog.Record) error
}

func (h hook) Handle(_ context.Context, r slog.Record) error { return h.f(r) }

// startLog starts a log that writes to h.
func startLog(h slog.Handler, o LogOptions) *Log {
	nothing := func() error { return nil }
	l := newLog(h, o, nothing, nothing)
	go l.run()
	return l
}

func lines(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > 0 && b[len(b)-1] != '\n' {
		t.Errorf("%s ends within a line", name)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func TestLogLinesAreAsTheSchemaSays(t *testing.T) {
	name := filepath.Join(t.TempDir(), "events.jsonl")
	l, err := OpenLog(name, FileOptions{}, LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	story(l)
	for _, k := range fault.Kinds {
		l.Observe(Event{Type: Ran, Key: ane, Err: k})
	}
	l.Observe(Event{Type: Ran, Key: Key{"a\"b\nc\x00\xff", strings.Repeat("é", 1000), ""}, Err: errors.New(strings.Repeat("x", 5000))})
	l.lost.Add(3)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := lines(t, name)
	types := map[string]int{}
	for _, s := range all {
		wantValid(t, logSchema, []byte(s))
		var v struct {
			Msg   string
			Count int
		}
		json.Unmarshal([]byte(s), &v)
		types[v.Msg]++
		if v.Msg == "lost" && v.Count != 3 {
			t.Errorf("lost %d, want 3", v.Count)
		}
	}
	want := map[string]int{"compile": 1, "load": 3, "inference": 7 + len(fault.Kinds) + 1, "answer": 6, "late": 1, "shadow": 2, "breaker": 1, "warm": 1, "evidence": 1, "lost": 1}
	if fmt.Sprint(types) != fmt.Sprint(want) {
		t.Errorf("lines %v, want %v", types, want)
	}
	if !strings.Contains(strings.Join(all, "\n"), `"from":"closed","to":"open","detail":{"Samples":5}`) {
		t.Error("the transition stands without its evidence")
	}
}

// A handler that hangs holds up nobody: what does not fit is lost and counted.
func TestLogNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := make(chan struct{})
		var wrote, lost atomic.Int64
		l := startLog(hook{f: func(r slog.Record) error {
			<-hung
			if r.Message != "lost" {
				wrote.Add(1)
				return nil
			}
			r.Attrs(func(a slog.Attr) bool { lost.Add(a.Value.Int64()); return true })
			return nil
		}}, LogOptions{Buffer: 100})
		start := time.Now()
		crowd(64, 100, func() { l.Observe(Event{Type: Ran, Key: ane}) })
		if took := time.Since(start); took != 0 {
			t.Errorf("Observe waited for %v", took)
		}
		if n := l.Lost(); n < 6400-128-1 {
			t.Errorf("%d lost, want all but 128", n)
		}
		close(hung)
		l.Close()
		if wrote.Load()+l.Lost() != 6400 || lost.Load() != l.Lost() {
			t.Errorf("%d written, %d lost, %d said to be lost, want 6400 in all", wrote.Load(), l.Lost(), lost.Load())
		}
		before := l.Lost()
		l.Observe(Event{Type: Ran, Key: ane})
		if l.Lost() != before+1 {
			t.Error("an event after Close is not counted as lost")
		}
	})
}

func TestLogWakesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrote atomic.Int64
		l := startLog(hook{f: func(slog.Record) error { wrote.Add(1); return nil }}, LogOptions{})
		for i := range int64(100) {
			time.Sleep(time.Duration(i) * time.Millisecond)
			l.Observe(Event{Type: Ran, Key: ane})
			time.Sleep(pause + 1)
			if wrote.Load() != i+1 {
				t.Fatalf("%d lines of %d events after %v", wrote.Load(), i+1, pause)
			}
		}
		l.Close()
	})
}

func TestLogThinsOutTheOrdinary(t *testing.T) {
	var ordinary, failed int
	l := startLog(hook{f: func(r slog.Record) error {
		if r.Level == slog.LevelWarn {
			failed++
		} else {
			ordinary++
		}
		return nil
	}}, LogOptions{Every: 10, Buffer: 1 << 15})
	for range 10_000 {
		l.Observe(Event{Type: Ran, Key: ane})
		l.Observe(Event{Type: Ran, Key: ane, Err: fault.Runtime})
	}
	l.Close()
	if failed != 10_000 || ordinary < 800 || ordinary > 1200 {
		t.Errorf("%d ordinary and %d failed, want about 1000 and 10000", ordinary, failed)
	}
}

func TestLogCountsWhatItsHandlerRefuses(t *testing.T) {
	l := startLog(hook{f: func(r slog.Record) error { return errors.New("full") }}, LogOptions{})
	for range 10 {
		l.Observe(Event{Type: Ran, Key: ane})
	}
	l.Close()
	if l.Lost() != 10 {
		t.Errorf("%d lost, want 10", l.Lost())
	}
}

func TestFileRotates(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "log")
	for _, files := range []int{1, 2, 4} {
		f, err := OpenFile(name, FileOptions{MaxBytes: 1000, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 500 {
			fmt.Fprintf(f, "{\"line\":%d}\n", i)
			if i%7 == 0 {
				f.Flush()
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		next := 499
		all, _ := os.ReadDir(dir)
		if len(all) != files {
			t.Errorf("%d files, want %d", len(all), files)
		}
		for i := range files {
			path := name
			if i > 0 {
				path = fmt.Sprintf("%s.%d", name, i)
			}
			if info, err := os.Stat(path); err != nil || info.Size() > 1000 {
				t.Errorf("%s: %v, %v, want at most 1000 bytes", path, info, err)
			}
			have := lines(t, path)
			for k := len(have) - 1; k >= 0; k-- {
				if have[k] != fmt.Sprintf(`{"line":%d}`, next) {
					t.Fatalf("%s: %s, want line %d", path, have[k], next)
				}
				next--
			}
		}
	}
}

func TestFileRemovesATornLine(t *testing.T) {
	for _, c := range []struct{ have, want string }{
		{"", "new\n"}, {"a\nb\n", "a\nb\nnew\n"}, {"a\n{\"b", "a\nnew\n"}, {"{\"torn", "new\n"},
	} {
		name := filepath.Join(t.TempDir(), "log")
		os.WriteFile(name, []byte(c.have), 0o600)
		f, err := OpenFile(name, FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte("new\n"))
		f.Close()
		if b, _ := os.ReadFile(name); string(b) != c.want {
			t.Errorf("%q becomes %q, want %q", c.have, b, c.want)
		}
	}
}

// A file that cannot be written loses lines, counts them, and goes on when it can.
func TestFileFailures(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	f, err := OpenFile(name, FileOptions{MaxBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("a\n"))
	f.Flush()
	f.f.Close() // as if the disk had gone
	f.Write([]byte("b\nc\n"))
	if err := f.Flush(); err == nil || f.lost.Load() != 2 {
		t.Errorf("%v, %d lost, want an error and 2", err, f.lost.Load())
	}
	f.Write([]byte("d\n"))
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(name); string(b) != "a\nd\n" {
		t.Errorf("%q, want a and d", b)
	}
	if n, err := f.Write(bytes.Repeat([]byte("x"), 101)); n != 0 || err == nil {
		t.Errorf("a line beyond the cap: %d, %v", n, err)
	}
	if _, err := OpenFile(filepath.Join(name, "no"), FileOptions{}); err == nil {
		t.Error("opens a file within a file")
	}
}

func TestFileThatCannotBeRenamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	os.MkdirAll(filepath.Join(name+".1", "in the way"), 0o777)
	l, err := OpenLog(name, FileOptions{MaxBytes: 600, Files: 2}, LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		l.Observe(Event{Type: Ran, Key: ane})
	}
	l.Close()
	info, _ := os.Stat(name)
	if info.Size() > 600 || len(lines(t, name))+int(l.Lost()) < 50 {
		t.Errorf("%d bytes, %d lines, %d lost", info.Size(), len(lines(t, name)), l.Lost())
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	q := newQueue(64)
	const each = 20_000
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 1; i <= each; {
				if q.push(&Event{Memory: int64(i), Duration: time.Duration(g)}) {
					i++
				} else {
					time.Sleep(time.Microsecond)
				}
			}
		})
	}
	var last [8]int64
	for n := 0; n < 8*each; {
		var e Event
		if !q.pop(&e) {
			time.Sleep(time.Microsecond)
			continue
		}
		if last[e.Duration]++; last[e.Duration] != e.Memory {
			t.Fatalf("goroutine %d: %d after %d", e.Duration, e.Memory, last[e.Duration]-1)
		}
		n++
	}
	wg.Wait()
	if !q.empty() {
		t.Error("not empty at the end")
	}
}
