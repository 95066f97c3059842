package main

import (
	"bytes"
	"os"
	"strconv"
)

// peakMemory is the most memory that this process has had, in bytes; 0 if unknown.
func peakMemory() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if f := bytes.Fields(rest); ok && len(f) == 2 {
			kib, _ := strconv.ParseInt(string(f[0]), 10, 64)
			return kib << 10
		}
	}
	return 0
}
