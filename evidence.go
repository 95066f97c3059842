package coreml

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"coreml/internal/fault"
	"coreml/internal/record"
	"coreml/telemetry"
)

// maxEvidence bounds the cases that a process tries to keep of one model in one folder.
const maxEvidence = 16

// kept counts them.
var kept struct {
	sync.Mutex
	of map[[2]string]int
}

func claimEvidence(dir, model string) bool {
	kept.Lock()
	defer kept.Unlock()
	if kept.of == nil {
		kept.of = map[[2]string]int{}
	}
	k := [2]string{dir, model}
	if kept.of[k] >= maxEvidence {
		return false
	}
	kept.of[k]++
	return true
}

// evidence writes drifting answers as cases, beside the predictions.
type evidence struct {
	g *guard

	mu      sync.Mutex
	closed  bool
	work    sync.WaitGroup
	writing sync.Mutex // held by the one that writes
}

// keep has the case written, if there is room for it.
func (e *evidence) keep(d Drift) {
	dir := e.g.o.Shadow.Evidence
	model := e.g.file.Path
	if model == "" {
		model = e.g.name
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !claimEvidence(dir, model) {
		return
	}
	e.work.Go(func() {
		e.writing.Lock()
		defer e.writing.Unlock()
		e.write(dir, d)
	})
}

func (e *evidence) write(dir string, d Drift) {
	start := time.Now()
	name := filepath.Join(dir, "drift-"+d.At.UTC().Format("20060102T150405")+"-"+strings.ToLower(rand.Text()[:6]))
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = record.Drift(name, e.g.file, e.g.o.Function, d)
	}
	if err != nil {
		err = fmt.Errorf("coreml: evidence: %w", fault.As(fault.Runtime, err))
	}
	ev := telemetry.Event{Type: telemetry.Recorded, Key: e.g.key, Time: time.Now(), Err: err, Detail: name}
	ev.Duration = ev.Time.Sub(start)
	e.g.to.Observe(ev)
}

// close waits for what is being written.
func (e *evidence) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.work.Wait()
}
