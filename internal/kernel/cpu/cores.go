package cpu

import (
	"runtime"
	"sync"
)

// Cores is the number of physical cores this process may use, at least 1: where two hardware threads
// share a core, dense kernels gain nothing from the second. Where the system does not tell, it
// is the number of logical processors.
var Cores = sync.OnceValue(func() int {
	n := cores()
	if n < 1 || n > runtime.NumCPU() {
		return runtime.NumCPU()
	}
	return n
})

// Threads is how many threads work for a caller who wants n of them, at least 1: for 0 as
// many as there are Cores, and never more than GOMAXPROCS.
func Threads(n int) int {
	if n <= 0 {
		n = Cores()
	}
	return max(1, min(n, runtime.GOMAXPROCS(0)))
}
