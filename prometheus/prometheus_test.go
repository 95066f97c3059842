package promcoreml

import (
	"bytes"
	"fmt"
	"image"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"coreml"
	"coreml/internal/fault"
	"coreml/telemetry"
)

// scrape gathers as text and reads it with Prometheus' own parser.
func scrape(t *testing.T, c prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	gathered, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range gathered {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(&b)
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	return families
}

// value of the metric with all of the labels, given as "name=value".
func value(t *testing.T, f *dto.MetricFamily, labels ...string) *dto.Metric {
	t.Helper()
	for _, m := range f.GetMetric() {
		have := map[string]bool{}
		for _, l := range m.Label {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		n := 0
		for _, l := range labels {
			if have[l] {
				n++
			}
		}
		if n == len(labels) {
			return m
		}
	}
	t.Fatalf("%s: none has %v", f.GetName(), labels)
	return nil
}

func TestScrapeParses(t *testing.T) {
	m := telemetry.NewMetrics(func() int64 { return 5 })
	k := telemetry.Key{Model: "a\"b\\c\n\xff", Backend: "coreml", Unit: "ane"}
	tell := func(e telemetry.Event) { e.Key = k; m.Observe(e) }
	for i := range 100 {
		tell(telemetry.Event{Type: telemetry.Started})
		tell(telemetry.Event{Type: telemetry.Ran, Duration: time.Duration(100*i+30) * time.Microsecond, Memory: 1 << 20})
		tell(telemetry.Event{Type: telemetry.Answered, Duration: time.Second, Requested: "x", Fallback: i < 30, Reason: "breaker"})
	}
	tell(telemetry.Event{Type: telemetry.Loaded, Err: fault.Load})
	tell(telemetry.Event{Type: telemetry.Ran, Err: fault.Killed})
	tell(telemetry.Event{Type: telemetry.Compared, Err: fault.Drift})
	tell(telemetry.Event{Type: telemetry.Moved, From: "closed", To: "open", Reason: "drift"})
	f := scrape(t, collector{m.Snapshot})
	if len(f) != len(all) {
		t.Errorf("%d families, want %d", len(f), len(all))
	}
	for _, c := range []struct {
		name   string
		want   float64
		labels []string
	}{
		{"coreml_inferences_total", 100, []string{"model=a\"b\\c\n�", "backend=coreml", "unit=ane", "result=ok"}},
		{"coreml_inferences_total", 1, []string{"result=failed"}},
		{"coreml_failures_total", 1, []string{"phase=inference", "kind=ProcessKilled"}},
		{"coreml_failures_total", 1, []string{"phase=load", "kind=LoadError"}},
		{"coreml_loads_total", 1, []string{"result=failed"}},
		{"coreml_answers_total", 30, []string{"requested=x", "fallback=true", "reason=breaker"}},
		{"coreml_answers_total", 70, []string{"fallback=false"}},
		{"coreml_shadow_comparisons_total", 1, []string{"result=drifted"}},
		{"coreml_breaker_trips_total", 1, nil},
		{"coreml_log_lost_total", 5, nil},
		{"coreml_breaker_state", 1, []string{"state=open"}},
		{"coreml_breaker_state", 0, []string{"state=closed"}},
		{"coreml_memory_peak_bytes", 1 << 20, nil},
	} {
		m := value(t, f[c.name], c.labels...)
		if got := m.GetCounter().GetValue() + m.GetGauge().GetValue(); got != c.want {
			t.Errorf("%s%v = %g, want %g", c.name, c.labels, got, c.want)
		}
	}
	h := value(t, f["coreml_inference_duration_seconds"]).GetHistogram()
	if h.GetSampleCount() != 100 || fmt.Sprintf("%.4f", h.GetSampleSum()) != "0.4980" {
		t.Errorf("%d samples of %g s, want 100 of 0.498", h.GetSampleCount(), h.GetSampleSum())
	}
	for _, b := range h.Bucket {
		want := int(min(100, math.Floor((math.Round(b.GetUpperBound()*1e6)+70)/100)))
		if int(b.GetCumulativeCount()) != want {
			t.Errorf("%d within %g s, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
		}
	}
}

func TestEmptyScrape(t *testing.T) {
	if f := scrape(t, collector{telemetry.NewMetrics(nil).Snapshot}); len(f) != 1 {
		t.Errorf("%d families, want that of lost events only", len(f))
	}
}

// TestModelsOfOneName: what happens to each of them is told apart, and one scrape has all.
func TestModelsOfOneName(t *testing.T) {
	var c collector
	for i := range 3 {
		m := telemetry.NewMetrics(func() int64 { return 1 })
		for _, b := range []string{"cpu", "reference"} {
			for range i + 1 {
				m.Observe(telemetry.Event{Type: telemetry.Ran, Key: telemetry.Key{Model: "net", Backend: b, Unit: "cpu"}})
			}
		}
		c = append(c, m.Snapshot)
	}
	f := scrape(t, c)
	for label, want := range map[string]float64{"model=net": 1, "model=net#2": 2, "model=net#3": 3} {
		for _, b := range []string{"backend=cpu", "backend=reference"} {
			if got := value(t, f["coreml_inferences_total"], label, b, "result=ok").GetCounter().GetValue(); got != want {
				t.Errorf("%s, %s: %g inferences, want %g", label, b, got, want)
			}
		}
	}
	if got := value(t, f["coreml_log_lost_total"]).GetCounter().GetValue(); got != 3 {
		t.Errorf("%g events lost, want 3", got)
	}
}

// TestModel scrapes a model, also one that is closed.
func TestModel(t *testing.T) {
	m, err := coreml.Open("../testdata/cases/tiny_classifier/model.mlpackage")
	if err != nil {
		t.Fatal(err)
	}
	in := coreml.Features{"image": image.NewNRGBA(image.Rect(0, 0, 8, 8))}
	if _, err := m.Predict(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	c := NewCollector(m)
	for _, then := range []string{"open", "closed"} {
		f := scrape(t, c)
		if got := value(t, f["coreml_inferences_total"], "backend=cpu", "result=ok").GetCounter().GetValue(); got != 1 {
			t.Errorf("%s: %g inferences, want 1", then, got)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
