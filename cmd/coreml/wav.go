package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// sampleReader is a stream of samples of one channel. Like io.Reader, read
// returns how many it has set, and io.EOF when there are no more.
type sampleReader interface {
	read(dst []float32) (int, error)
}

const (
	maxChannels = 64
	minRate     = 1000
	maxRate     = 1_000_000

	// maxSample bounds samples of floating point. Full scale is 1; files that
	// keep the range of 24-bit integers are within it, and no sum overflows.
	maxSample = 1 << 24

	// openEnded is the least chunk size that writers to a pipe put down, who
	// cannot know it: such a chunk may end with the file.
	openEnded = 0x7FFF0000
)

// wavReader reads the samples of a WAV file, mixed to one channel in -1…1:
// integers of 8 to 32 bits or floats of 32 or 64. It holds a small buffer only,
// whatever sizes the file declares.
type wavReader struct {
	rate     int
	src      *bufio.Reader
	channels int
	decode   func([]byte) float64
	width    int   // bytes of one channel's sample
	left     int64 // bytes of the data chunk that are unread
	open     bool  // the data may end before left is 0
	frame    []byte
	done     int64
}

// newWAV reads the header. The error says what is wrong with the file.
func newWAV(r io.Reader) (*wavReader, error) {
	w := &wavReader{src: bufio.NewReaderSize(r, 1<<16)}
	var riff [12]byte
	if _, err := io.ReadFull(w.src, riff[:]); err != nil {
		return nil, wavError("header", err)
	}
	if string(riff[:4]) != "RIFF" || string(riff[8:]) != "WAVE" {
		return nil, fmt.Errorf("wav: header: no WAV file: starts with %q, want RIFF and WAVE", riff[:4])
	}
	for {
		var head [8]byte
		if _, err := io.ReadFull(w.src, head[:]); err != nil {
			return nil, wavError("no data chunk", err)
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		switch string(head[:4]) {
		case "data":
			if w.decode == nil {
				return nil, errors.New("wav: the data comes before its format")
			}
			w.left, w.open = size, size >= openEnded
			return w, nil
		case "fmt ":
			if err := w.readFormat(size); err != nil {
				return nil, err
			}
		default:
			if err := w.skip(size + size&1); err != nil {
				return nil, wavError(fmt.Sprintf("chunk %q", head[:4]), err)
			}
		}
	}
}

// skip passes over n bytes; a chunk of odd size is followed by one that does not count.
func (w *wavReader) skip(n int64) error {
	_, err := io.CopyN(io.Discard, w.src, n)
	return err
}

// Format tags of the fmt chunk.
const (
	formatPCM        = 1
	formatFloat      = 3
	formatExtensible = 0xFFFE
)

// readFormat reads a fmt chunk: tag, channels, rate, bytes a second, bytes a
// frame, bits; an extensible one goes on with its own size, valid bits, speakers
// and a GUID that starts with the tag.
func (w *wavReader) readFormat(size int64) error {
	var b [40]byte
	if size < 16 {
		return fmt.Errorf("wav: fmt: %d bytes, want 16 or more", size)
	}
	n := min(size, int64(len(b)))
	if _, err := io.ReadFull(w.src, b[:n]); err != nil {
		return wavError("fmt", err)
	}
	if err := w.skip(size - n + size&1); err != nil {
		return wavError("fmt", err)
	}
	le := binary.LittleEndian
	tag, channels, rate, align, bits := le.Uint16(b[:]), int(le.Uint16(b[2:])), le.Uint32(b[4:]), int(le.Uint16(b[12:])), int(le.Uint16(b[14:]))
	if tag == formatExtensible && n == int64(len(b)) {
		tag = le.Uint16(b[24:])
	}
	switch {
	case channels < 1 || channels > maxChannels:
		return fmt.Errorf("wav: fmt: %d channels, want 1 to %d", channels, maxChannels)
	case rate < minRate || rate > maxRate:
		return fmt.Errorf("wav: fmt: %d samples a second, want %d to %d", rate, minRate, maxRate)
	}
	decode, ok := decoders[[2]int{int(tag), bits}]
	if !ok {
		return fmt.Errorf("wav: fmt: samples of format %d with %d bits, want PCM (1) with 8, 16, 24 or 32 bits or float (3) with 32 or 64", tag, bits)
	}
	if align != channels*bits/8 {
		return fmt.Errorf("wav: fmt: %d bytes for %d channels of %d bits, want %d", align, channels, bits, channels*bits/8)
	}
	w.rate, w.channels, w.width, w.decode = int(rate), channels, bits/8, decode
	w.frame = make([]byte, align)
	return nil
}

// decoders read one sample, by format tag and bits.
var decoders = map[[2]int]func([]byte) float64{
	{formatPCM, 8}:  func(b []byte) float64 { return (float64(b[0]) - 128) / (1 << 7) },
	{formatPCM, 16}: func(b []byte) float64 { return float64(int16(binary.LittleEndian.Uint16(b))) / (1 << 15) },
	{formatPCM, 24}: func(b []byte) float64 {
		return float64(int32(b[0])<<8|int32(b[1])<<16|int32(b[2])<<24) / (1 << 31)
	},
	{formatPCM, 32}:   func(b []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(b))) / (1 << 31) },
	{formatFloat, 32}: func(b []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) },
	{formatFloat, 64}: func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) },
}

func (w *wavReader) read(dst []float32) (int, error) {
	for i := range dst {
		if err := w.next(); err == io.EOF && i > 0 {
			return i, nil
		} else if err != nil {
			return i, err
		}
		var err error
		if dst[i], err = w.mix(); err != nil {
			return i, err
		}
		w.done++
	}
	return len(dst), nil
}

// next reads a frame: a sample of each channel. A frame that is cut off by the
// end of the data is none.
func (w *wavReader) next() error {
	if w.left < int64(len(w.frame)) {
		return io.EOF
	}
	_, err := io.ReadFull(w.src, w.frame)
	switch {
	case err == nil:
		w.left -= int64(len(w.frame))
		return nil
	case w.open && (err == io.EOF || err == io.ErrUnexpectedEOF):
		w.left = 0
		return io.EOF
	}
	return wavError(fmt.Sprintf("data: after sample %d, %d bytes before the end", w.done, w.left), err)
}

// mix is the mean of a frame's channels.
func (w *wavReader) mix() (float32, error) {
	sum := 0.0
	for b := w.frame; len(b) > 0; b = b[w.width:] {
		v := w.decode(b)
		if !(math.Abs(v) <= maxSample) {
			return 0, fmt.Errorf("wav: data: sample %d is %g, want a number within ±%d", w.done, v, maxSample)
		}
		sum += v
	}
	return float32(sum / float64(w.channels)), nil
}

// wavError is a failed read; a file that ends early is told apart from others.
func wavError(where string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("wav: %s: the file ends too early", where)
	}
	return fmt.Errorf("wav: %s: %w", where, err)
}
