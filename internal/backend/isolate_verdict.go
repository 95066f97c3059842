package backend

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"coreml/internal/atomicfile"
	"coreml/internal/fault"
)

// subject is what a verdict is about.
type subject struct {
	Backend string `json:"backend"`
	Model   string `json:"model"` // its digest
	System  string `json:"system"`
	Chip    string `json:"chip"`
	Config  Config `json:"config"`
}

// The verdicts on a model.
const (
	good      = "good"
	killed    = "killed"
	exhausted = "out of memory"
	hung      = "hung"
)

type verdict struct {
	Verdict string    `json:"verdict"`
	Doing   string    `json:"doing,omitempty"` // load or predict
	Reason  string    `json:"reason,omitempty"`
	Time    time.Time `json:"time"`
}

// refusal is why a model is not loaded in this process; nil if it may be.
func (v verdict) refusal() error {
	kinds := map[string]error{killed: fault.Killed, exhausted: fault.Memory, hung: fault.Timeout}
	if k := kinds[v.Verdict]; k != nil {
		return fmt.Errorf("backend: canary: %w: the model %s a process at %s, so it is not loaded in this one: %s", k, verbs[v.Verdict], v.Doing, v.Reason)
	}
	return nil
}

var verbs = map[string]string{killed: "killed", exhausted: "exhausted the memory of", hung: "hung"}

// verdicts keeps the verdicts of this process, and those of a folder.
type verdicts struct {
	dir    string
	maxAge time.Duration

	mu    sync.Mutex
	known map[string]*canaryTrial
}

// canaryTrial is a verdict that is there or being found.
type canaryTrial struct {
	done chan struct{}
	v    verdict
	err  error
}

// of is the verdict on a subject: known, read, or found by try. One trial at a time is made for each.
func (s *verdicts) of(ctx context.Context, about subject, report func(error), try func() (verdict, error)) (verdict, error) {
	key, err := about.key()
	if err != nil {
		return verdict{}, err
	}
	for {
		s.mu.Lock()
		t := s.known[key]
		mine := t == nil || t.finished() && (t.err != nil || s.old(t.v))
		if mine {
			t = &canaryTrial{done: make(chan struct{})}
			s.known[key] = t
		}
		s.mu.Unlock()
		if mine {
			t.v, t.err = s.find(key, about, report, try)
			close(t.done)
			return t.v, t.err
		}
		select {
		case <-t.done:
		case <-ctx.Done():
			return verdict{}, timeoutOf(ctx, "waiting for the canary")
		}
		if t.err == nil {
			return t.v, nil
		}
		// Whoever made the trial did not wait for its end.
		if err := ctx.Err(); err != nil {
			return verdict{}, timeoutOf(ctx, "waiting for the canary")
		}
	}
}

func (t *canaryTrial) finished() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// old reports whether a bad verdict has had its time.
func (s *verdicts) old(v verdict) bool {
	return v.Verdict != good && s.maxAge > 0 && time.Since(v.Time) > s.maxAge
}

func (s *verdicts) find(key string, about subject, report func(error), try func() (verdict, error)) (verdict, error) {
	name := ""
	if s.dir != "" {
		name = filepath.Join(s.dir, key+".json")
		switch v, err := readVerdict(name, about); {
		case err == nil && !s.old(v):
			return v, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			report(err)
		}
	}
	v, err := try()
	if err != nil || name == "" {
		return v, err
	}
	v.Time = time.Now().UTC().Round(time.Second)
	if err := writeVerdict(name, about, v); err != nil {
		report(err)
	}
	return v, nil
}

// key names the subject's file.
func (a subject) key() (string, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return "", fmt.Errorf("backend: canary: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), nil
}

func (a subject) same(b subject) bool {
	x, err1 := a.key()
	y, err2 := b.key()
	return err1 == nil && err2 == nil && x == y
}

// verdictFile is a file of the folder.
type verdictFile struct {
	Subject subject `json:"subject"`
	verdict
	Check string `json:"check"` // a hash of the rest
}

func (e verdictFile) check() (string, error) {
	e.Check = ""
	text, err := json.Marshal(e)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), err
}

// maxEntry bounds what is read of a file of the folder.
const maxEntry = 1 << 20

// readVerdict returns fault.Cache for a file that is not what was written.
func readVerdict(name string, about subject) (verdict, error) {
	f, err := os.Open(name)
	if err != nil {
		return verdict{}, fault.As(fault.Cache, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEntry))
	if err != nil {
		return verdict{}, fmt.Errorf("backend: canary: %w: %w", fault.Cache, err)
	}
	var e verdictFile
	if err := json.Unmarshal(text, &e); err != nil {
		return verdict{}, fmt.Errorf("backend: canary: %s: %w: %w", name, fault.Cache, err)
	}
	sum, err := e.check()
	switch {
	case err != nil || sum != e.Check:
		return verdict{}, fmt.Errorf("backend: canary: %s: %w: its check is %q, want %q", name, fault.Cache, e.Check, sum)
	case !e.Subject.same(about):
		return verdict{}, fmt.Errorf("backend: canary: %s: %w: it is about something else", name, fault.Cache)
	case e.Verdict != good && e.verdict.refusal() == nil:
		return verdict{}, fmt.Errorf("backend: canary: %s: %w: verdict %q", name, fault.Cache, e.Verdict)
	}
	return e.verdict, nil
}

func writeVerdict(name string, about subject, v verdict) error {
	e := verdictFile{Subject: about, verdict: v}
	var err error
	if e.Check, err = e.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(e, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(name), 0o755)
	}
	if err == nil {
		err = atomicfile.Write(name, func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err })
	}
	if err != nil {
		return fmt.Errorf("backend: canary: writing %s: %w: %w", name, fault.Cache, err)
	}
	return nil
}
