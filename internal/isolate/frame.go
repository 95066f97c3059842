package isolate

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A frame is a header of 16 bytes and a body, little-endian:
//
//	magic uint16, kind uint8, 0 uint8, length of the body uint32, call uint64
//
// Bodies carry names, shapes and numbers; tensors and pixels are in shared memory.
const (
	magic      = 0xc0e1
	headerSize = 16
	maxBody    = 16 << 20
)

const (
	kindHello  = 1 + iota // child: it is up; the body is the protocol's version
	kindCall              // parent: an operation
	kindReply             // child: its answer
	kindError             // child: or why there is none
	kindRoom              // child: the answer needs a slot of so many bytes
	kindGrant             // parent: here it is; size 0: nobody waits for the answer any more
	kindCancel            // parent: nobody waits for the answer any more
)

// version of the protocol. Both ends are the same binary, unless the file was replaced meanwhile.
const version = 1

type frame struct {
	kind byte
	call uint64
	body []byte
}

// appendHeader starts a frame; seal completes it.
func appendHeader(b []byte) []byte { return append(b, make([]byte, headerSize)...) }

// seal fills in the header of the frame that b holds.
func seal(b []byte, kind byte, call uint64) ([]byte, error) {
	n := len(b) - headerSize
	if n > maxBody {
		return nil, fmt.Errorf("isolate: message of %d bytes: want at most %d", n, maxBody)
	}
	binary.LittleEndian.PutUint16(b, magic)
	b[2], b[3] = kind, 0
	binary.LittleEndian.PutUint32(b[4:], uint32(n))
	binary.LittleEndian.PutUint64(b[8:], call)
	return b, nil
}

// readFrame reads one frame. It returns io.EOF only between two frames.
func readFrame(r io.Reader) (frame, error) {
	var h [headerSize]byte
	if n, err := io.ReadFull(r, h[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = fmt.Errorf("a message ended after %d bytes: %w", n, err)
		}
		return frame{}, err
	}
	f := frame{kind: h[2], call: binary.LittleEndian.Uint64(h[8:])}
	n := binary.LittleEndian.Uint32(h[4:])
	if binary.LittleEndian.Uint16(h[:]) != magic || f.kind < kindHello || f.kind > kindCancel || h[3] != 0 || n > maxBody {
		return frame{}, fmt.Errorf("%w: %q", errGarbage, h[:])
	}
	// The length is only a claim: allocate as the bytes come.
	const step = 64 << 10
	f.body = make([]byte, 0, min(n, step))
	for len(f.body) < int(n) {
		at := len(f.body)
		more := min(int(n)-at, max(step, at))
		f.body = append(f.body, make([]byte, more)...)
		if got, err := io.ReadFull(r, f.body[at:]); err != nil {
			return frame{}, fmt.Errorf("a message ended after %d of %d bytes: %w", headerSize+at+got, headerSize+int(n), io.ErrUnexpectedEOF)
		}
	}
	return f, nil
}
