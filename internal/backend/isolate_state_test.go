//go:build unix

package backend_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/fault"
	"coreml/internal/mlmodel"
	"coreml/tensor"
)

// count runs p with st and returns the state's count after it.
func count(p backend.Program, st backend.State, kind any) (float32, error) {
	j := &backend.Job{In: []tensor.Features{{"fault": kind}}, Out: []tensor.Features{nil}, State: st}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Run(ctx, j); err != nil {
		return -1, err
	}
	return j.Out[0]["n"].(*tensor.Tensor).Float32s()[0], nil
}

func TestIsolatedStateDiesWithItsChild(t *testing.T) {
	p := loadWith(t, faulty{}, openModel(t, stateModel), guards.Isolation{}, backend.Config{})
	st, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	for want := range 3 {
		if n, err := count(p, st, nil); err != nil || n != float32(want+1) {
			t.Fatalf("run %d: %v (%v)", want, n, err)
		}
	}
	if _, err := count(p, st, "kill"); !errors.Is(err, fault.Killed) {
		t.Fatalf("killed during a run: %v", err)
	}
	if _, err := count(p, st, nil); !errors.Is(err, fault.State) {
		t.Errorf("run with a lost state: %v, want fault.State", err)
	}
	if err := st.Save(tensor.Features{}); !errors.Is(err, fault.State) {
		t.Errorf("saving a lost state: %v, want fault.State", err)
	}
	if n, err := count(p, fresh, nil); err != nil || n != 1 {
		t.Errorf("a state that was not used yet: %v (%v), want 1", n, err)
	}
	for _, s := range []backend.State{st, fresh} {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestIsolatedStateLoadedAnew(t *testing.T) {
	m := openModel(t, stateModel)
	p := loadWith(t, faulty{}, m, guards.Isolation{}, backend.Config{})
	st, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = count(p, st, "kill")
	if err := st.Load(tensor.Features{"n": tensor.Scalar(float32(7))}); !errors.Is(err, fault.State) {
		t.Errorf("loading a part of a lost state: %v, want fault.State", err)
	}
	all := tensor.Features{"n": tensor.Scalar(float32(7))}
	for _, f := range m.Description.States {
		all[f.Name] = tensor.Scalar(float32(0))
	}
	if err := st.Load(all); err != nil {
		t.Errorf("loading all of a lost state: %v", err)
	}
	if n, err := count(p, st, nil); err != nil || n != 8 {
		t.Errorf("after that: %v (%v), want 8", n, err)
	}
}

func TestIsolatedCheckpoint(t *testing.T) {
	p := loadWith(t, faulty{}, openModel(t, stateModel), guards.Isolation{Checkpoint: true, Grace: 50 * time.Millisecond}, backend.Config{})
	st, err := p.NewState()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := count(p, st, "kill"); !errors.Is(err, fault.Killed) {
		t.Fatalf("killed during the first run: %v", err)
	}
	for want := range 5 {
		if n, err := count(p, st, nil); err != nil || n != float32(want+1) {
			t.Errorf("run %d: %v (%v)", want, n, err)
		}
		kind := []string{"kill", "error", "garbage"}[want%3]
		if _, err := count(p, st, kind); err == nil {
			t.Errorf("no error of %s", kind)
		}
	}
	if err := st.Load(tensor.Features{"n": tensor.Scalar(float32(40))}); err != nil {
		t.Fatal(err)
	}
	_, _ = count(p, st, "panic")
	saved := tensor.Features{}
	if err := st.Save(saved); err != nil || saved["n"].(*tensor.Tensor).Float32s()[0] != 40 {
		t.Errorf("saved %v (%v), want the 40 that was loaded", saved["n"], err)
	}
}

// TestIsolatedCallers: what one caller does to the child is not put upon the others.
func TestIsolatedCallers(t *testing.T) {
	m := openModel(t, anyModel)
	defer leaks(t)()
	p := loadWith(t, faulty{}, m, faultOptions(), backend.Config{})
	var wg sync.WaitGroup
	var answered, hung atomic.Int64
	stop := time.Now().Add(1500 * time.Millisecond)
	for i := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(stop) {
				if i == 0 {
					ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
					j := &backend.Job{In: []tensor.Features{{"fault": "hang"}}, Out: []tensor.Features{nil}}
					if err := p.Run(ctx, j); !errors.Is(err, fault.Timeout) {
						t.Errorf("hang: %v", err)
					}
					cancel()
					hung.Add(1)
					time.Sleep(200 * time.Millisecond)
					continue
				}
				echo(t, p, ramp(1+r.IntN(5000)))
				answered.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d answers, %d hangs", answered.Load(), hung.Load())
	if hung.Load() < 2 || answered.Load() < 100 {
		t.Error("too few to say anything")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestIsolatedCancel(t *testing.T) {
	p := loadWith(t, faulty{}, openModel(t, anyModel), guards.Isolation{Grace: time.Minute, CancelGrace: time.Minute}, backend.Config{})
	before := pidOf(t, p)
	for range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(5*time.Millisecond, cancel)
		given := ramp(1000)
		j := &backend.Job{In: []tensor.Features{{"x": ramp(1000), "fault": "wait"}}, Out: []tensor.Features{{"x": given}}}
		if err := p.Run(ctx, j); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
	}
	if now := pidOf(t, p); now != before {
		t.Errorf("process %d answers, want %d: it must not be replaced for a run that lets itself be cancelled", now, before)
	}
}

// pidOf is the process that answers.
func pidOf(t *testing.T, p backend.Program) int64 {
	t.Helper()
	j := &backend.Job{In: []tensor.Features{{"fault": "pid"}}, Out: []tensor.Features{nil}}
	if err := p.Run(context.Background(), j); err != nil {
		t.Fatal(err)
	}
	return j.Out[0]["pid"].(int64)
}

func TestIsolatedClosed(t *testing.T) {
	m := openModel(t, anyModel)
	p, err := backend.Isolate(faulty{}, guards.Isolation{ControlTimeout: 300 * time.Millisecond}).Load(context.Background(), m, backend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		j := &backend.Job{In: []tensor.Features{{"fault": "hang"}}, Out: []tensor.Features{nil}}
		done <- p.Run(context.Background(), j)
	}()
	time.Sleep(50 * time.Millisecond)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, fault.Killed) {
		t.Errorf("a run without a deadline while the program is closed: %v, want fault.Killed", err)
	}
	if err := p.Run(context.Background(), &backend.Job{}); !errors.Is(err, fault.Closed) {
		t.Errorf("run after close: %v, want fault.Closed", err)
	}
	if _, err := p.NewState(); !errors.Is(err, fault.Closed) {
		t.Errorf("new state after close: %v, want fault.Closed", err)
	}
}

// orphanage makes the test binary a program that isolates a model, says the
// child's number, and waits.
const orphanage = "COREML_TEST_ORPHANAGE"

func leaveOrphan() {
	m, err := mlmodel.Open(anyModel)
	if err != nil {
		panic(err)
	}
	p, err := backend.Isolate(faulty{}, guards.Isolation{}).Load(context.Background(), m, backend.Config{})
	if err != nil {
		panic(err)
	}
	j := &backend.Job{In: []tensor.Features{{"fault": "pid"}}, Out: []tensor.Features{nil}}
	if err := p.Run(context.Background(), j); err != nil {
		panic(err)
	}
	fmt.Println(j.Out[0]["pid"])
	j.In[0]["fault"] = os.Getenv(orphanage)
	_ = p.Run(context.Background(), j)
}

// alive is false also for a process that only waits for init to take note.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && strings.Contains(string(text), ") Z ") {
		return false
	}
	return syscall.Kill(pid, 0) == nil
}

func TestIsolatedChildDiesWithItsParent(t *testing.T) {
	for _, kind := range []string{"wait", "hang", "spin"} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), orphanage+"="+kind)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, _, err := bufio.NewReader(out).ReadLine()
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(string(line))
		if err != nil || syscall.Kill(pid, 0) != nil {
			t.Fatalf("child %s: %v", line, err)
		}
		time.Sleep(20 * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for try := 0; alive(pid); try++ {
			if try == 300 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				t.Fatalf("%s: the child outlives its parent", kind)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
