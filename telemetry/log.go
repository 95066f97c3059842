package telemetry

import (
	"context"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coreml/internal/fault"
)

// LogOptions say what a log keeps. The zero value logs every event.
type LogOptions struct {
	Buffer int // events that may wait to be written, rounded up to a power of two (4096)
	Every  int // of the inferences and answers that went the ordinary way, about one in so many is logged (1)
}

// Log hands events to a slog.Handler, one at a time, on a goroutine of its own. Observe never
// waits: what finds the buffer full, or cannot be written, is lost and counted.
type Log struct {
	handler slog.Handler
	flush   func() error
	end     func() error
	every   int
	queue   *queue
	lost    atomic.Int64
	told    int64 // of lost, what the log itself has said

	ended  atomic.Bool
	idle   atomic.Bool
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	closed sync.Once
	err    error
}

// OpenLog starts a log of JSON lines in a file that is rotated. The file log.schema.json describes a line.
func OpenLog(name string, f FileOptions, o LogOptions) (*Log, error) {
	file, err := OpenFile(name, f)
	if err != nil {
		return nil, err
	}
	l := newLog(slog.NewJSONHandler(file, nil), o, file.Flush, file.Close)
	file.lost = &l.lost
	go l.run()
	return l, nil
}

func newLog(h slog.Handler, o LogOptions, flush, end func() error) *Log {
	if o.Buffer <= 0 {
		o.Buffer = 4096
	}
	size := 1 << bits.Len(uint(min(max(o.Buffer, 2), 1<<20)-1))
	return &Log{handler: h, flush: flush, end: end, every: max(o.Every, 1), queue: newQueue(size),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// Observe implements Observer. Starts and measurements are in snapshots only.
func (l *Log) Observe(e Event) {
	switch {
	case e.Type == Started || e.Type == Measured:
		return
	case l.every > 1 && ordinary(&e) && rand.IntN(l.every) != 0:
		return
	}
	if l.ended.Load() || !l.queue.push(&e) {
		l.lost.Add(1)
		return
	}
	if l.idle.Load() && l.idle.CompareAndSwap(true, false) {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

func ordinary(e *Event) bool {
	return (e.Type == Ran || e.Type == Answered) && e.Err == nil && !e.Fallback
}

// Lost counts the events that are missing from the log.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Close writes what is waiting and ends the log. Events that come later are lost.
func (l *Log) Close() error {
	l.closed.Do(func() {
		l.ended.Store(true)
		close(l.stop)
	})
	<-l.done
	return l.err
}

// pause lets events gather, so that the writer neither spins nor makes callers wake it each time.
const pause = 5 * time.Millisecond

func (l *Log) run() {
	defer close(l.done)
	for {
		if l.drain() {
			select {
			case <-time.After(pause):
				continue
			case <-l.stop:
			}
		} else if l.wait() {
			continue
		}
		for l.drain() {
		}
		l.err = l.end()
		return
	}
}

// wait returns true when there is an event, false when the log ends.
func (l *Log) wait() bool {
	l.idle.Store(true)
	defer l.idle.Store(false)
	if !l.queue.empty() {
		return true
	}
	select {
	case <-l.wake:
		return true
	case <-l.stop:
		return false
	}
}

// drain writes what is waiting and reports whether there was anything.
func (l *Log) drain() bool {
	var e Event
	n := 0
	for n < len(l.queue.slots) && l.queue.pop(&e) {
		n++
		if !l.write(record(&e)) {
			l.lost.Add(1)
		}
	}
	if lost := l.lost.Load(); lost > l.told {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "lost", 0)
		r.AddAttrs(slog.Int64("count", lost-l.told))
		if l.write(r) { // else it is said with the next events
			l.told = lost
			n++
		}
	}
	if n > 0 {
		l.flush() // a file counts itself what it loses
	}
	return n > 0
}

// write reports whether the handler took r, or did not want it.
func (l *Log) write(r slog.Record) bool {
	ctx := context.Background()
	return !l.handler.Enabled(ctx, r.Level) || l.handler.Handle(ctx, r) == nil
}

// record makes the log's line of an event.
func record(e *Event) slog.Record {
	t := e.Time
	if t.IsZero() {
		t = time.Now()
	}
	r := slog.NewRecord(t, level(e), e.Type.String(), 0)
	text := func(k, v string) {
		if v != "" {
			r.AddAttrs(slog.String(k, cut(v, 512)))
		}
	}
	number := func(k string, v int64) {
		if v != 0 {
			r.AddAttrs(slog.Int64(k, v))
		}
	}
	r.AddAttrs(slog.String("model", cut(e.Model, 512)), slog.String("backend", cut(e.Backend, 512)), slog.String("unit", cut(e.Unit, 512)))
	number("duration_ns", int64(e.Duration))
	number("queue_ns", int64(e.Queue))
	number("memory_bytes", e.Memory)
	if e.Err != nil {
		text("kind", KindOf(e.Err).String())
		text("error", e.Err.Error())
	}
	text("requested", e.Requested)
	text("planned", e.Planned)
	if e.Type == Answered {
		r.AddAttrs(slog.Bool("fallback", e.Fallback))
	}
	text("reason", e.Reason)
	text("from", e.From)
	text("to", e.To)
	if e.Detail != nil {
		r.AddAttrs(slog.Any("detail", e.Detail))
	}
	return r
}

func level(e *Event) slog.Level {
	if e.Type == Moved || e.Fallback || e.Err != nil && !fault.ByCaller(e.Err) {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// cut shortens a text of elsewhere to most bytes, at the end of a rune.
func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
