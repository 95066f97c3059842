package isolate

import (
	"bytes"
	"os"
	"strconv"
)

// openMeter opens what resident reads. It stays with the process: its number may be another's later.
func openMeter(pid int) *os.File {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return nil
	}
	return f
}

// resident is the memory of a process that is in use and its own: without mapped
// files, whose pages the kernel may take back, and memory that it shares. 0: unknown.
func resident(meter *os.File) int64 {
	var b [128]byte
	n, _ := meter.ReadAt(b[:], 0)
	f := bytes.Fields(b[:n]) // size, resident, shared, … in pages
	if len(f) < 3 {
		return 0
	}
	all, err1 := strconv.ParseInt(string(f[1]), 10, 64)
	shared, err2 := strconv.ParseInt(string(f[2]), 10, 64)
	if err1 != nil || err2 != nil || shared > all {
		return 0
	}
	return (all - shared) * int64(os.Getpagesize())
}
