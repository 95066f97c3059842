//go:build unix && !linux

package isolate

import "os"

func createShared(dir string) (*os.File, error) { return unlinkedFile(dir) }

func growShared(f *os.File, from, to int64) error { return writeZeros(f, from, to) }
