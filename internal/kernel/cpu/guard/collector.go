package guard

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// StopTime runs work in a loop beside garbage collections and returns the median time that one
// of them takes. Work is best tens of milliseconds. A loop that cannot be stopped for long shows as hundreds of milliseconds.
func StopTime(work func()) time.Duration {
	var stop atomic.Bool
	var running sync.WaitGroup
	running.Add(1)
	started := make(chan struct{})
	go func() {
		defer running.Done()
		work()
		close(started)
		for !stop.Load() {
			work()
		}
	}()
	<-started
	const rounds = 9
	var times []time.Duration
	for range rounds {
		start := time.Now()
		runtime.GC()
		times = insert(times, time.Since(start))
	}
	stop.Store(true)
	running.Wait()
	return times[rounds/2]
}

// insert keeps times sorted.
func insert(times []time.Duration, d time.Duration) []time.Duration {
	times = append(times, d)
	for i := len(times) - 1; i > 0 && times[i] < times[i-1]; i-- {
		times[i], times[i-1] = times[i-1], times[i]
	}
	return times
}
