//go:build unix && !linux

package main

import (
	"runtime"
	"syscall"
)

// peakMemory is the most memory that this process has had, in bytes; 0 if unknown.
func peakMemory() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return int64(u.Maxrss)
	}
	return int64(u.Maxrss) << 10
}
