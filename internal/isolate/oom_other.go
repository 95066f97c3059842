//go:build !linux

package isolate

// oomKills is unknown here.
func oomKills() int64 { return -1 }
