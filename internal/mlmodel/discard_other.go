//go:build !linux && !darwin

package mlmodel

// discard would drop pages of a mapped file from memory.
func discard([]byte) {}
