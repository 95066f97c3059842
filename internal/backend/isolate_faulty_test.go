//go:build unix

package backend_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"coreml/guards"
	"coreml/internal/backend"
	"coreml/internal/engine"
	"coreml/internal/mlmodel"
	"coreml/tensor"

	"go.uber.org/goleak"
)

// slowStart delays every child of the test by the duration that it names.
const slowStart = "COREML_TEST_SLOW_START"

func TestMain(m *testing.M) {
	if d, err := time.ParseDuration(os.Getenv(slowStart)); err == nil && os.Args[0] == "coreml-isolated" {
		time.Sleep(d)
	}
	backend.ServeIsolated(faulty{}, engine.CPU{})
	if os.Getenv(orphanage) != "" {
		leaveOrphan()
	}
	goleak.VerifyTestMain(m)
}

// faulty answers with copies of its inputs, and fails as it is told: at load and
// close by Config.Function ("hang@close"), at a run by the text input "fault".
// Its state counts runs.
type faulty struct{}

func (faulty) Name() string  { return "faulty" }
func (faulty) Usable() error { return nil }

func (faulty) Load(ctx context.Context, _ *mlmodel.Model, c backend.Config) (backend.Program, error) {
	kind, at, _ := strings.Cut(c.Function, "@")
	p := &faultyProgram{}
	switch at {
	case "load":
		return p, misbehave(ctx, kind)
	case "run":
		p.atRun = kind
	case "close":
		p.atClose = kind
	}
	return p, nil
}

type faultyProgram struct {
	atRun   string
	atClose string
	runs    atomic.Int64
}

type faultyState struct{ n float32 }

func (p *faultyProgram) NewState() (backend.State, error) { return &faultyState{}, nil }
func (p *faultyProgram) Close() error                     { return misbehave(context.Background(), p.atClose) }
func (p *faultyProgram) Capabilities() backend.Capabilities {
	return backend.Capabilities{Unit: "faulty", Memory: guards.Memory{Weights: p.runs.Load()}, Ops: map[string]int{"copy": 1}}
}

func (p *faultyProgram) Run(ctx context.Context, j *backend.Job) error {
	p.runs.Add(1)
	if err := misbehave(ctx, p.atRun); err != nil {
		return err
	}
	for i, in := range j.In {
		kind, _ := in["fault"].(string)
		if kind == "pid" {
			j.Out[i]["pid"] = int64(os.Getpid())
		} else if kind != "" {
			if err := misbehave(ctx, kind); err != nil {
				return err
			}
		}
		for name, v := range in {
			if name == "fault" {
				continue
			}
			t, ok := v.(*tensor.Tensor)
			if !ok {
				j.Out[i][name] = v
				continue
			}
			if given, ok := j.Out[i][name].(*tensor.Tensor); ok {
				copy(given.Bytes(), t.Bytes())
				continue
			}
			j.Out[i][name] = t.Clone()
		}
		if s, ok := j.State.(*faultyState); ok {
			s.n++
			j.Out[i]["n"] = tensor.Scalar(s.n)
		}
	}
	j.Dispatch = guards.Dispatch{Backend: "faulty", Unit: "faulty unit"}
	return nil
}

func (s *faultyState) Close() error { return nil }
func (s *faultyState) Save(f tensor.Features) error {
	f["n"] = tensor.Scalar(s.n)
	return nil
}
func (s *faultyState) Load(f tensor.Features) error {
	t, ok := f["n"].(*tensor.Tensor)
	if !ok {
		return errors.New("no n")
	}
	s.n = t.Float32s()[0]
	return nil
}

// childOut is the child's end of the pipe to its parent on Unix.
const childOut = 4

// grown is what a child has taken and does not give back.
var grown [][]byte

// misbehave does what would end most programs.
func misbehave(ctx context.Context, kind string) error {
	switch kind {
	case "":
		return nil
	case "error":
		return errors.New("it does not want to")
	case "exit":
		fmt.Fprintln(os.Stderr, "about to leave")
		os.Exit(3)
	case "panic":
		panic("it has had enough")
	case "abort":
		return signal(syscall.SIGABRT)
	case "kill":
		return signal(syscall.SIGKILL)
	case "segv":
		return signal(syscall.SIGSEGV)
	case "oom":
		var all [][]byte
		for {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			runtime.KeepAlive(all)
		}
	case "grow":
		b := make([]byte, 32<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		grown = append(grown, b)
		return nil
	case "wait": // a hang that lets itself be cancelled
		<-ctx.Done()
		return ctx.Err()
	case "hang":
		select {}
	case "spin":
		for odd := uint64(1); odd != 0; odd += 2 {
		}
	case "garbage":
		_, _ = syscall.Write(childOut, []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		select {}
	case "half": // the first 10 bytes of a header
		_, _ = syscall.Write(childOut, []byte{0xe1, 0xc0, 3, 0, 100, 0, 0, 0, 1, 0})
		os.Exit(0)
	case "stuck half":
		_, _ = syscall.Write(childOut, []byte{0xe1, 0xc0, 3, 0, 100, 0, 0, 0, 1, 0})
		select {}
	case "full disk":
		f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString("a compiled model")
		return err
	}
	panic("BUG: no fault " + kind)
}

func signal(s syscall.Signal) error {
	if err := syscall.Kill(syscall.Getpid(), s); err != nil {
		return err
	}
	select {}
}
