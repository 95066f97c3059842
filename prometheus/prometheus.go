// Package promcoreml shows what models do to Prometheus.
//
//	m, err := coreml.Open("classifier.mlpackage")
//	…
//	prometheus.MustRegister(promcoreml.NewCollector(m))
//	http.Handle("/metrics", promhttp.Handler())
//
// Every metric begins with coreml_ and has the labels model, backend and unit. There
// are counters of loads, inferences, failures by kind, answers by who was asked first
// and why somebody else answered, compared answers and trips of the breaker; histograms
// of latency, queue time and whole answers; gauges of memory, of what is in flight and
// of the breaker's state. They say what [coreml.Telemetry] says, at the moment of the scrape.
package promcoreml

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"coreml"
	"coreml/telemetry"
)

// bounds of the histograms' buckets, in seconds.
var bounds = []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// NewCollector gives a registry the metrics of models. All models of a registry
// belong in one collector. Of several with one name the second has the label "name#2",
// and so on, in the order given. A model that is closed keeps its counts.
func NewCollector(models ...*coreml.Model) prometheus.Collector {
	var c collector
	for _, m := range models {
		c = append(c, m.Telemetry)
	}
	return c
}

// collector takes a snapshot of each model at each scrape.
type collector []func() telemetry.Snapshot

var key = []string{"model", "backend", "unit"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("coreml_"+name, help, slices.Concat(key, labels), nil)
}

var (
	compiles   = desc("compiles_total", "Models compiled, by result.", "result")
	loads      = desc("loads_total", "Models loaded, by result.", "result")
	inferences = desc("inferences_total", "Inferences that ended; refused ones are the caller's doing.", "result")
	failures   = desc("failures_total", "Failures by kind, while compiling, loading or running.", "phase", "kind")
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
	lost       = prometheus.NewDesc("coreml_log_lost_total", "Events that are missing from the event logs.", nil, nil)
)

var all = []*prometheus.Desc{compiles, loads, inferences, failures, inFlight, late, latency, queued, answers, answerTime,
	memory, peak, compared, breaker, trips, lost}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	models := map[string]int{}
	var missing int64
	for _, snapshot := range c {
		s := snapshot()
		missing += s.LogLost
		names := map[string]string{}
		for i := range s.Series {
			name := s.Series[i].Model
			if names[name] == "" {
				names[name] = name
				if models[name]++; models[name] > 1 {
					names[name] = fmt.Sprintf("%s#%d", name, models[name])
				}
			}
			e := &emitter{out, []string{names[name], s.Series[i].Backend, s.Series[i].Unit}}
			e.series(&s.Series[i])
		}
	}
	(&emitter{out: out}).count(lost, missing)
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
	for _, w := range []struct {
		phase string
		d     *prometheus.Desc
		*telemetry.Work
	}{{"compile", compiles, &s.Compile}, {"load", loads, &s.Load}} {
		e.count(w.d, w.Succeeded, "ok")
		e.count(w.d, w.Failed, "failed")
		e.kinds(w.phase, w.Failures)
	}
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
