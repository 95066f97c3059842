//go:build race

package testkit

// Race reports whether the race detector is on: it makes everything many times
// slower and allocates by itself.
const Race = true
