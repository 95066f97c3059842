package isolate

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"coreml/internal/fault"
)

const (
	// Variable is set in the environment of a child, and says where its pipes are.
	Variable = "COREML_ISOLATED"
	// Arg0 is a child's own name. It is looked at first, because it costs nothing.
	Arg0 = "coreml-isolated"
)

// IsChild reports whether this process was started by Start.
func IsChild() bool {
	return len(os.Args) == 1 && os.Args[0] == Arg0 && os.Getenv(Variable) != ""
}

// Request is a call as the child sees it.
type Request struct {
	Op byte
	*Decoder
	srv  *server
	id   uint64
	room chan []byte
}

// ErrDropped is returned by Answer when nobody waits for the answer any more.
var ErrDropped = errors.New("isolate: nobody waits for the answer any more")

// Answer starts the answer, with place for shared bytes of shared memory. When the
// request's slot has too little left, all of the answer goes to another: placed
// says then that what is in the first has to be copied.
func (r *Request) Answer(shared, placed int) (e *Encoder, moved bool, err error) {
	e = NewEncoder(r.mem)
	e.used = r.used
	if shared <= len(r.mem)-r.used {
		return e, false, nil
	}
	r.srv.send(binary.LittleEndian.AppendUint64(appendHeader(nil), uint64(shared+placed)), kindRoom, r.id)
	mem := <-r.room
	if mem == nil {
		return nil, false, ErrDropped
	}
	return NewEncoder(mem), true, nil
}

// Archive is the first n bytes of the request's shared memory.
func (r *Request) Archive(n int) []byte {
	if n < 0 || n > len(r.mem) {
		return nil
	}
	return r.mem[:n]
}

// Serve answers calls until the parent is gone, and ends the process then. Every
// call has a goroutine of its own. A panic of handle ends the process: what it
// was doing is not to be trusted any more.
func Serve(handle func(ctx context.Context, r *Request) (*Encoder, error)) {
	s, err := newServer(os.Getenv(Variable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	s.handle = handle
	if err := s.loop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

type server struct {
	handle   func(ctx context.Context, r *Request) (*Encoder, error)
	in, out  *os.File
	views    *views
	writing  sync.Mutex
	mu       sync.Mutex
	inFlight map[uint64]*serving
}

type serving struct {
	cancel context.CancelFunc
	room   chan []byte
}

// newServer takes the pipes and limits that the parent's variable names.
func newServer(value string) (*server, error) {
	f := strings.Fields(value)
	if len(f) != 5 || f[0] != strconv.Itoa(version) {
		return nil, fmt.Errorf("isolate: %s=%q: want what this version sets", Variable, value)
	}
	// What this process starts is no child of the parent's.
	_ = os.Unsetenv(Variable)
	files := make([]*os.File, 3)
	for i := range files {
		h, err := strconv.ParseUint(f[1+i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("isolate: %s=%q: want handles", Variable, value)
		}
		files[i] = inherit(uintptr(h))
	}
	if limit, err := strconv.ParseInt(f[4], 10, 64); err == nil && limit > 0 {
		limitData(limit)
		debug.SetMemoryLimit(limit - limit/8)
	}
	offerToKill()
	s := &server{in: files[0], out: files[1], views: &views{file: files[2], mem: map[int64][]byte{}}, inFlight: map[uint64]*serving{}}
	s.send(append(appendHeader(nil), version), kindHello, 0)
	return s, nil
}

// send writes a frame. A parent that is gone is seen by the reading end.
func (s *server) send(b []byte, kind byte, id uint64) {
	msg, err := seal(b, kind, id)
	if err != nil {
		msg, _ = seal(appendError(appendHeader(nil), fault.As(fault.Limit, err)), kindError, id)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = s.out.Write(msg)
}

func (s *server) loop() error {
	r := bufio.NewReaderSize(eagerly(s.in), 64<<10)
	for {
		f, err := readFrame(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("isolate: %w", err)
		}
		if f.kind == kindCall {
			if err := s.start(f); err != nil {
				return err
			}
			continue
		}
		s.mu.Lock()
		c := s.inFlight[f.call]
		s.mu.Unlock()
		switch {
		case c == nil: // it has been answered meanwhile
		case f.kind == kindCancel:
			c.cancel()
		case f.kind == kindGrant:
			d := NewDecoder(f.body, nil)
			mem, err := s.views.slot(int64(d.fixed()), int(d.fixed()))
			if err := errors.Join(err, d.err); err != nil {
				return err
			}
			c.room <- mem
		}
	}
}

// start begins a call.
func (s *server) start(f frame) error {
	d := NewDecoder(f.body, nil)
	op := d.Byte()
	off, size := d.fixed(), d.fixed()
	mem, err := s.views.slot(int64(off), int(size))
	if err := errors.Join(err, d.err); err != nil {
		return err
	}
	d.mem = mem
	ctx, cancel := context.WithCancel(context.Background())
	c := &serving{cancel, make(chan []byte, 1)}
	s.mu.Lock()
	s.inFlight[f.call] = c
	s.mu.Unlock()
	go s.answer(ctx, f.call, c, &Request{Op: op, Decoder: d, srv: s, id: f.call, room: c.room})
	return nil
}

func (s *server) answer(ctx context.Context, id uint64, c *serving, r *Request) {
	e, err := s.handle(ctx, r)
	c.cancel()
	s.mu.Lock()
	delete(s.inFlight, id)
	s.mu.Unlock()
	switch {
	case err != nil:
		s.send(appendError(appendHeader(nil), err), kindError, id)
	case e == nil:
		s.send(appendHeader(nil), kindReply, id)
	default:
		s.send(e.buf, kindReply, id)
	}
}
