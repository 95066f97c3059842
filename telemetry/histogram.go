package telemetry

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// RelativeError bounds how far a quantile lies from the exact one, relative to it:
// half the width of a bucket.
const RelativeError = 1.0 / (2 * parts)

const (
	parts     = 1 << partBits // buckets per power of two
	partBits  = 6
	rangeBits = 42 // longer than 2^42 ns, 73 minutes, counts as that; the maximum is exact
	buckets   = (rangeBits - partBits + 1) * parts
)

// bucket is linear below parts nanoseconds, then logarithmic with linear parts.
func bucket(ns uint64) int {
	if ns < parts {
		return int(ns)
	}
	octave := bits.Len64(ns) - 1
	if octave >= rangeBits {
		return buckets - 1
	}
	return (octave-partBits+1)*parts + int(ns>>(octave-partBits)) - parts
}

// floor is the least value of a bucket; floor(buckets) is the end of the range.
func floor(b int) uint64 {
	if b < parts {
		return uint64(b)
	}
	octave := b/parts - 1 + partBits
	return uint64(b%parts+parts) << (octave - partBits)
}

// histogram counts durations. Its shards keep processors off each other's cache lines.
type histogram struct{ shards []histogramShard }

type histogramShard struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64
	max    atomic.Int64
	_      [6]int64
}

func newHistogram(shards int) *histogram { return &histogram{make([]histogramShard, shards)} }

// record counts d. The number of shards is a power of two.
func (h *histogram) record(d time.Duration, shard uint32) {
	s := &h.shards[shard&uint32(len(h.shards)-1)]
	ns := max(int64(d), 0)
	s.counts[bucket(uint64(ns))].Add(1)
	s.sum.Add(ns)
	raise(&s.max, ns)
}

// raise makes a at least v.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// anyShard picks a shard; rand's generator belongs to the thread and takes no lock.
func anyShard() uint32 { return rand.Uint32() }

// Durations sums up a histogram. Quantiles are within RelativeError of those of
// the exact values, by nearest rank; count, mean and maximum are exact.
type Durations struct {
	Count uint64        `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`

	sum    time.Duration
	counts []uint64
}

// snapshot of a nil histogram is zero.
func (h *histogram) snapshot() Durations {
	if h == nil {
		return Durations{}
	}
	d := Durations{counts: make([]uint64, buckets)}
	for i := range h.shards {
		s := &h.shards[i]
		for b := range d.counts {
			n := s.counts[b].Load()
			d.counts[b] += n
			d.Count += n
		}
		d.sum += time.Duration(s.sum.Load())
		d.Max = max(d.Max, time.Duration(s.max.Load()))
	}
	if d.Count > 0 {
		d.Mean = d.sum / time.Duration(d.Count)
	}
	d.P50, d.P95, d.P99 = d.Quantile(0.50), d.Quantile(0.95), d.Quantile(0.99)
	return d
}

// Quantile gives the value below which a share q of all lies; 0 if there are
// none, or if d was read from JSON.
func (d *Durations) Quantile(q float64) time.Duration {
	if len(d.counts) == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(d.Count)))
	seen := uint64(0)
	for b, n := range d.counts {
		if seen += n; n > 0 && seen >= rank {
			if b == buckets-1 {
				return d.Max
			}
			low, end := floor(b), floor(b+1)
			return min(time.Duration(low+(end-low)/2), d.Max)
		}
	}
	return d.Max
}

// Sum is the time of all together.
func (d *Durations) Sum() time.Duration { return d.sum }

// Within counts those of at most limit, as far as buckets tell: one that holds
// limit counts whole if its middle lies within.
func (d *Durations) Within(limit time.Duration) uint64 {
	n := uint64(0)
	for b, c := range d.counts {
		if low, end := floor(b), floor(b+1); low+(end-low)/2 <= uint64(max(limit, 0)) {
			n += c
		}
	}
	return n
}
