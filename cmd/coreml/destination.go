package main

import (
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/internal/atomicfile"
	"coreml/internal/mlmodel"
	"coreml/internal/record"
	"coreml/tensor"
)

// destination is where the outputs of a call go: all into an npz file, or the only one that fits.
type destination struct {
	file   string // "": none
	format *format
	output string // what format takes
}

// format writes one output to a file.
type format struct {
	want  string
	takes func(d *coreml.Feature) bool
	write func(w io.Writer, v any) error
}

var (
	tensorFile = &format{"a tensor", isNumbers, writeAs(tensor.WriteNpy)}
	pngFile    = &format{"a picture", isPixels, writeAs(png.Encode)}
	jpgFile    = &format{"a picture", isPixels, writeAs(func(w io.Writer, v image.Image) error {
		return jpeg.Encode(w, v, &jpeg.Options{Quality: 95})
	})}
)

func writeAs[T any](write func(io.Writer, T) error) func(io.Writer, any) error {
	return func(w io.Writer, v any) error {
		x, ok := v.(T)
		if !ok {
			return fmt.Errorf("%w: the output is %T", coreml.ErrRuntime, v)
		}
		return write(w, x)
	}
}

// formats are the endings of --output. What has none, such as a device, takes npz.
var formats = map[string]*format{"": nil, ".npz": nil, ".npy": tensorFile, ".png": pngFile, ".jpg": jpgFile, ".jpeg": jpgFile}

func isPixels(d *coreml.Feature) bool {
	return d.Image != nil && d.Image.ColorSpace != "GRAYSCALE_FLOAT16"
}

// isNumbers takes tensors, and pictures whose values are too fine for the type of an image.
func isNumbers(d *coreml.Feature) bool { return d.Tensor != nil || d.Image != nil && !isPixels(d) }

// destination checks the files to be written before there is anything to write.
func (o *predictFlags) destination(f *function) (*destination, error) {
	to := &destination{file: o.output}
	if o.output != "" {
		var known bool
		if to.format, known = formats[strings.ToLower(filepath.Ext(o.output))]; !known {
			return nil, usageError{fmt.Errorf("--output %s: want a name in .npz, .npy, .png or .jpg", o.output)}
		}
		if err := to.choose(f); err != nil {
			return nil, err
		}
	}
	for _, f := range [][2]string{{"--output", o.output}, {"--state", o.state}} {
		if err := inFolder(f[1]); err != nil {
			return nil, fmt.Errorf("%s %s: %w", f[0], f[1], err)
		}
	}
	return to, newFolder(o.record)
}

// choose finds the only output that the format takes.
func (to *destination) choose(f *function) error {
	if to.format == nil {
		return nil
	}
	n := 0
	for i := range f.Outputs {
		if to.format.takes(&f.Outputs[i]) {
			to.output = f.Outputs[i].Name
			n++
		}
	}
	if n != 1 {
		return usageError{fmt.Errorf("--output %s: the model gives %d outputs that are %s, want 1; a .npz file takes all", to.file, n, to.format.want)}
	}
	return nil
}

// inFolder reports an error unless a file of the name, if there is one, can lie where it says.
func inFolder(name string) error {
	if name == "" {
		return nil
	}
	dir := filepath.Dir(name)
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: errors.New("is no folder")}
	}
	return err
}

// newFolder refuses a name for --record that is in use, or that lies in a file.
func newFolder(dir string) error {
	if dir == "" {
		return nil
	}
	if _, err := os.Lstat(dir); err == nil {
		return usageError{fmt.Errorf("--record %s: it is there already", dir)}
	}
	above := filepath.Dir(filepath.Clean(dir))
	for above != filepath.Dir(above) {
		if _, err := os.Lstat(above); err == nil {
			break
		}
		above = filepath.Dir(above)
	}
	if err := inFolder(filepath.Join(above, "x")); err != nil {
		return fmt.Errorf("--record %s: %w", dir, err)
	}
	return nil
}

// deliver hands the outputs out and keeps what the flags ask for: the state last,
// so that it stays as it was when the command fails.
func (p *prediction) deliver(cmd *cobra.Command, o *predictFlags, to *destination) error {
	if err := p.save(to); err != nil {
		return err
	}
	if err := p.print(cmd.OutOrStdout(), o); err != nil {
		return err
	}
	if o.record != "" {
		if err := p.record(o.record); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "recorded; check with: coreml verify %s\n", shellQuote(o.record))
	}
	if p.after == nil {
		return nil
	}
	return writeFeatures(o.state, p.after, nil)
}

func (p *prediction) save(to *destination) error {
	switch {
	case to.file == "":
		return nil
	case to.format == nil:
		return writeFeatures(to.file, p.out, p.function.Outputs)
	}
	return atomicfile.Write(to.file, func(w io.Writer) error { return to.format.write(w, p.out[to.output]) })
}

func writeFeatures(name string, f coreml.Features, d []coreml.Feature) error {
	return atomicfile.Write(name, func(w io.Writer) error { return record.WriteFeatures(w, f, d) })
}

func (p *prediction) print(w io.Writer, o *predictFlags) error {
	switch {
	case o.asJSON:
		return printOutputsJSON(w, p)
	case o.output == "":
		return printOutputs(w, p.function, p.out, o.values)
	}
	return nil
}

func (p *prediction) record(dir string) error {
	m, err := mlmodel.Open(p.path)
	if err != nil {
		return err
	}
	defer m.Close()
	return record.Record(dir, record.Recording{
		Model: m, Function: p.options.Function, By: "coreml " + version(),
		In: p.in, Out: p.out, Before: p.before, After: p.after,
	})
}
