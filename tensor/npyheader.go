package tensor

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"
)

const (
	npyMagic = "\x93NUMPY"
	// npyMaxHeader and npyMaxRank are far beyond what NumPy writes for the
	// types accepted here.
	npyMaxHeader = 1 << 16
	npyMaxRank   = 64
	npyAlignment = 64 // of the data within the file
)

// npyHeader is what an npy file says before its data.
type npyHeader struct {
	dtype     DType
	bigEndian bool
	fortran   bool // first dimension varies fastest
	shape     []int
}

// npyCodes are NumPy's type codes, without the byte order, of the types that
// npy files can hold.
var npyCodes = map[DType]string{
	Bool: "b1", Int8: "i1", UInt8: "u1", Int16: "i2", UInt16: "u2", Int32: "i4", UInt32: "u4",
	Int64: "i8", UInt64: "u8", Float16: "f2", Float32: "f4", Float64: "f8",
}

func readNpyHeader(r io.Reader) (*npyHeader, error) {
	var prefix [12]byte // magic, two bytes of version, length of the header
	if _, err := io.ReadFull(r, prefix[:10]); err != nil {
		return nil, fmt.Errorf("header: %w", malformed(err))
	}
	if string(prefix[:6]) != npyMagic {
		return nil, fmt.Errorf("%w: first bytes %q, want %q", ErrFormat, prefix[:6], npyMagic)
	}
	size := int(binary.LittleEndian.Uint16(prefix[8:]))
	switch major, minor := prefix[6], prefix[7]; {
	case major < 1 || major > 3 || minor != 0:
		return nil, fmt.Errorf("%w: version %d.%d, want 1.0, 2.0 or 3.0", ErrUnsupported, major, minor)
	case major > 1:
		if _, err := io.ReadFull(r, prefix[10:]); err != nil {
			return nil, fmt.Errorf("header: %w", malformed(err))
		}
		size = int(min(binary.LittleEndian.Uint32(prefix[8:]), npyMaxHeader+1))
	}
	if size > npyMaxHeader {
		return nil, fmt.Errorf("header: %w: more than %d bytes", ErrFormat, npyMaxHeader)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("header: %w", malformed(err))
	}
	p := literal{rest: string(text)}
	h, err := p.header()
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

// literal parses the Python literal that is the text of an npy header.
type literal struct{ rest string }

// header parses {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
// with the keys in any order, each once.
func (p *literal) header() (*npyHeader, error) {
	h := &npyHeader{}
	seen := map[string]bool{}
	if !p.take("{") {
		return nil, p.wanted("{")
	}
	for !p.take("}") {
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if seen[key] {
			return nil, fmt.Errorf("%w: %s: given twice", ErrFormat, key)
		}
		seen[key] = true
		if !p.take(":") {
			return nil, p.wanted(":")
		}
		switch key {
		case "descr":
			err = p.descr(h)
		case "fortran_order":
			h.fortran = p.take("True")
			if !h.fortran && !p.take("False") {
				err = p.wanted("True or False")
			}
		case "shape":
			h.shape, err = p.shape()
		default:
			err = fmt.Errorf("%w: key %.40q, want descr, fortran_order and shape", ErrFormat, key)
		}
		if err != nil {
			return nil, err
		}
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return nil, p.wanted(", or }")
		}
	}
	if len(seen) != 3 {
		return nil, fmt.Errorf("%w: %d keys, want descr, fortran_order and shape", ErrFormat, len(seen))
	}
	if p.space(); p.rest != "" {
		return nil, p.wanted("nothing")
	}
	return h, nil
}

// descr parses an element type: byte order, kind, bytes of an element.
func (p *literal) descr(h *npyHeader) error {
	if p.space(); strings.HasPrefix(p.rest, "[") {
		return fmt.Errorf("%w: descr: structured elements, want plain numbers", ErrUnsupported)
	}
	code, err := p.text()
	if err != nil {
		return err
	}
	order, kind := code[:min(1, len(code))], code[min(1, len(code)):]
	for d, c := range npyCodes {
		if kind != c {
			continue
		}
		if order != "<" && order != ">" && (order != "|" || d.Size() > 1) {
			break
		}
		h.dtype, h.bigEndian = d, order == ">"
		return nil
	}
	return fmt.Errorf("%w: descr: element type %.20q, want bool, int, uint or float of at most 8 bytes (no text, objects, complex numbers or dates)",
		ErrUnsupported, code)
}

// shape parses a tuple of dimensions, as in () and (3,) and (3, 4).
func (p *literal) shape() ([]int, error) {
	shape := []int{}
	if !p.take("(") {
		return nil, p.wanted("(")
	}
	for !p.take(")") {
		if len(shape) == npyMaxRank {
			return nil, fmt.Errorf("%w: shape: more than %d dimensions", ErrUnsupported, npyMaxRank)
		}
		p.space()
		digits := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789"))
		d, err := strconv.ParseUint(p.rest[:digits], 10, bits.UintSize-1)
		if err != nil {
			return nil, p.wanted("a dimension")
		}
		shape = append(shape, int(d))
		p.rest = p.rest[digits:]
		p.take("L") // Python 2 wrote its long integers so
		comma := p.take(",")
		if closes := strings.HasPrefix(p.rest, ")"); !comma && (!closes || len(shape) == 1) {
			return nil, p.wanted("a comma")
		}
	}
	return shape, nil
}

// text parses a quoted string without escapes.
func (p *literal) text() (string, error) {
	p.space()
	if p.rest == "" || p.rest[0] != '\'' && p.rest[0] != '"' {
		return "", p.wanted("a quoted string")
	}
	end := strings.IndexByte(p.rest[1:], p.rest[0])
	if end < 0 {
		return "", p.wanted("a quoted string")
	}
	s := p.rest[1 : 1+end]
	p.rest = p.rest[end+2:]
	return s, nil
}

// take consumes token, after white space, if it comes next.
func (p *literal) take(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return ok
}

func (p *literal) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

func (p *literal) wanted(what string) error {
	return fmt.Errorf("%w: %.20q, want %s", ErrFormat, p.rest, what)
}

// appendNpyHeader appends the header of a version 1.0 file.
func appendNpyHeader(b []byte, d DType, shape []int) []byte {
	order := "<"
	if d.Size() == 1 {
		order = "|"
	}
	dims := strings.Join(decimals(shape), ", ")
	if len(shape) == 1 {
		dims += ","
	}
	text := fmt.Sprintf("{'descr': '%s%s', 'fortran_order': False, 'shape': (%s), }", order, npyCodes[d], dims)
	const prefix = len(npyMagic) + 4
	padded := (prefix+len(text)+npyAlignment)/npyAlignment*npyAlignment - prefix // room for a newline
	b = append(append(b, npyMagic...), 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(padded))
	b = append(b, text...)
	b = append(b, strings.Repeat(" ", padded-len(text)-1)...)
	return append(b, '\n')
}
