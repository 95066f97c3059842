package isolate

import (
	"context"
	"encoding/binary"
	"errors"

	"coreml/internal/fault"
)

// remote is an error of the child: its text, and what it is to errors.Is.
type remote struct {
	text  string
	kinds []error
}

func (e *remote) Error() string   { return e.text }
func (e *remote) Unwrap() []error { return e.kinds }

// kinds are the errors that cross as themselves. Their order is part of the protocol.
func kinds() []error {
	return append(append([]error(nil), fault.Kinds...), context.Canceled, context.DeadlineExceeded)
}

// maxErrorText bounds the text of an error that crosses.
const maxErrorText = 16 << 10

func appendError(b []byte, err error) []byte {
	var bits uint64
	for i, k := range kinds() {
		if errors.Is(err, k) {
			bits |= 1 << i
		}
	}
	text := err.Error()
	return append(binary.LittleEndian.AppendUint64(b, bits), text[:min(len(text), maxErrorText)]...)
}

func decodeError(b []byte) error {
	d := NewDecoder(b, nil)
	bits := d.fixed()
	if d.err != nil {
		return d.err
	}
	e := &remote{text: string(d.b)}
	for i, k := range kinds() {
		if bits>>i&1 != 0 {
			e.kinds = append(e.kinds, k)
		}
	}
	return e
}
