package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"coreml/internal/engine"
	"coreml/internal/kernel/cpu"
)

// profileRow is a step, in all plans that have it, or all steps with the same operator or kernel.
type profileRow struct {
	Name   string  `json:"name,omitempty"`
	Op     string  `json:"op,omitempty"`
	Kernel string  `json:"kernel,omitempty"`
	Calls  int     `json:"calls"` // in all rounds
	MS     float64 `json:"ms"`    // in all rounds
	Share  float64 `json:"share"` // of the whole time
	GFLOPS float64 `json:"gflop_per_s,omitempty"`
	OfPeak float64 `json:"share_of_peak,omitempty"`
	flop   float64
}

// profileReport is what bench --profile says, the slowest first.
type profileReport struct {
	Threads int          `json:"threads"`
	Peak    float64      `json:"peak_gflop_per_s"`
	TotalMS float64      `json:"total_ms"`
	Steps   []profileRow `json:"steps"`
	Ops     []profileRow `json:"ops"`
	Kernels []profileRow `json:"kernels"`
}

// container names the operators whose time is that of the steps inside them.
var container = map[string]bool{"cond": true, "while_loop": true}

func reportProfile(p *engine.Profile, threads int, peak float64) *profileReport {
	r := &profileReport{Threads: threads, Peak: peak}
	steps, ops, kernels := map[string]*profileRow{}, map[string]*profileRow{}, map[string]*profileRow{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if container[s.Op] {
			continue
		}
		row := profileRow{Calls: s.Calls, MS: milliseconds(s.Time), flop: float64(s.Calls) * s.Flops}
		r.TotalMS += row.MS
		addRow(steps, s.Name+"\x00"+s.Op+"\x00"+s.Kernel, profileRow{Name: s.Name, Op: s.Op, Kernel: s.Kernel}, &row)
		addRow(ops, s.Op, profileRow{Op: s.Op}, &row)
		addRow(kernels, s.Kernel, profileRow{Kernel: s.Kernel}, &row)
	}
	r.Steps, r.Ops, r.Kernels = rows(steps), rows(ops), rows(kernels)
	for _, l := range [][]profileRow{r.Steps, r.Ops, r.Kernels} {
		for i := range l {
			l[i].finish(r)
		}
		slices.SortStableFunc(l, func(a, b profileRow) int {
			switch {
			case a.MS > b.MS:
				return -1
			case a.MS < b.MS:
				return 1
			}
			return 0
		})
	}
	return r
}

func addRow(m map[string]*profileRow, key string, fresh profileRow, s *profileRow) {
	if m[key] == nil {
		m[key] = &fresh
	}
	m[key].Calls += s.Calls
	m[key].MS += s.MS
	m[key].flop += s.flop
}

func rows(m map[string]*profileRow) []profileRow {
	var l []profileRow
	for _, r := range m {
		l = append(l, *r)
	}
	slices.SortFunc(l, func(a, b profileRow) int {
		return slices.Compare([]string{a.Name, a.Op, a.Kernel}, []string{b.Name, b.Op, b.Kernel})
	})
	return l
}

func (r *profileRow) finish(all *profileReport) {
	if all.TotalMS > 0 {
		r.Share = r.MS / all.TotalMS
	}
	if r.MS > 0 && r.flop > 0 {
		r.GFLOPS = r.flop / r.MS / 1e6
		if all.Peak > 0 {
			r.OfPeak = r.GFLOPS / all.Peak
		}
	}
}

func printProfile(w io.Writer, o *benchFlags, p *engine.Profile) error {
	threads := cpu.Threads(o.Threads)
	r := reportProfile(p, threads, peakThreads(cpu.Best(), threads))
	if o.json {
		return printJSON(w, r)
	}
	fmt.Fprintf(w, "%d threads, peak %.1f GFLOP/s (%v)\n\n", threads, r.Peak, cpu.Best())
	steps := r.Steps
	if o.top > 0 && len(steps) > o.top {
		steps = steps[:o.top]
	}
	printRows(w, "step", steps)
	if n := len(r.Steps) - len(steps); n > 0 {
		fmt.Fprintf(w, "and %d more (--top 0 prints all)\n", n)
	}
	fmt.Fprintln(w)
	printRows(w, "by operator", r.Ops)
	fmt.Fprintln(w)
	printRows(w, "by kernel", r.Kernels)
	return nil
}

func printRows(w io.Writer, title string, l []profileRow) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "µs a call\tcalls\ttime\tGFLOP/s\tpeak\t  "+title)
	for i := range l {
		r := &l[i]
		rate, of := "", ""
		if r.GFLOPS > 0 {
			rate, of = fmt.Sprintf("%.1f", r.GFLOPS), fmt.Sprintf("%.0f%%", 100*r.OfPeak)
		}
		each := time.Duration(r.MS / float64(r.Calls) * float64(time.Millisecond))
		fmt.Fprintf(t, "%.1f\t%d\t%.1f%%\t%s\t%s\t  %s\n", float64(each)/1e3, r.Calls, 100*r.Share, rate, of, r.label())
	}
	t.Flush()
}

func (r *profileRow) label() string {
	switch {
	case r.Name != "":
		return fmt.Sprintf("%s %s [%s]", r.Op, r.Name, r.Kernel)
	case r.Op != "":
		return r.Op
	}
	return r.Kernel
}
