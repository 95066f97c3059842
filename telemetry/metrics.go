package telemetry

import (
	"maps"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Metrics sums events up. Observe takes no lock once a key is known, and
// allocates nothing.
type Metrics struct {
	start  time.Time
	shards int
	lost   func() int64
	series table[Key, *series]
}

// maxSeries and maxRoutes bound the memory that names can take; what comes later
// is counted together, under the name "other".
const (
	maxSeries = 1024
	maxRoutes = 64
)

// NewMetrics makes empty metrics. lost, which may be nil, counts the events that a Log lost.
func NewMetrics(lost func() int64) *Metrics {
	if lost == nil {
		lost = func() int64 { return 0 }
	}
	shards := min(1<<bits.Len(uint(runtime.GOMAXPROCS(0)-1)), 8)
	return &Metrics{start: time.Now(), shards: shards, lost: lost}
}

// table is a map that is read without a lock and copied when it grows.
type table[K comparable, V any] struct {
	mu sync.Mutex
	at atomic.Pointer[map[K]V]
}

func (t *table[K, V]) all() map[K]V {
	if m := t.at.Load(); m != nil {
		return *m
	}
	return nil
}

// get finds k or makes it. From most entries on it gives the one of other.
func (t *table[K, V]) get(k, other K, most int, make func() V) V {
	if v, ok := t.all()[k]; ok {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all()) >= most {
		k = other
	}
	if v, ok := t.all()[k]; ok {
		return v
	}
	grown := map[K]V{k: make()}
	maps.Copy(grown, t.all())
	t.at.Store(&grown)
	return grown[k]
}

// series is what is kept of one key.
type series struct {
	shards  []counters
	latency lazy
	queue   lazy
	answer  lazy
	routes  table[route, *sharded]

	memory, peak  atomic.Int64
	compile, load work
	breaker       atomic.Pointer[BreakerStatus]
	trips         atomic.Int64
}

// counters of the hot path.
type counters struct {
	started, ended, late atomic.Int64
	compared, drifted    atomic.Int64
	dropped              atomic.Int64        // answers that should have been compared
	ran                  [kinds]atomic.Int64 // by how they ended
	answered             [kinds]atomic.Int64
	_                    [64]byte
}

// work counts what happens once per model.
type work struct {
	took     lazy
	failures [kinds]atomic.Int64
}

// lazy is a histogram that takes memory when it is first used.
type lazy struct{ h atomic.Pointer[histogram] }

func (l *lazy) record(d time.Duration, shard uint32, shards int) {
	h := l.h.Load()
	if h == nil {
		l.h.CompareAndSwap(nil, newHistogram(shards))
		h = l.h.Load()
	}
	h.record(d, shard)
}

// route is how requests came to be answered by a series.
type route struct {
	requested, planned string
	fallback           bool
	reason             string
}

// sharded is one counter on several cache lines.
type sharded []struct {
	n atomic.Int64
	_ [56]byte
}

func (s sharded) sum() (n int64) {
	for i := range s {
		n += s[i].n.Load()
	}
	return n
}

func (m *Metrics) of(k Key) *series {
	return m.series.get(k, Key{"other", "", ""}, maxSeries, func() *series {
		return &series{shards: make([]counters, m.shards)}
	})
}

// Observe implements Observer.
func (m *Metrics) Observe(e Event) {
	s := m.of(e.Key)
	shard := anyShard()
	c := &s.shards[shard&uint32(m.shards-1)]
	if e.Memory > 0 {
		s.memory.Store(e.Memory)
		raise(&s.peak, e.Memory)
	}
	switch e.Type {
	case Started:
		c.started.Add(1)
	case Ran:
		c.ended.Add(1)
		c.ran[KindOf(e.Err)].Add(1)
		if e.Err == nil {
			s.latency.record(e.Duration, shard, m.shards)
		}
		if e.Queue > 0 {
			s.queue.record(e.Queue, shard, m.shards)
		}
	case Late:
		c.late.Add(1)
	case Answered:
		m.answered(s, c, shard, &e)
	case Compared:
		c.countCompared(&e)
	case Compiled:
		s.compile.add(&e)
	case Loaded:
		s.load.add(&e)
	case Moved:
		s.moved(&e)
	}
}

func (c *counters) countCompared(e *Event) {
	if e.Reason == "dropped" {
		c.dropped.Add(1)
		return
	}
	c.compared.Add(1)
	if e.Err != nil {
		c.drifted.Add(1)
	}
}

func (m *Metrics) answered(s *series, c *counters, shard uint32, e *Event) {
	c.answered[KindOf(e.Err)].Add(1)
	if e.Err == nil {
		s.answer.record(e.Duration, shard, m.shards)
	}
	r := route{e.Requested, e.Planned, e.Fallback, e.Reason}
	if r == (route{}) {
		return
	}
	n := s.routes.get(r, route{reason: "other", fallback: e.Fallback}, maxRoutes, func() *sharded {
		n := make(sharded, m.shards)
		return &n
	})
	(*n)[shard&uint32(m.shards-1)].n.Add(1)
}

func (w *work) add(e *Event) {
	if e.Err != nil {
		w.failures[KindOf(e.Err)].Add(1)
		return
	}
	w.took.record(e.Duration, 0, 1)
}

func (s *series) moved(e *Event) {
	if e.To == "open" && e.From == "closed" {
		s.trips.Add(1)
	}
	s.breaker.Store(&BreakerStatus{State: e.To, Since: e.Time, Reason: e.Reason})
}
