package chaos_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"coreml/breaker"
	"coreml/internal/backend/chaos"
)

// opened is when the breaker first opened after the fault was set; closed when it
// last closed after that was over.
func (s *scene) opened() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if c.To == breaker.Open && c.At.After(s.broke) {
			return c.At
		}
	}
	return time.Time{}
}

func (s *scene) closed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.changes) {
		if c.To == breaker.Closed && c.At.After(s.mended) {
			return c.At
		}
	}
	return time.Time{}
}

func (s *scene) line() string {
	after := func(t, since time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Sub(since).Round(time.Millisecond).String()
	}
	slices.Sort(s.took)
	p99 := s.took[min(len(s.took)-1, int(math.Ceil(0.99*float64(len(s.took)))))]
	wrong := fmt.Sprint(s.wrong.Load())
	if s.r.sampled() {
		wrong += fmt.Sprintf(" of at most %d", s.r.mostWrong())
	}
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%s\t%v\t%s\t%s\t", s.r.name, s.sent.Load(), s.primary.Load(), s.fallback.Load(), s.refused.Load(), wrong,
		p99.Round(100*time.Microsecond), after(s.opened(), s.broke), after(s.closed(), s.mended))
}

func (s *scene) judge() {
	s.judgeRequests()
	s.judgeBreaker()
	s.judgeWrong()
	s.judgeUsage()
}

// judgeRequests: every request has ended once, in time, and the chain has told so.
func (s *scene) judgeRequests() {
	if sum := s.primary.Load() + s.fallback.Load() + s.refused.Load(); sum != s.sent.Load() || int(sum) != len(s.took) {
		s.Errorf("%d requests, %d answers: some are lost or answered twice", s.sent.Load(), sum)
	}
	if n := s.late.Load(); n > 0 {
		s.Errorf("%d requests ended more than %v after their deadline", n, patience())
	}
	if s.primary.Load() == 0 {
		s.Error("the primary never answered")
	}
	told := int64(0)
	for _, k := range s.metrics.Snapshot().Series {
		told += k.Answers.Succeeded
		for _, n := range k.Answers.Failures {
			told += n
		}
	}
	if told != s.sent.Load() {
		s.Errorf("%d requests, and %d are told to have ended", s.sent.Load(), told)
	}
	if !s.explained() {
		s.Errorf("the fallback answered for %v, want %s among them", s.reasons(), s.r.reason)
	}
}

// reasons are why the fallback answered, and how often.
func (s *scene) reasons() map[string]int64 {
	all := map[string]int64{}
	for _, k := range s.metrics.Snapshot().Series {
		for _, d := range k.Answers.Dispatch {
			all[d.Reason] += d.Count
		}
	}
	return all
}

// explained reports whether the row's reason is among them.
func (s *scene) explained() bool { return s.r.reason == "" || s.reasons()[s.r.reason] > 0 }

func (s *scene) judgeBreaker() {
	opened := s.opened()
	switch {
	case !s.r.trips && strict && s.breaker.Status().Trips > 0:
		s.Errorf("the breaker opened: %+v", s.changes)
		return
	case !s.r.trips:
		return
	case opened.IsZero():
		s.Errorf("the breaker did not open: %+v", s.breaker.Status())
		return
	case s.breaker.Status().State != breaker.Closed:
		s.Errorf("the breaker did not close again: %+v", s.breaker.Status())
	}
	// Within the first window: as many outcomes as that holds or, of wrong numbers,
	// three times as many as are compared one in; and those in flight. Memory has to grow first.
	window := 100
	if s.r.sampled() {
		window = int(3 / s.r.shadow)
	}
	if g := s.r.fault.Grow; g > 0 {
		window += int(s.r.most / g)
	}
	if n := s.sentOpen - s.sentBefore; strict && n > int64(window+2*callers) {
		s.Errorf("it opened %d requests after the fault was set, want at most %d and those in flight", n, window)
	}
	for _, c := range s.changes {
		if f := s.r.fault; c.To == breaker.Closed && c.At.After(opened) && c.At.Before(s.mended) && f.Share == 0 && f.Kind != chaos.Slow {
			s.Errorf("it closed by %v while the fault lasted", c.Reason)
		}
		if c.To != breaker.Open || !c.At.Equal(opened) {
			continue
		}
		// A machine that is busy with other tests may not answer in time, or have opened it before.
		late := !strict && (c.Reason.Rule == "probe" || c.Reason.Rule == "success")
		if s.r.rule != "" && c.Reason.Rule != s.r.rule && !late {
			s.Errorf("it opened by %v, want %s", c.Reason, s.r.rule)
		}
	}
	if s.closed().IsZero() {
		return // it was closed when the fault ended
	}
	// At the end of the fault the back-off is at most the longest; then come three
	// probes, one after the other, each after a request.
	most := time.Duration(float64(options.MaxBackoff)*1.2) + patience()
	if s.r.fault.Kind == chaos.Hang && s.r.isolated {
		most += deadline / 2 // a probe that hangs in a child goes on for its share of the deadline; others end with the fault
	}
	if took := s.closed().Sub(s.mended); took > most {
		s.Errorf("it closed %v after the fault had ended, want at most %v", took, most)
	}
}

// judgeWrong: nobody gets a wrong answer. Where answers are given before they are
// compared, so many do, and none once the breaker is open.
func (s *scene) judgeWrong() {
	if n := s.wrong.Load(); n > s.r.mostWrong() && (strict || !s.r.sampled()) {
		s.Errorf("%d answers are wrong, want at most %d", n, s.r.mostWrong())
	}
	if s.wrongAt.After(s.opened().Add(patience())) {
		s.Errorf("an answer was wrong %v after the breaker had opened", s.wrongAt.Sub(s.opened()))
	}
}

// usage is what a process holds.
type usage struct {
	goroutines, descriptors, children int
	heap                              uint64
}

func usageNow() usage {
	u := usage{goroutines: runtime.NumGoroutine(), children: children()}
	if all, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.descriptors = len(all)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc
	return u
}

// children counts processes of this one, where the system tells.
func children() (n int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, _ := os.ReadFile(name)
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}

func (s *scene) judgeUsage() {
	s.took = nil
	grew := func(now usage) bool {
		return now.goroutines > s.before.goroutines || now.descriptors > s.before.descriptors || now.children > s.before.children || now.heap > s.before.heap+8<<20
	}
	var now usage
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if now = usageNow(); !grew(now) {
			return
		}
	}
	s.Errorf("it grew from %+v to %+v", s.before, now)
}
