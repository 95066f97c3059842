//go:build unix

package backend_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"coreml/internal/backend"
	"coreml/internal/engine"
	"coreml/internal/fault"
)

// canary tries faulty programs. They would end this process if they got here.
func canary(dir string, timeout time.Duration, report *[]error) backend.Backend {
	return backend.Canary(faulty{}, backend.CanaryOptions{Dir: dir, Timeout: timeout, Isolate: faultOptions(),
		Report: func(err error) { *report = append(*report, err) }})
}

func TestCanary(t *testing.T) {
	m := openModel(t, anyModel)
	defer leaks(t)()
	dir := filepath.Join(t.TempDir(), "verdicts")
	for _, c := range []struct {
		function string
		want     error
		linux    bool
	}{
		{"", nil, false}, {"kill@load", fault.Killed, false}, {"exit@run", fault.Killed, false}, {"abort@close", fault.Killed, false},
		{"hang@load", fault.Timeout, false}, {"oom@load", fault.Memory, true},
	} {
		if c.linux && (runtime.GOOS != "linux" || underRace) {
			continue
		}
		var reports []error
		for i := range 3 { // tried, remembered, read again
			timeout := patience
			if c.want == fault.Timeout {
				timeout = time.Second
			}
			b := canary(dir, timeout, &reports)
			if i == 1 {
				t.Setenv(slowStart, "1h") // a second trial would not come to an end
			}
			p, err := b.Load(context.Background(), m, backend.Config{Function: c.function})
			os.Unsetenv(slowStart)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%q, time %d: %v, want %v", c.function, i, err, c.want)
			}
			if p != nil {
				p.Close()
			}
		}
		if len(reports) != 0 {
			t.Errorf("%q: reports %v", c.function, reports)
		}
	}
}

// TestCanaryLeavesErrorsToTheBackend: what does not end a process is no reason to refuse a model.
func TestCanaryLeavesErrorsToTheBackend(t *testing.T) {
	m := openModel(t, anyModel)
	var reports []error
	b := canary(t.TempDir(), patience, &reports)
	if _, err := b.Load(context.Background(), m, backend.Config{Function: "error@load"}); err == nil || err.Error() != "it does not want to" {
		t.Errorf("error %v, want the backend's own", err)
	}
	p, err := b.Load(context.Background(), m, backend.Config{Function: "error@run"})
	if err != nil {
		t.Errorf("an error at the first prediction: %v", err)
	} else {
		p.Close()
	}
}

func TestCanaryCorruptCache(t *testing.T) {
	m := openModel(t, anyModel)
	dir := t.TempDir()
	var reports []error
	load := func() error {
		_, err := canary(dir, patience, &reports).Load(context.Background(), m, backend.Config{Function: "kill@load"})
		return err
	}
	if err := load(); !errors.Is(err, fault.Killed) {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v (%v), want one", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":     "",
		"cut":       string(whole[:len(whole)/2]),
		"no JSON":   "\x00\x01\x02",
		"a lie":     strings.Replace(string(whole), `"verdict": "killed"`, `"verdict": "good"`, 1),
		"other":     strings.Replace(string(whole), "faulty", "faultless", 1),
		"too large": strings.Repeat(" ", 2<<20) + string(whole),
	} {
		if text == string(whole) {
			t.Fatalf("%s: nothing is spoiled", name)
		}
		if err := os.WriteFile(files[0], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		reports = nil
		if err := load(); !errors.Is(err, fault.Killed) {
			t.Errorf("%s: %v, want it tried again and refused", name, err)
		}
		if len(reports) != 1 || !errors.Is(reports[0], fault.Cache) {
			t.Errorf("%s: reports %v, want one of fault.Cache", name, reports)
		}
	}
	reports = nil
	if err := load(); !errors.Is(err, fault.Killed) || len(reports) != 0 {
		t.Errorf("after that: %v, reports %v", err, reports)
	}
	// A folder that cannot be written to.
	dir = filepath.Join(files[0], "no folder")
	if err := load(); !errors.Is(err, fault.Killed) || len(reports) == 0 || !errors.Is(reports[0], fault.Cache) {
		t.Errorf("no folder for verdicts: %v, reports %v", err, reports)
	}
}

func TestCanaryOnce(t *testing.T) {
	m := openModel(t, anyModel)
	b := backend.Canary(engine.CPU{}, backend.CanaryOptions{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, err := b.Load(context.Background(), m, backend.Config{})
			if err != nil {
				t.Error(err)
				return
			}
			p.Close()
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var reports []error
	dir := t.TempDir()
	if _, err := canary(dir, patience, &reports).Load(ctx, m, backend.Config{Function: "hang@load"}); !errors.Is(err, fault.Timeout) {
		t.Errorf("a caller that does not wait: %v, want a timeout", err)
	}
	if l, _ := os.ReadDir(dir); len(l) != 0 {
		t.Errorf("a trial that was not waited for left a verdict")
	}
}
