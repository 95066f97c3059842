//go:build !linux

package isolate

import (
	"errors"
	"os"
)

// writeZeros allocates the pages now: a page that cannot be had later would be a fault.
func writeZeros(f *os.File, from, to int64) error {
	zeros := make([]byte, 1<<20)
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// discardShared cannot be done everywhere: the slot serves again instead.
func discardShared(*os.File, int64, int64) error { return errors.ErrUnsupported }
