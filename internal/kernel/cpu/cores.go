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
