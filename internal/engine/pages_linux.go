package engine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size from which large pages pay: weights and activations are
// read from end to end, and fewer pages mean fewer misses of the address cache.
const hugePage = 2 << 20

// useHugePages asks for large pages behind memory that was just allocated. Where
// the system has none nothing changes.
func useHugePages(b []byte) {
	if len(b) < hugePage {
		return
	}
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (hugePage - 1)
	if end := (len(b) - skip) &^ (hugePage - 1); skip < len(b) && end > 0 {
		_ = unix.Madvise(b[skip:skip+end], unix.MADV_HUGEPAGE)
	}
}
