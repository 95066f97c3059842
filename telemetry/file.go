package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// FileOptions bound what a log takes on disk: Files times MaxBytes.
type FileOptions struct {
	MaxBytes int64 // of one file (8 MiB)
	Files    int   // the one being written and the older name.1, name.2 … (3)
}

// File is an io.Writer of whole lines that starts a new file when one is full.
// It gathers lines until Flush. One process writes a file, one goroutine at a time.
type File struct {
	name string
	o    FileOptions
	f    *os.File // nil after a failure, until the next Flush
	size int64
	buf  []byte
	lost *atomic.Int64 // lines that could not be written
}

// OpenFile appends to the file name. What a crash left of a last line is removed.
func OpenFile(name string, o FileOptions) (*File, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 8 << 20
	}
	if o.Files <= 0 {
		o.Files = 3
	}
	f := &File{name: name, o: o, lost: new(atomic.Int64)}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open() error {
	file, err := os.OpenFile(f.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("telemetry: log: %w", err)
	}
	size, err := wholeLines(file)
	if err == nil {
		err = file.Truncate(size)
	}
	if err == nil {
		_, err = file.Seek(size, io.SeekStart)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("telemetry: log: %w", err), file.Close())
	}
	f.f, f.size = file, size
	return nil
}

// wholeLines is the size of a file up to the end of its last line, which is
// looked for in the last 64 KiB.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return 0, err
	}
	tail := make([]byte, min(end, 64<<10))
	if _, err := f.ReadAt(tail, end-int64(len(tail))); err != nil {
		return 0, err
	}
	return end - int64(len(tail)-1-bytes.LastIndexByte(tail, '\n')), nil
}

// flushAt is how many bytes Write gathers at most.
const flushAt = 64 << 10

// Write takes one whole line. One longer than a file may be is refused.
func (f *File) Write(line []byte) (int, error) {
	if int64(len(line)) > f.o.MaxBytes {
		return 0, fmt.Errorf("telemetry: log: a line of %d bytes, want at most %d", len(line), f.o.MaxBytes)
	}
	if f.size+int64(len(f.buf)+len(line)) > f.o.MaxBytes {
		f.Flush()
		if f.size+int64(len(line)) > f.o.MaxBytes {
			if err := f.rotate(); err != nil {
				return 0, err
			}
		}
	}
	f.buf = append(f.buf, line...)
	if len(f.buf) >= flushAt {
		f.Flush()
	}
	return len(line), nil
}

// Flush writes what was gathered. If that fails the lines are lost, and counted;
// half a line is taken back.
func (f *File) Flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	err := f.write()
	if err != nil {
		f.lost.Add(int64(bytes.Count(f.buf, []byte{'\n'})))
		if f.f != nil && f.f.Truncate(f.size) != nil {
			f.drop()
		}
	}
	f.buf = f.buf[:0]
	return err
}

func (f *File) write() error {
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if _, err := f.f.WriteAt(f.buf, f.size); err != nil {
		return fmt.Errorf("telemetry: log: %w", err)
	}
	f.size += int64(len(f.buf))
	return nil
}

// drop gives the file up; the next Flush opens it again.
func (f *File) drop() error {
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}

// rotate renames name to name.1, that to name.2 and so on; the oldest goes.
func (f *File) rotate() error {
	f.drop()
	older := func(i int) string { return fmt.Sprintf("%s.%d", f.name, i) }
	for i := f.o.Files - 2; i >= 1; i-- {
		if err := os.Rename(older(i), older(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("telemetry: log: %w", err)
		}
	}
	var err error
	if f.o.Files == 1 {
		err = os.Remove(f.name)
	} else {
		err = os.Rename(f.name, older(1))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("telemetry: log: %w", err)
	}
	return f.open()
}

// Close flushes and closes the file.
func (f *File) Close() error { return errors.Join(f.Flush(), f.drop()) }
