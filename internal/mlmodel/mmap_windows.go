package mlmodel

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

const openFlags = os.O_RDONLY

// mapFile maps size bytes of f read only; size is positive. The mapping
// outlives f, and the file cannot be truncated while it exists.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	length := uint64(size)
	mapping, err := windows.CreateFileMapping(windows.Handle(f.Fd()), nil, windows.PAGE_READONLY,
		uint32(length>>32), uint32(length), nil)
	if err != nil {
		return nil, nil, os.NewSyscallError("CreateFileMapping", err)
	}
	defer windows.CloseHandle(mapping) // the view keeps the mapping alive
	address, err := windows.MapViewOfFile(mapping, windows.FILE_MAP_READ, 0, 0, uintptr(size))
	if err != nil {
		return nil, nil, os.NewSyscallError("MapViewOfFile", err)
	}
	// The view is not Go memory. Reading the address through a pointer to it
	// says so to vet, which distrusts conversions from uintptr.
	start := *(*unsafe.Pointer)(unsafe.Pointer(&address))
	unmap = func() error { return os.NewSyscallError("UnmapViewOfFile", windows.UnmapViewOfFile(address)) }
	return unsafe.Slice((*byte)(start), size), unmap, nil
}
