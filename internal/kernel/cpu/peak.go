package cpu

import (
	"time"
	"unsafe"
)

// Peak measures the multiply-add rate of one core at a level, in GFLOP/s (two per FMA and
// lane). It takes a few milliseconds. Zero: this build has no loop for the level.
func Peak(l Level) float64 {
	const rounds, chains, calls = 5000, 12, 50
	return best(calls*rounds*chains*2*float64(l.Lanes()), func() bool {
		for range calls { // of 15 µs each: the collector cannot stop one; wide units take as long to wake up
			if !fmaLoop(l, rounds) {
				return false
			}
		}
		return true
	})
}

// ReadBandwidth measures how fast one core reads buf again and again, in GB/s. buf is best
// much larger than the last cache for memory, or as large as the cache to be measured.
// Zero: no loop for the level, or buf is shorter than 512 bytes.
func ReadBandwidth(l Level, buf []byte) float64 {
	const call = 64 << 10 // the collector cannot stop a call
	n := len(buf) &^ 511
	if n == 0 {
		return 0
	}
	repeat := max(1, (4<<20)/n)
	return best(float64(n*repeat), func() bool {
		for range repeat {
			for at := 0; at < n; at += call {
				if !readLoop(l, unsafe.Pointer(&buf[at]), min(call, n-at)) {
					return false
				}
			}
		}
		return true
	})
}

// best is the highest rate of work per nanosecond over a few tries.
func best(work float64, try func() bool) float64 {
	shortest := time.Duration(0)
	for range 8 {
		start := time.Now()
		if !try() {
			return 0
		}
		if d := time.Since(start); shortest == 0 || d < shortest {
			shortest = d
		}
	}
	return work / float64(max(shortest, 1).Nanoseconds())
}
