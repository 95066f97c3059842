// Package isolate runs work in a child process of this program's own binary.
//
// Control goes through two pipes in small frames, tensors through shared memory.
// A call that goes on after its context has ended is given up at once, and the
// child is killed if it does not let go of it soon. However the child ends, every
// call in flight returns a *Death that says how; nothing here ever waits for a
// child without a limit.
//
// It has been run on Linux. It is built for macOS and Windows, and has not been run there yet.
package isolate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"coreml/internal/fault"
)

// Options say how a child is started and what it may take.
type Options struct {
	Start time.Duration // for how long it may take to come up
	Grace time.Duration // for how long it may go on with a call whose deadline has passed
	// CancelGrace is the same for a call that was cancelled before its deadline.
	CancelGrace time.Duration
	Shared      int64  // bytes of shared memory at most
	Memory      int64  // bytes of data that it may allocate itself, where the system can limit that; 0: no limit
	Dir         string // a folder for shared memory as files; "": the system's own kind
}

// stall is for how long a child may leave a full pipe unread.
const stall = time.Second

// Child is a running child process.
type Child struct {
	o       Options
	cmd     *exec.Cmd
	to      *os.File // our ends of the pipes
	from    *os.File
	sending chan struct{} // holds one token: the right to write
	seg     *segment
	tail    tail
	oom     int64 // oomKills when it started
	hello   chan struct{}
	unread  chan struct{} // closed when nothing more will be read from it
	meter   *os.File      // of its memory; nil: the system does not tell

	dead   chan struct{} // closed when death is set and the process is gone, or given up
	death  *Death
	finish sync.Once

	mu     sync.Mutex
	calls  map[uint64]*call
	last   uint64
	killed bool
	why    cause // the first
}

// cause is why a child is killed.
type cause struct {
	reason string
	ours   bool // nothing had happened to it before
	late   bool // for a call that nobody waits for
}

// call is an operation that the child has been asked for.
type call struct {
	id        uint64
	slot      *slot // nil: the call has none
	small     *slot // the one before it was enlarged
	enlarged  int
	answer    chan frame
	abandoned bool        // nobody waits; the child may still use the slot
	timer     *time.Timer // kills the child, when abandoned
}

// release gives the call's memory back.
func (k *call) release() {
	k.small.release()
	k.slot.release()
}

// ErrStart is every error of Start: no child has been asked for anything.
var ErrStart = errors.New("no child was started")

// Start starts a child and waits until it is up.
func Start(ctx context.Context, o Options) (*Child, error) {
	c, err := start(ctx, o)
	if err != nil {
		return nil, &startError{err}
	}
	return c, nil
}

type startError struct{ error }

func (e *startError) Unwrap() []error { return []error{ErrStart, e.error} }

func start(ctx context.Context, o Options) (*Child, error) {
	if err := ctx.Err(); err != nil {
		return nil, timeout(err, "starting the child")
	}
	seg, err := newSegment(o.Dir, o.Shared)
	if err != nil {
		return nil, err
	}
	c := &Child{o: o, seg: seg, oom: oomKills(), calls: map[uint64]*call{}, sending: make(chan struct{}, 1),
		dead: make(chan struct{}), hello: make(chan struct{}), unread: make(chan struct{})}
	up, quit := make(chan error, 1), make(chan struct{})
	go func() { up <- c.comeUp(quit) }()
	t := time.NewTimer(o.Start)
	defer t.Stop()
	select {
	case err = <-up:
		if err != nil {
			return nil, err
		}
		return c, nil
	case <-t.C:
		err = fmt.Errorf("isolate: starting the child: %w: it was not up after %v", fault.Timeout, o.Start)
	case <-ctx.Done():
		err = timeout(ctx.Err(), "starting the child")
	}
	close(quit)
	go func() { // even making a process may take long
		if <-up == nil {
			c.End("nobody waits for its start any more")
		}
	}()
	return nil, err
}

// comeUp makes the process and waits until it is up, or quit is closed.
func (c *Child) comeUp(quit <-chan struct{}) error {
	if err := c.spawn(); err != nil {
		return errors.Join(fmt.Errorf("isolate: starting a child: %w", fault.As(fault.Load, err)), c.seg.close())
	}
	go c.read()
	select {
	case <-c.hello:
	case <-c.dead:
		return c.death
	case <-quit:
	}
	return nil
}

// spawn starts the process.
func (c *Child) spawn() error {
	childIn, to, err := os.Pipe()
	if err != nil {
		return err
	}
	from, childOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, childIn.Close(), to.Close())
	}
	c.to, c.from = to, from
	c.cmd, err = command(childIn, childOut, c.seg.file)
	if err == nil {
		value := strconv.Itoa(version) + " " + handles(childIn, childOut, c.seg.file) + " " + strconv.FormatInt(c.o.Memory, 10)
		c.cmd.Args = []string{Arg0}
		c.cmd.Env = append(os.Environ(), Variable+"="+value)
		c.cmd.Stderr = &c.tail
		c.cmd.WaitDelay = 50 * time.Millisecond // for what others may still write to its stderr
		started := make(chan error, 1)
		go c.live(started)
		err = <-started
	}
	if err = errors.Join(err, childIn.Close(), childOut.Close()); err != nil {
		return errors.Join(err, to.Close(), from.Close())
	}
	return nil
}

// live starts the process and waits until it is gone. Both happen on one locked
// thread, since on Linux the child lives no longer than the thread that made it.
func (c *Child) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	if err == nil {
		c.meter = openMeter(c.cmd.Process.Pid)
	}
	started <- err
	if err != nil {
		return
	}
	_ = c.cmd.Wait() // what it says is in ProcessState
	// What it sent last is still to be read, unless others hold its pipe open.
	t := time.NewTimer(c.cmd.WaitDelay)
	defer t.Stop()
	select {
	case <-c.unread:
	case <-t.C:
	}
	c.end(c.cmd.ProcessState)
}

// end makes the death known, once. The process is gone, or state is nil.
func (c *Child) end(state *os.ProcessState) {
	c.finish.Do(func() {
		c.mu.Lock()
		e := end{cause: c.why, state: state, tail: &c.tail}
		c.killed = true
		c.mu.Unlock()
		if n := oomKills(); c.oom >= 0 && n > c.oom {
			e.oom = true
		}
		c.death = e.death()
		close(c.dead)
		_ = c.to.Close()
		_ = c.from.Close()
		if c.meter != nil {
			_ = c.meter.Close()
		}
		c.mu.Lock()
		for id, k := range c.calls {
			if k.abandoned {
				c.drop(id, k)
			}
		}
		c.mu.Unlock()
		_ = c.seg.close()
	})
}

// drop forgets an abandoned call. The child does not use its slot any more. c.mu is held.
func (c *Child) drop(id uint64, k *call) {
	if k.timer != nil {
		k.timer.Stop()
	}
	delete(c.calls, id)
	k.release()
}

// kill ends the child, unless it is being ended already.
func (c *Child) kill(why cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killLocked(why)
}

func (c *Child) killLocked(why cause) {
	if c.killed {
		return
	}
	c.killed, c.why = true, why
	_ = c.cmd.Process.Kill()
	// A process that waits for a device is not gone at once. Nobody else waits with it.
	time.AfterFunc(stall, func() { c.end(nil) })
}

// End kills the child, because it is not needed any more.
func (c *Child) End(reason string) { c.kill(cause{reason: "killed: " + reason, ours: true}) }

// Distrust kills a child that has answered what it should not have, and returns
// its death, once it is gone.
func (c *Child) Distrust(err error) error {
	c.kill(cause{reason: fmt.Sprintf("%v: %v", errGarbage, err), ours: true})
	<-c.dead
	return c.death
}

// Dead is closed when the child is gone.
func (c *Child) Dead() <-chan struct{} { return c.dead }

// Death says how it ended, once Dead is closed.
func (c *Child) Death() *Death { return c.death }

// Resident is the memory of its own that the child takes now, in bytes; 0: unknown. The child is not asked.
func (c *Child) Resident() int64 {
	if c.meter == nil {
		return 0
	}
	return resident(c.meter)
}

// Close lets the child go: its pipe ends, and so does it. If it is not gone
// within the time given, it is killed and the error says so.
func (c *Child) Close(wait time.Duration) error {
	_ = c.to.Close()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-c.dead:
	case <-t.C:
		c.kill(cause{reason: "it did not end when it was closed", ours: true})
		<-c.dead
		return fmt.Errorf("isolate: closing the child: %w after %v: %w", fault.Timeout, wait, c.death)
	}
	if c.death.clean {
		return nil
	}
	return c.death
}

// read delivers what the child sends, until its pipe ends.
func (c *Child) read() {
	defer close(c.unread)
	r := bufio.NewReaderSize(eagerly(c.from), 64<<10)
	greeted := false
	for {
		f, err := readFrame(r)
		switch {
		case err == nil && !greeted:
			if f.kind != kindHello || len(f.body) != 1 || f.body[0] != version {
				c.kill(cause{reason: "it is not a child of the same version", ours: true})
				return
			}
			greeted = true
			close(c.hello)
			continue
		case err == nil:
			err = c.deliver(f)
		}
		switch {
		case err == nil:
		case errors.Is(err, errGarbage):
			c.kill(cause{reason: err.Error(), ours: true})
			return
		case err == io.EOF:
			c.kill(cause{reason: closedPipe})
			return
		default:
			c.kill(cause{reason: err.Error()})
			return
		}
	}
}

var errGarbage = errors.New("it sent what is no message")

// deliver hands an answer to the call that waits for it.
func (c *Child) deliver(f frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[f.call]
	if k == nil || f.kind != kindReply && f.kind != kindError && f.kind != kindRoom {
		return fmt.Errorf("%w: kind %d for call %d", errGarbage, f.kind, f.call)
	}
	if k.abandoned {
		if f.kind == kindRoom {
			go c.grant(k.id, nil)
			return nil
		}
		c.drop(f.call, k)
		return nil
	}
	select {
	case k.answer <- f:
		return nil
	default:
		return fmt.Errorf("%w: a second answer to call %d", errGarbage, f.call)
	}
}

// timeout turns the end of a context into an error of this package.
func timeout(err error, where string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("isolate: %s: %w: %w", where, fault.Timeout, err)
	}
	return fmt.Errorf("isolate: %s: %w", where, err)
}
