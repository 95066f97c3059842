package isolate

import (
	"fmt"
	"os"
	"strings"

	"coreml/internal/fault"
)

// Death says how a child ended. It is fault.Killed, or fault.Memory when it ran out of memory.
type Death struct {
	Kind     error
	How      string   // "exit status 3", "signal: killed", or why this process killed it
	Headline string   // "panic: …" or "fatal error: …", when its last words had such a line
	Stderr   []string // the last lines that it wrote there
	// Innocent is set when this process killed it for a call that nobody waited
	// for any more: those that were in flight beside it are not to blame.
	Innocent bool

	clean bool // it ended by itself because its pipe did
}

// Error is one line.
func (d *Death) Error() string {
	s := "isolate: " + d.Kind.Error() + ": " + d.How
	if d.Headline != "" {
		s += ": " + d.Headline
	}
	if n := len(d.Stderr); n > 0 {
		s += "; it last wrote " + fmt.Sprintf("%q", strings.Join(d.Stderr[max(0, n-3):], " | "))
	}
	return s
}

func (d *Death) Unwrap() error { return d.Kind }

// end is what is known of a child that is gone.
type end struct {
	cause                  // of killing it, if it was killed or its pipe ended first
	state *os.ProcessState // nil when it could not be waited for
	oom   bool             // the kernel has killed a process for want of memory meanwhile
	tail  *tail
}

// outOfMemory are words of the Go runtime and of C libraries that could get no more memory.
var outOfMemory = []string{"out of memory", "cannot allocate memory", "std::bad_alloc"}

// closedPipe is the reason of a child whose pipe ended: mostly because it did.
const closedPipe = "it closed its pipe"

func (e end) death() *Death {
	d := &Death{Kind: fault.Killed, Innocent: e.late}
	d.Headline, d.Stderr = e.tail.words()
	d.clean = !e.ours && e.state != nil && e.state.Success() && (e.reason == "" || e.reason == closedPipe)
	how := "it does not end"
	if e.state != nil {
		how = e.state.String()
	}
	switch {
	case e.ours:
		d.How = e.reason
		return d
	case e.reason == "" || e.reason == closedPipe && how != "exit status 0":
		d.How = how
	default:
		d.How = how + ", " + e.reason
	}
	if e.oom && e.state != nil && !e.state.Exited() {
		d.Kind = fault.Memory
		d.How += ", by the kernel for want of memory"
	}
	for _, w := range outOfMemory {
		if strings.Contains(d.Headline, w) {
			d.Kind = fault.Memory
		}
	}
	return d
}
