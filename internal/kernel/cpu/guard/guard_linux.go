package guard

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bytes returns n guarded bytes, unmapped when the test ends. After places the last byte at
// the end of a page, so the start is aligned to 4 only if n is a multiple of 4.
func Bytes(n int, side Where, t Test) []byte {
	t.Helper()
	page := unix.Getpagesize()
	size := (n + page - 1) / page * page
	all, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatalf("guard: map %d bytes: %v", size, err)
	}
	t.Cleanup(func() { _ = unix.Munmap(all) })
	for _, g := range [][]byte{all[:page], all[page+size:]} {
		if err := unix.Mprotect(g, unix.PROT_NONE); err != nil {
			t.Fatalf("guard: protect: %v", err)
		}
	}
	if side == Before {
		return all[page : page+n : page+n]
	}
	return all[page+size-n : page+size : page+size]
}

func asFloats(b []byte, n int) []float32 {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), n)
}
