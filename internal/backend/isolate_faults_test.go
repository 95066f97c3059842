//go:build unix

package backend_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// manyFaults is the number of random faults to inject; more than a few hundred take minutes.
const manyFaults = "COREML_ISOLATE_FAULTS"

// deadline of the calls that are made to fail. Those that need more time than
// a hang does, because the machine has to do something first, have patience.
const (
	deadline = 150 * time.Millisecond
	patience = 20 * time.Second
)

// injected is a fault, and the error that it has to become.
type injected struct {
	kind     string
	want     error // at a run
	text     string
	deadline time.Duration
	linux    bool
}

var injections = []injected{
	{kind: "exit", want: fault.Killed, text: `exit status 3; it last wrote "about to leave"`, deadline: patience},
	{kind: "panic", want: fault.Killed, text: "panic: it has had enough", deadline: patience},
	{kind: "abort", want: fault.Killed, text: "SIGABRT", deadline: patience},
	{kind: "kill", want: fault.Killed, text: "signal: killed", deadline: patience},
	{kind: "segv", want: fault.Killed, text: "SIGSEGV", deadline: patience},
	{kind: "oom", want: fault.Memory, text: "out of memory", deadline: patience, linux: true},
	{kind: "garbage", want: fault.Killed, text: `no message: "HTTP/1.1`, deadline: patience},
	{kind: "half", want: fault.Killed, text: "a message ended after 10 bytes", deadline: patience},
	{kind: "hang", want: fault.Timeout, deadline: deadline},
	{kind: "spin", want: fault.Timeout, deadline: deadline},
	{kind: "wait", want: fault.Timeout, deadline: deadline},
	{kind: "stuck half", want: fault.Timeout, deadline: deadline},
	{kind: "full disk", want: fault.Runtime, text: "no space left", deadline: patience, linux: true},
	{kind: "error", want: fault.Runtime, text: "does not want to", deadline: patience},
}

// impossible faults cannot be injected here.
func (f injected) impossible() bool {
	return f.linux && runtime.GOOS != "linux" || f.want == fault.Memory && underRace
}

// faultOptions are those of the programs that faults are injected into. Closing has to be over in deadline.
func faultOptions() guards.Isolation {
	o := guards.Isolation{ControlTimeout: patience, Grace: 50 * time.Millisecond, MemoryLimit: 192 << 20}
	if underRace {
		o.MemoryLimit = 0
	}
	return o
}

// watch starts the clock of a call. What it returns stops it, and says by how much
// a plain timer of the same deadline is late on this machine at this moment.
func (f injected) watch() func() (took, lag time.Duration) {
	start := time.Now()
	if f.deadline == patience {
		return func() (time.Duration, time.Duration) { return time.Since(start), 0 }
	}
	late := make(chan time.Duration, 1)
	time.AfterFunc(f.deadline, func() { late <- time.Since(start) - f.deadline })
	return func() (time.Duration, time.Duration) { return time.Since(start), <-late }
}

// check wants an error of a kind, with a text, not later than 100 ms after the
// deadline: more where the machine is shared with other tests. It returns by how
// much the call was late.
func (f injected) check(t *testing.T, where string, err, want error, stop func() (took, lag time.Duration)) time.Duration {
	t.Helper()
	took, lag := stop()
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), f.text) {
		t.Errorf("%s at %s: %v; want %v with %q", f.kind, where, err, want, f.text)
	}
	slack := time.Second
	if os.Getenv(manyFaults) != "" {
		slack = 100 * time.Millisecond
	}
	if took > f.deadline+slack+lag {
		t.Errorf("%s at %s: took %v, want at most %v; a timer was %v late", f.kind, where, took, f.deadline+slack, lag)
	}
	return took - f.deadline
}

func (f injected) atLoad(t *testing.T, m *mlmodel.Model) time.Duration {
	t.Helper()
	limit := f.deadline
	if limit == deadline {
		limit += 500 * time.Millisecond // for the child to come up before it hangs
		f.deadline = limit
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	stop := f.watch()
	p, err := backend.Isolate(faulty{}, faultOptions()).Load(ctx, m, backend.Config{Function: f.kind + "@load"})
	if p != nil {
		p.Close()
	}
	want := f.want
	if want == fault.Runtime {
		want = fault.Load
	}
	return f.check(t, "load", err, want, stop)
}

func (f injected) atRun(t *testing.T, p backend.Program) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), f.deadline)
	defer cancel()
	j := &backend.Job{In: []tensor.Features{{"x": ramp(1000), "fault": f.kind}}, Out: []tensor.Features{nil}}
	stop := f.watch()
	err := p.Run(ctx, j)
	return f.check(t, "run", err, f.want, stop)
}

func (f injected) atClose(t *testing.T, m *mlmodel.Model) time.Duration {
	t.Helper()
	if f.kind == "wait" {
		return -f.deadline // nothing cancels a close
	}
	o := faultOptions()
	o.ControlTimeout = f.deadline
	p, err := backend.Isolate(faulty{}, o).Load(context.Background(), m, backend.Config{Function: f.kind + "@close"})
	if err != nil {
		t.Fatal(err)
	}
	stop := f.watch()
	err = p.Close()
	late := f.check(t, "close", err, f.want, stop)
	if err := p.Close(); err != nil {
		t.Errorf("the second close: %v", err)
	}
	return late
}

// TestIsolateFaults injects every fault in every place.
func TestIsolateFaults(t *testing.T) {
	m := openModel(t, anyModel)
	defer leaks(t)()
	p, err := backend.Isolate(faulty{}, faultOptions()).Load(context.Background(), m, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, f := range injections {
		if f.impossible() {
			continue
		}
		f.atLoad(t, m)
		f.atRun(t, p)
		echo(t, p, ramp(100))
		f.atClose(t, m)
	}
}

// TestIsolateRandomFaults injects faults in random order.
func TestIsolateRandomFaults(t *testing.T) {
	n := 12
	if v := os.Getenv(manyFaults); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		t.Skip("short")
	}
	m := openModel(t, anyModel)
	defer leaks(t)()
	p, err := backend.Isolate(faulty{}, faultOptions()).Load(context.Background(), m, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	over := map[string][]time.Duration{}
	for range n {
		f := injections[r.IntN(len(injections))]
		if f.impossible() {
			continue
		}
		var d time.Duration
		switch r.IntN(3) {
		case 0:
			d = f.atLoad(t, m)
		case 1:
			d = f.atRun(t, p)
		case 2:
			d = f.atClose(t, m)
		}
		if f.deadline == deadline {
			over[f.kind] = append(over[f.kind], d)
		}
		echo(t, p, ramp(1+r.IntN(1<<16)))
	}
	for kind, d := range over {
		slices.Sort(d)
		t.Logf("%-10s %3d times, returned after the deadline by p50 %v, max %v", kind, len(d), d[len(d)/2], d[len(d)-1])
	}
}

func TestIsolateSlowStart(t *testing.T) {
	m := openModel(t, anyModel)
	defer leaks(t)()
	o := faultOptions()
	o.StartTimeout = 300 * time.Millisecond
	t.Setenv(slowStart, "1h")
	start := time.Now()
	_, err := backend.Isolate(faulty{}, o).Load(context.Background(), m, backend.Config{})
	if took := time.Since(start); !errors.Is(err, fault.Timeout) || took > o.StartTimeout+time.Second {
		t.Errorf("load: %v after %v, want a timeout after %v", err, took, o.StartTimeout)
	}

	os.Unsetenv(slowStart)
	o.StartTimeout = patience
	p, err := backend.Isolate(faulty{}, o).Load(context.Background(), m, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	os.Setenv(slowStart, "1s")
	injections[3].atRun(t, p)
	slow := injected{kind: "", want: fault.Timeout, deadline: deadline}
	slow.atRun(t, p) // its replacement is not up yet
	slow.atRun(t, p)
	os.Unsetenv(slowStart)
	echo(t, p, ramp(10)) // but comes up
	os.Setenv(slowStart, "1h")
	injections[3].atRun(t, p)
	start = time.Now()
	if err := p.Close(); err != nil || time.Since(start) > 5*time.Second {
		t.Errorf("closing while a child starts: %v after %v", err, time.Since(start))
	}
}

// TestIsolateFullSharedMemory: the parent finds no place for the tensors.
func TestIsolateFullSharedMemory(t *testing.T) {
	m := openModel(t, anyModel)
	defer leaks(t)()
	o := faultOptions()
	o.SharedLimit = 1 << 20
	p := loadWith(t, faulty{}, m, o, backend.Config{})
	j := &backend.Job{In: []tensor.Features{{"x": ramp(1 << 20)}}, Out: []tensor.Features{nil}}
	if err := p.Run(context.Background(), j); !errors.Is(err, fault.Limit) {
		t.Errorf("inputs beyond the limit: %v, want fault.Limit", err)
	}
	j.In[0]["x"] = ramp(160 << 10) // its results do not fit beside it
	if err := p.Run(context.Background(), j); !errors.Is(err, fault.Limit) {
		t.Errorf("results beyond the limit: %v, want fault.Limit", err)
	}
	echo(t, p, ramp(1000))
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	o = faultOptions()
	o.SharedDir = t.TempDir()
	p = loadWith(t, faulty{}, m, o, backend.Config{})
	echo(t, p, ramp(100000))
	if left, err := os.ReadDir(o.SharedDir); err != nil || len(left) != 0 {
		t.Errorf("the folder holds %v (%v), want nothing", left, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// smallDisk names a folder with room for less than 16 MiB, if there is one.
const smallDisk = "COREML_SMALL_DISK"

func TestIsolateFullDisk(t *testing.T) {
	o := faultOptions()
	if o.SharedDir = os.Getenv(smallDisk); o.SharedDir == "" {
		t.Skip(smallDisk + " names no small disk")
	}
	p := loadWith(t, faulty{}, openModel(t, anyModel), o, backend.Config{})
	for range 3 {
		j := &backend.Job{In: []tensor.Features{{"x": ramp(4 << 20)}}, Out: []tensor.Features{nil}}
		if err := p.Run(context.Background(), j); !errors.Is(err, fault.Memory) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("16 MiB: %v, want fault.Memory for want of space", err)
		}
		echo(t, p, ramp(1000))
	}
}

// leaks notes what this process holds. What it returns fails the test if there is more at the end.
func leaks(t *testing.T) func() {
	t.Helper()
	if runtime.GOOS != "linux" {
		return func() {}
	}
	fds, _ := held(t)
	return func() {
		t.Helper()
		var now int
		var what []string
		for range 100 {
			if now, what = held(t); now <= fds && len(what) == 0 {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%d descriptors, %d before; left: %v", now, fds, what)
	}
}

// held counts descriptors, and lists children and mappings of shared memory.
func held(t *testing.T) (fds int, left []string) {
	t.Helper()
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range l {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.Contains(to, "eventpoll") && !strings.Contains(to, "eventfd") {
			fds++
		}
	}
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "memfd:coreml") || strings.Contains(line, "coreml-shared") {
			left = append(left, strings.TrimSpace(line))
		}
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			left = append(left, name+" "+f[0])
		}
	}
	return fds, left
}
