package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"coreml"
	"coreml/internal/fault"
	"coreml/schema"
	"coreml/tensor"
)

// printInputs lists what a model takes, and a command to copy.
func printInputs(w io.Writer, path, name string, f *function, asJSON bool) error {
	args := exampleArgs(path, name, f)
	command := "coreml"
	for _, a := range args {
		command += " " + shellQuote(a)
	}
	if asJSON {
		return printJSON(w, struct {
			Inputs  []coreml.Feature `json:"inputs"`
			Command string           `json:"command"`
		}{f.Inputs, command})
	}
	fmt.Fprintln(w, "The model wants these inputs:")
	printFeatures(w, f.Inputs)
	files := ""
	for i := range f.Inputs {
		if d := &f.Inputs[i]; !d.Optional && isMadeUp(exampleValue(d)) {
			files += " " + shellQuote(d.Name+"="+exampleFile(d))
		}
	}
	if files == "" {
		_, err := fmt.Fprintf(w, "\nFor example:\n  %s\n", command)
		return err
	}
	_, err := fmt.Fprintf(w, "\nFor example, with made-up values:\n  %s\n\nFiles of yours go in their place:%s\n", command, files)
	return err
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(v)
}

// printFeatures prints a line for each: name, type, constraint, what the author says.
func printFeatures(w io.Writer, l []coreml.Feature) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range l {
		d := &l[i]
		fmt.Fprintf(t, "  %s\t%s", fault.Name(d.Name), typeName(d))
		if d.ShortDescription != "" {
			fmt.Fprintf(t, "\t%s", cut(d.ShortDescription, 80))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}

// cut shortens a text of a file to n characters that can be printed, in one line.
func cut(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// typeName says what a feature may be: "float32 [1, 3, 224, 224]".
func typeName(d *coreml.Feature) string {
	s := string(d.Type)
	switch {
	case d.Image != nil:
		s = "image " + imageSizes(d.Image)
	case d.Tensor != nil:
		s = tensorShapes(d.Tensor)
		if d.Type == schema.TypeState {
			s = "state " + s
		}
	case d.Dictionary != nil && d.Dictionary.KeyType != "":
		s = "dictionary " + string(d.Dictionary.KeyType) + " → number"
	case d.Sequence != nil && d.Sequence.ElementType != "":
		s = "sequence of " + string(d.Sequence.ElementType)
	case s == "":
		s = "unknown type"
	}
	if d.Optional {
		s += ", optional"
		if d.Tensor != nil && d.Tensor.Default != nil {
			s += fmt.Sprintf(" (default %g)", float64(*d.Tensor.Default))
		}
	}
	return s
}

func imageSizes(c *schema.ImageConstraint) string {
	s := fmt.Sprintf("%s %d × %d", c.ColorSpace, c.Width, c.Height)
	if c.WidthRange != nil && c.HeightRange != nil {
		s = fmt.Sprintf("%s %v × %v", c.ColorSpace, c.WidthRange, c.HeightRange)
	}
	for _, e := range c.EnumeratedSizes {
		if e.Width != c.Width || e.Height != c.Height {
			s += fmt.Sprintf(" or %d × %d", e.Width, e.Height)
		}
	}
	return s
}

func tensorShapes(c *schema.TensorConstraint) string {
	s := "tensor"
	if c.DType != 0 {
		s = c.DType.String()
	}
	if c.Shape != nil {
		s += " " + shapeText(c.Shape)
	} else {
		s += ", shape not declared"
	}
	for _, e := range c.EnumeratedShapes {
		if fmt.Sprint(e) != fmt.Sprint(c.Shape) {
			s += " or " + shapeText(e)
		}
	}
	if len(c.ShapeRange) > 0 {
		var r []string
		for _, x := range c.ShapeRange {
			r = append(r, x.String())
		}
		s += ", allowed [" + strings.Join(r, ", ") + "]"
	}
	return s
}

func shapeText(s []int) string {
	return strings.ReplaceAll(fmt.Sprint(s), " ", ", ")
}

// exampleArgs are a command line that gives each required input a value; name is
// the function, "" the default one.
func exampleArgs(path, name string, f *function) []string {
	args := []string{"predict", path}
	for i := range f.Inputs {
		if d := &f.Inputs[i]; !d.Optional {
			args = append(args, d.Name+"="+exampleValue(d))
		}
	}
	if name != "" {
		args = append(args, "--function", name)
	}
	if len(f.States) > 0 {
		args = append(args, "--state", "state.npz")
	}
	return args
}

// exampleValue needs no file, unless the shape is unknown.
func exampleValue(d *coreml.Feature) string {
	switch d.Type {
	case schema.TypeImage:
		return fillRandom
	case schema.TypeString:
		return "text"
	case schema.TypeInt64, schema.TypeDouble:
		return "1"
	case schema.TypeDictionary:
		if d.Dictionary != nil && d.Dictionary.KeyType == schema.TypeInt64 {
			return `{"1": 1}`
		}
		return `{"key": 1}`
	case schema.TypeSequence:
		if d.Sequence != nil && d.Sequence.ElementType == schema.TypeInt64 {
			return `[1,2]`
		}
		return `["a","b"]`
	}
	if d.Tensor == nil || d.Tensor.Shape == nil {
		return exampleFile(d)
	}
	// An integer is often an index, and 0 is always one.
	word, many := "1", fillRandom
	if !isFloat(d.Tensor) {
		word, many = "0", fillZeros
	}
	switch n, ok := tensor.Elements(d.Tensor.Shape); {
	case !ok || n > 16 || n == 0:
		return many
	case n > 1:
		return "[" + word + strings.Repeat(","+word, n-1) + "]"
	}
	return word
}

// exampleFile is a file that holds a value.
func exampleFile(d *coreml.Feature) string {
	if d.Type == schema.TypeImage {
		return "picture.jpg"
	}
	return fileName(d.Name) + ".npy"
}

// fileName is a feature's name without what would make it a path.
func fileName(s string) string {
	return strings.NewReplacer("/", "_", "\\", "_", ":", "_").Replace(s)
}

// shellQuote quotes a word that a shell would not leave alone. What cannot be seen,
// and might command the terminal, is written in the way of $'…'.
func shellQuote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,@%+"
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	switch {
	case s != "" && strings.Trim(s, plain) == "":
		return s
	case !strings.ContainsFunc(s, hidden):
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	q := "$'"
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case hidden(r):
			for _, b := range []byte(s[:n]) {
				q += fmt.Sprintf(`\x%02x`, b)
			}
		case r == '\'' || r == '\\':
			q += `\` + string(r)
		default:
			q += string(r)
		}
		s = s[n:]
	}
	return q + "'"
}
