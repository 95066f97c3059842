//go:build !unix && !windows

package main

import "time"

// processStart is when this process began, as far as it can be told here.
var processStart = time.Now()

// peakMemory is the most memory that this process has had, in bytes; 0 if unknown.
func peakMemory() int64 { return 0 }
