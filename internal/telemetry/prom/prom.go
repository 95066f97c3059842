// Package prom shows telemetry to Prometheus.
package prom

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"coreml/internal/telemetry"
)

// bounds of the histograms' buckets, in seconds.
var bounds = []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// Collector gives metrics to a prometheus.Registry: at each scrape those of one snapshot.
func Collector(snapshot func() telemetry.Snapshot) prometheus.Collector { return collector(snapshot) }

type collector func() telemetry.Snapshot

// WriteText writes a snapshot as a scrape would read it.
func WriteText(w io.Writer, snapshot func() telemetry.Snapshot) error {
	r := prometheus.NewRegistry()
	if err := r.Register(Collector(snapshot)); err != nil {
		return err
	}
	families, err := r.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

var key = []string{"model", "backend", "unit"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("coreml_"+name, help, slices.Concat(key, labels), nil)
}

var (
	loads      = desc("loads_total", "Models loaded, by result.", "result")
	inferences = desc("inferences_total", "Inferences that ended; refused ones are the caller's doing.", "result")
	failures   = desc("failures_total", "Failures by kind, while loading or running.", "phase", "kind")
	inFlight   = desc("inferences_in_flight", "Inferences that have not ended.")
	late       = desc("late_results_total", "Inferences that ended after they were given up.")
	latency    = desc("inference_duration_seconds", "Time of a successful inference, without queue.")
	queued     = desc("queue_duration_seconds", "Time that inferences waited.")
	answers    = desc("answers_total", "Answers given, by who was asked first and why somebody else answered.", "requested", "planned", "fallback", "reason")
	answerTime = desc("answer_duration_seconds", "Time of a successful request, whole.")
	memory     = desc("memory_bytes", "Memory that the backend takes.")
	peak       = desc("memory_peak_bytes", "The most memory that the backend took.")
	compared   = desc("shadow_comparisons_total", "Answers that were recomputed, by result.", "result")
	breaker    = desc("breaker_state", "1 for the state that the breaker is in.", "state")
	trips      = desc("breaker_trips_total", "Times that the breaker opened from closed.")
	lost       = prometheus.NewDesc("coreml_log_lost_total", "Events that are missing from the event log.", nil, nil)
)

var all = []*prometheus.Desc{loads, inferences, failures, inFlight, late, latency, queued, answers, answerTime,
	memory, peak, compared, breaker, trips, lost}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c()
	emit := &emitter{out: out}
	for i := range s.Series {
		emit.series(&s.Series[i])
	}
	emit.key = nil
	emit.count(lost, s.LogLost)
}

// emitter sends metrics of one series.
type emitter struct {
	out chan<- prometheus.Metric
	key []string
}

func (e *emitter) send(d *prometheus.Desc, m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	e.out <- m
}

// labels are the key's and more, as valid UTF-8.
func (e *emitter) labels(more []string) []string {
	l := slices.Concat(e.key, more)
	for i := range l {
		l[i] = strings.ToValidUTF8(l[i], "�")
	}
	return l
}

func (e *emitter) count(d *prometheus.Desc, n int64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.CounterValue, float64(n), e.labels(labels)...)
	e.send(d, m, err)
}

func (e *emitter) gauge(d *prometheus.Desc, n int64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, float64(n), e.labels(labels)...)
	e.send(d, m, err)
}

// durations sends a histogram. Its buckets are as exact as those of telemetry.
func (e *emitter) durations(d *prometheus.Desc, h *telemetry.Durations) {
	within := make(map[float64]uint64, len(bounds))
	for _, b := range bounds {
		within[b] = h.Within(time.Duration(math.Round(b * 1e9)))
	}
	m, err := prometheus.NewConstHistogram(d, h.Count, h.Sum().Seconds(), within, e.labels(nil)...)
	e.send(d, m, err)
}

func (e *emitter) kinds(phase string, by map[string]int64) {
	for _, kind := range slices.Sorted(maps.Keys(by)) {
		e.count(failures, by[kind], phase, kind)
	}
}

func (e *emitter) series(s *telemetry.Series) {
	e.key = []string{s.Model, s.Backend, s.Unit}
	e.count(loads, s.Load.Succeeded, "ok")
	e.count(loads, s.Load.Failed, "failed")
	e.kinds("load", s.Load.Failures)
	i := &s.Inference
	e.count(inferences, i.Succeeded, "ok")
	e.count(inferences, i.Failed, "failed")
	e.count(inferences, i.Refused, "refused")
	e.kinds("inference", i.Failures)
	e.kinds("answer", s.Answers.Failures)
	e.gauge(inFlight, i.InFlight)
	e.count(late, i.Late)
	e.durations(latency, &i.Latency)
	e.durations(queued, &i.Queue)
	e.durations(answerTime, &s.Answers.Latency)
	for _, a := range s.Answers.Dispatch {
		e.count(answers, a.Count, a.Requested, a.Planned, fmt.Sprint(a.Fallback), a.Reason)
	}
	e.gauge(memory, s.Memory.Now)
	e.gauge(peak, s.Memory.Peak)
	e.count(compared, s.Shadow.Compared-s.Shadow.Drifted, "equal")
	e.count(compared, s.Shadow.Drifted, "drifted")
	e.count(compared, s.Shadow.Dropped, "dropped")
	e.breaker(s.Breaker)
}

func (e *emitter) breaker(b *telemetry.BreakerStatus) {
	if b == nil {
		return
	}
	for _, state := range []string{"closed", "open", "half-open"} {
		n := int64(0)
		if b.State == state {
			n = 1
		}
		e.gauge(breaker, n, state)
	}
	e.count(trips, b.Trips)
}
