package mlmodel

import (
	"bytes"
)

// impostors are the files that most often stand where a file of a model should.
var impostors = []struct {
	prefix     string
	kind       error
	what, want string
}{
	{"version https://git-lfs", ErrLoad, "is a Git LFS pointer, not the file itself", "the file, as git lfs pull fetches it"},
	{"PK\x03\x04", ErrUnsupported, "is a zip archive", "the unpacked .mlpackage folder"},
	{"PK\x05\x06", ErrInvalid, "is an empty zip archive", "a .mlpackage folder or a .mlmodel file"},
	{"\x1f\x8b", ErrUnsupported, "is a gzip archive", "the unpacked .mlpackage folder or .mlmodel file"},
	{"\x89HDF\r\n", ErrUnsupported, "is an HDF5 file", "a model converted to Core ML"},
	{"<!DOCTYPE", ErrInvalid, "is a web page", "the file itself: the download failed"},
	{"<!doctype", ErrInvalid, "is a web page", "the file itself: the download failed"},
	{"<html", ErrInvalid, "is a web page", "the file itself: the download failed"},
}

// sniff refuses what is plainly another kind of file, and nothing at all.
func sniff(data []byte) error {
	if len(data) == 0 {
		return invalid("", "is empty", "a complete file")
	}
	for _, other := range impostors {
		if bytes.HasPrefix(data, []byte(other.prefix)) {
			return &Error{Kind: other.kind, What: other.what, Want: other.want}
		}
	}
	return nil
}
