package cpu

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Cores is the number of physical cores that this process may run on, as far as
// the system tells; elsewhere the number of logical ones.
var Cores = sync.OnceValue(func() int {
	n := runtime.NumCPU()
	files, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
	if err != nil || len(files) == 0 {
		return n
	}
	cores := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return n
		}
		cores[strings.TrimSpace(string(b))] = true
	}
	return max(1, min(n, len(cores)))
})
