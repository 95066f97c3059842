//go:build linux || darwin

package mlmodel

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// discard drops the whole pages inside a part of a mapped file from memory.
func discard(mapped []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(mapped)))
	skip := -start % page
	if uintptr(len(mapped)) < skip+page {
		return
	}
	whole := (uintptr(len(mapped)) - skip) / page * page
	// Advice: nothing depends on its being followed.
	_ = unix.Madvise(mapped[skip:skip+whole], unix.MADV_DONTNEED)
}
