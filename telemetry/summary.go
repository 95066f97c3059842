package telemetry

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteSummary writes a snapshot for people to read.
func (s *Snapshot) WriteSummary(w io.Writer) error {
	out := &strings.Builder{}
	fmt.Fprintf(out, "%d models and units, over %v\n", len(s.Series), s.Time.Sub(s.Start).Round(time.Second))
	t := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "model\tbackend\tunit\tinferences\tsuccess\tp50\tp95\tp99\tmax\tqueue p95\tin flight\tlate\tmemory\tpeak\tbreaker\t")
	for i := range s.Series {
		s.Series[i].row(t)
	}
	t.Flush()
	for i := range s.Series {
		s.Series[i].notes(out)
	}
	if s.LogLost > 0 {
		fmt.Fprintf(out, "%d events are missing from the log\n", s.LogLost)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (s *Series) row(w io.Writer) {
	i := &s.Inference
	breaker := "-"
	if s.Breaker != nil {
		breaker = s.Breaker.State
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%v\t%v\t%v\t%v\t%v\t%d\t%d\t%s\t%s\t%s\t\n", printable(s.Model), printable(s.Backend), printable(s.Unit),
		i.Succeeded+i.Failed+i.Refused, percent(i.SuccessRate), brief(i.Latency.P50), brief(i.Latency.P95), brief(i.Latency.P99),
		brief(i.Latency.Max), brief(i.Queue.P95), i.InFlight, i.Late, size(s.Memory.Now), size(s.Memory.Peak), breaker)
}

// notes are the lines of what did not go the ordinary way.
func (s *Series) notes(w io.Writer) {
	name := printable(strings.Join([]string{s.Model, s.Backend, s.Unit}, " "))
	for _, part := range []struct {
		what string
		by   map[string]int64
	}{{"compiling", s.Compile.Failures}, {"loading", s.Load.Failures}, {"inference", s.Inference.Failures}, {"unanswered", s.Answers.Failures}} {
		for _, kind := range slices.Sorted(maps.Keys(part.by)) {
			fmt.Fprintf(w, "%s: %s: %d %s\n", name, part.what, part.by[kind], kind)
		}
	}
	for _, d := range s.Answers.Dispatch {
		if d.Fallback {
			fmt.Fprintf(w, "%s: answered %d for %s: %s\n", name, d.Count, printable(d.Requested), printable(d.Reason))
		}
	}
	if s.Shadow.Drifted > 0 {
		fmt.Fprintf(w, "%s: %d of %d compared answers drifted\n", name, s.Shadow.Drifted, s.Shadow.Compared)
	}
	if b := s.Breaker; b != nil {
		fmt.Fprintf(w, "%s: breaker %s since %s by %s, %d trips\n", name, b.State, b.Since.Format(time.TimeOnly), printable(b.Reason), b.Trips)
	}
}

// printable keeps names that come from files from moving a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, cut(s, 80))
}

func percent(r *float64) string {
	if r == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100**r)
}

// brief rounds to three digits.
func brief(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit)
}

func size(bytes int64) string {
	switch {
	case bytes == 0:
		return "-"
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(bytes)/(1<<30))
}
