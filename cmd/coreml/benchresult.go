package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// latency are the figures of many runs, in milliseconds.
type latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Min float64 `json:"min_ms"`
	N   int     `json:"n"`
}

func latencyOf(l []time.Duration) latency {
	o := ordered(inMilliseconds(l))
	return latency{percentile(o, 0.5), percentile(o, 0.95), percentile(o, 0.99), o[0], len(o)}
}

// benchResult is what bench says. The latency at the top is that of all calls but
// the first of a sequence, or of the only one.
type benchResult struct {
	latency
	FirstCall    *latency `json:"first_call,omitempty"` // of a sequence: of call 0 in each round
	Calls        int      `json:"calls,omitempty"`      // of a sequence: in one round
	PerSecond    float64  `json:"per_second"`           // calls a second, by the median
	LoadMS       float64  `json:"load_ms"`
	FirstMS      float64  `json:"first_ms"`
	StartToFirst float64  `json:"start_to_first_ms"`
	RSS          float64  `json:"rss_mb"` // peak, in MiB
	GFLOP        float64  `json:"gflop,omitempty"`
	GFLOPS       float64  `json:"gflop_per_s,omitempty"`
	WeightBytes  int64    `json:"packed_weight_bytes"`
	Activations  int64    `json:"activation_bytes"`
}

func (s *subject) result(lat [][]time.Duration) *benchResult {
	rest := lat
	r := &benchResult{
		LoadMS: milliseconds(s.load), FirstMS: milliseconds(s.first), StartToFirst: milliseconds(s.start),
		RSS: float64(peakMemory()) / (1 << 20), GFLOP: s.flops / 1e9,
	}
	if len(lat) > 1 {
		first := latencyOf(lat[0])
		r.FirstCall, r.Calls, rest = &first, len(lat), lat[1:]
	}
	var all, every []time.Duration
	for _, l := range rest {
		all = append(all, l...)
	}
	r.latency = latencyOf(all)
	r.PerSecond = 1e3 / r.P50
	for i := range lat[0] { // of whole rounds, since that is what the operations are counted of
		sum := time.Duration(0)
		for _, l := range lat {
			sum += l[i]
		}
		every = append(every, sum)
	}
	r.GFLOPS = r.GFLOP / (latencyOf(every).P50 / 1e3)
	m := s.model.Memory()
	r.WeightBytes, r.Activations = m.Weights, m.Activations
	return r
}

func (r *benchResult) printJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

func (r *benchResult) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\tp50\tp95\tp99\tmin\truns")
	row := func(name string, l *latency) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\n", name, ms(l.P50), ms(l.P95), ms(l.P99), ms(l.Min), l.N)
	}
	if r.FirstCall != nil {
		row("call 0", r.FirstCall)
		row(fmt.Sprintf("calls 1…%d", r.Calls-1), &r.latency)
	} else {
		row("a prediction", &r.latency)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%.4g predictions a second", r.PerSecond)
	if r.GFLOPS > 0 {
		fmt.Fprintf(w, ", %.4g GFLOP/s (%.4g GFLOP counted", r.GFLOPS, r.GFLOP)
		if r.Calls > 0 {
			fmt.Fprintf(w, " in %d calls", r.Calls)
		}
		fmt.Fprint(w, ")")
	}
	fmt.Fprintf(w, "\nload %s, first prediction %s, process start to first answer %s\n", ms(r.LoadMS), ms(r.FirstMS), ms(r.StartToFirst))
	_, err := fmt.Fprintf(w, "peak memory %.1f MiB; beside the file, weights take %s, activations %s\n", r.RSS, formatBytes(r.WeightBytes), formatBytes(r.Activations))
	return err
}

// ms prints milliseconds with four digits.
func ms(f float64) string { return fmt.Sprintf("%.4g ms", f) }
