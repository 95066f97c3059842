package engine

import (
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coreml/internal/fault"
)

// How long a helper looks for the next phase before it parks: within a run, where
// a call of one task may keep the caller, and after it. Waking a helper costs as
// much as a small phase.
const (
	spinInRun = time.Millisecond
	spinAfter = 20 * time.Microsecond
)

// team is the caller of a run and its helpers. The caller is worker 0: it claims
// tasks itself and never waits for a helper that has not started one, so that a
// busy machine slows a run down and cannot stop it.
type team struct {
	// state packs the phase in progress: generation (24 bits), number of tasks (20), next task (20).
	// A helper that claims a task by compare-and-swap knows that the phase is not over
	// before the task is, so the fields below hold still while it works.
	state   atomic.Uint64
	threads int
	done    atomic.Int64
	run     func(worker, task int) error

	fault   atomic.Pointer[error] // the first one
	inRun   atomic.Bool
	closing atomic.Bool
	parked  atomic.Int32
	wake    chan struct{}
	helpers sync.WaitGroup
}

const (
	taskBits = 20
	maxTasks = 1<<taskBits - 1
)

// crew is the one team of the process. It lasts as long as a program is open,
// serves one run at a time, and a run that finds it busy works alone.
var crew crewState

type crewState struct {
	mu    sync.Mutex
	users int
	team  *team
	busy  atomic.Bool
}

func (c *crewState) join() {
	c.mu.Lock()
	c.users++
	c.mu.Unlock()
}

func (c *crewState) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 && c.team != nil {
		c.team.close()
		c.team = nil
	}
}

// take gives the team to a run that may use so many threads; nil: work alone.
func (c *crewState) take(threads int) *team {
	if threads <= 1 || !c.busy.CompareAndSwap(false, true) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.team == nil || c.team.threads != threads {
		if c.team != nil {
			c.team.close()
		}
		c.team = newTeam(threads)
	}
	c.team.inRun.Store(true)
	c.team.call(threads - 1)
	return c.team
}

func (c *crewState) giveBack() {
	c.mu.Lock()
	if c.team != nil {
		c.team.inRun.Store(false)
	}
	c.mu.Unlock()
	c.busy.Store(false)
}

// newTeam starts helpers beside the caller; threads counts both.
func newTeam(threads int) *team {
	t := &team{threads: threads, wake: make(chan struct{}, threads)}
	for w := 1; w < threads; w++ {
		t.helpers.Add(1)
		go t.help(w)
	}
	return t
}

// close ends the helpers.
func (t *team) close() {
	t.closing.Store(true)
	close(t.wake)
	t.helpers.Wait()
}

// do runs tasks 0 … tasks-1 and returns when all have ended.
func (t *team) do(tasks int, run func(worker, task int) error) error {
	for lo := 0; lo < tasks; lo += maxTasks {
		base := lo
		n := min(maxTasks, tasks-lo)
		f := run
		if base > 0 {
			f = func(w, task int) error { return run(w, base+task) }
		}
		t.phase(n, f)
	}
	if e := t.fault.Swap(nil); e != nil {
		return *e
	}
	return nil
}

// phase gives out tasks that fit in state. It leaves nothing behind that would keep
// memory of the run: run is read by who has claimed a task, and every such task is over when it returns.
func (t *team) phase(tasks int, run func(worker, task int) error) {
	if t.threads == 1 || tasks == 1 {
		for i := 0; i < tasks && t.fault.Load() == nil; i++ {
			t.one(0, i, run)
		}
		return
	}
	t.run = run
	t.done.Store(0)
	gen := t.state.Load()>>(2*taskBits) + 1
	t.state.Store(gen<<(2*taskBits) | uint64(tasks)<<taskBits)
	t.call(min(t.threads, tasks) - 1)
	for t.claim(0) {
	}
	for n := 0; t.done.Load() < int64(tasks); n++ {
		if n > 1000 {
			runtime.Gosched()
		}
	}
	t.run = nil
}

// call wakes as many helpers, if they have parked. Others join as well if they are looking for work.
func (t *team) call(helpers int) {
	for i := int32(0); i < min(t.parked.Load(), int32(helpers)); i++ {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// claim takes one task of the phase in progress and runs it.
func (t *team) claim(worker int) bool {
	for {
		s := t.state.Load()
		if s&maxTasks >= s>>taskBits&maxTasks {
			return false
		}
		if t.state.CompareAndSwap(s, s+1) {
			if t.fault.Load() == nil {
				t.one(worker, int(s&maxTasks), t.run)
			}
			t.done.Add(1)
			return true
		}
	}
}

func (t *team) help(worker int) {
	defer t.helpers.Done()
	debug.SetPanicOnFault(true)
	idle := time.Now()
	for n := 0; !t.closing.Load(); n++ {
		if t.claim(worker) {
			idle = time.Now()
			continue
		}
		spin := spinAfter
		if t.inRun.Load() {
			spin = spinInRun
		}
		if time.Since(idle) < spin {
			if n%64 == 0 {
				runtime.Gosched() // others may want the processor
			}
			continue
		}
		t.parked.Add(1)
		if s := t.state.Load(); s&maxTasks >= s>>taskBits&maxTasks {
			<-t.wake
		}
		t.parked.Add(-1)
		idle = time.Now()
	}
}

// one runs a task; a panic becomes the phase's error, as a panic in a helper would end the process.
func (t *team) one(worker, task int, run func(worker, task int) error) {
	defer func() {
		if p := recover(); p != nil {
			t.fail(fmt.Errorf("%w: %v", fault.Runtime, describePanic(p)))
		}
	}()
	if err := run(worker, task); err != nil {
		t.fail(err)
	}
}

func (t *team) fail(err error) { t.fault.CompareAndSwap(nil, &err) }

// describePanic tells a memory fault (a mapped file that has become shorter) from
// a broken invariant, and says where it happened. It is called while recovering.
func describePanic(p any) string {
	if e, ok := p.(interface{ Addr() uintptr }); ok {
		return fmt.Sprintf("memory fault at %#x: was the model file changed or truncated while it was open?", e.Addr())
	}
	return fmt.Sprintf("%v at %s", p, panicSite())
}

// panicSite is the innermost place outside the runtime on the stack of a panic.
func panicSite() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	panicked := false
	for {
		f, more := frames.Next()
		if panicked && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		panicked = panicked || f.Function == "runtime.gopanic"
		if !more {
			return "an unknown place"
		}
	}
}
