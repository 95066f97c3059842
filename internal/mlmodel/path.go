package mlmodel

import (
	"io/fs"
	"strings"
	"unicode/utf8"

	"coreml/internal/fault"
)

const maxNameLength = 4096

// checkName checks a file name that a model file contains. Every such name
// passes here before it reaches the file system: it must be relative, in clean
// slash-separated form, and mean the same file on every operating system.
func checkName(where, name string) error {
	const want = "a relative path with forward slashes inside the package"
	switch {
	case name == "":
		return invalid(where, "empty file name", want)
	case len(name) > maxNameLength:
		return invalid(where, "file name "+fault.Quote(name)+" is too long", want)
	case !utf8.ValidString(name):
		return invalid(where, "file name "+fault.Quote(name)+" is not UTF-8", want)
	case strings.ContainsRune(name, 0):
		return invalid(where, "file name "+fault.Quote(name)+" contains NUL", want)
	case strings.ContainsRune(name, '\\'):
		return invalid(where, "file name "+fault.Quote(name)+" contains a backslash", want)
	case name[0] == '/':
		return invalid(where, "file name "+fault.Quote(name)+" is absolute", want)
	case strings.ContainsRune(name, ':'):
		// A drive, or on NTFS another stream of the same file.
		return invalid(where, "file name "+fault.Quote(name)+" contains a colon", want)
	case name == "." || !fs.ValidPath(name):
		return invalid(where, "file name "+fault.Quote(name)+" has an empty, . or .. element", want)
	}
	return nil
}

const modelPath = "@model_path/"

// weightName resolves the file name of a weight: relative to the folder of the
// model file, which the format spells @model_path.
func weightName(name string) (string, error) {
	rest, ok := strings.CutPrefix(name, modelPath)
	if !ok {
		return "", invalid("", "weight file "+fault.Quote(name), "a name that starts with "+modelPath)
	}
	if err := checkName("", rest); err != nil {
		return "", err
	}
	return rest, nil
}
