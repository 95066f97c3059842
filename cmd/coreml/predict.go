package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/internal/atomicfile"
	"coreml/internal/mlmodel"
	"coreml/internal/record"
)

// predictFlags are what predict takes besides the flags of every run.
type predictFlags struct {
	openFlags
	guardFlags
	demoFlags
	inputs, output, state, record string
	values                        int
	asJSON                        bool
}

func predictCommand() *cobra.Command {
	var o predictFlags
	c := &cobra.Command{
		Use:   "predict [MODEL [NAME=VALUE…]]",
		Short: "Run a model once",
		Long: `Predict runs a model once and prints what comes out. Without inputs it lists the
inputs that the model wants, with a command to copy. Without a model it runs one that
is part of the command: basic-pitch, which hears notes, on a clip or on --audio.

The VALUE of an input is
  a number                    threshold=0.5
  a list                      x=[[1,2,3],[4,5,6]]; a flat list takes the input's shape
  an array of a NumPy file    x=x.npy, or x=batch.npz:member
  a picture                   image=cat.jpg (png, jpeg, gif, bmp, tiff, webp; cropped and scaled)
  a text                      text="hello", where the model wants a string
  a dictionary                features='{"rooms": 3}', where the model wants one

--inputs reads all inputs from an npz file, a member for each; --output writes all
outputs to one. What is no array, such as a label, is described in the member
__meta__ (JSON: name → kind and data). --output of a .npy, .png or .jpg file takes the
only tensor or picture.`,
		Example: `  coreml predict
  coreml predict --audio song.wav
  coreml predict model.mlpackage
  coreml predict model.mlpackage image=cat.jpg
  coreml predict model.mlpackage --inputs in.npz --output out.npz
  coreml predict decoder.mlpackage token=7 --state state.npz
  coreml predict model.mlpackage x=x.npy --record testdata/mycase`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || o.demoFlags.given() {
				return predictEmbedded(cmd, &o, args)
			}
			return predict(cmd, &o, args[0], args[1:])
		},
	}
	f := c.Flags()
	f.StringVar(&o.inputs, "inputs", "", "npz file with the inputs, a member for each")
	f.StringVarP(&o.output, "output", "o", "", "file for the outputs: .npz takes all, .npy a tensor, .png or .jpg a picture")
	f.StringVar(&o.state, "state", "", "npz file with the states of a stateful model: read if it is there, written afterwards")
	f.StringVar(&o.record, "record", "", "folder to make: the call as a case that \"coreml verify\" checks")
	f.IntVar(&o.values, "values", 64, "print tensors of up to so many elements whole")
	f.BoolVar(&o.asJSON, "json", false, "print the outputs as JSON, whole")
	o.openFlags.add(f)
	o.guardFlags.add(f)
	o.demoFlags.add(f)
	return c
}

func predict(cmd *cobra.Command, o *predictFlags, path string, assignments []string) error {
	opt, err := o.options()
	if err != nil {
		return err
	}
	if err := o.guardFlags.apply(&opt, cmd.ErrOrStderr()); err != nil {
		return err
	}
	d, err := coreml.Describe(path)
	if err != nil {
		return err
	}
	f, err := d.FunctionNamed(o.Function)
	if err != nil {
		return usageError{fmt.Errorf("--function: %w", err)}
	}
	in, err := readInputs(f, o.inputs, assignments)
	if err != nil {
		return err
	}
	if len(in) == 0 && wantsInput(f) {
		return printInputs(cmd.OutOrStdout(), path, f, o.asJSON)
	}
	p, err := runOnce(cmd.Context(), path, opt, o, in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.function = f
	if p.dispatch.Fallback {
		fmt.Fprintf(cmd.ErrOrStderr(), "answered by %s instead of %s: %s\n", p.dispatch.Backend, p.dispatch.Requested, p.dispatch.Reason)
	}
	if err := p.save(o); err != nil {
		return err
	}
	if o.record != "" {
		if err := p.record(o.record); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "recorded; check with: coreml verify %s\n", shellQuote(o.record))
	}
	if o.asJSON {
		return printOutputsJSON(cmd.OutOrStdout(), p)
	}
	if o.output == "" {
		return printOutputs(cmd.OutOrStdout(), f, p.out, o.values)
	}
	return nil
}

// wantsInput reports whether a call without inputs must fail.
func wantsInput(f *function) bool {
	for i := range f.Inputs {
		if !f.Inputs[i].Optional {
			return true
		}
	}
	return false
}

// prediction is one call that has been made.
type prediction struct {
	path          string
	options       coreml.Options
	function      *function
	in, out       coreml.Features
	before, after coreml.Features // of the states; nil without --state
	load, took    time.Duration
	dispatch      coreml.Dispatch
}

func runOnce(ctx context.Context, path string, opt coreml.Options, o *predictFlags, in coreml.Features) (*prediction, error) {
	start := time.Now()
	m, err := coreml.Open(path, opt)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	p := &prediction{path: path, options: opt, in: in, out: coreml.Features{}, load: time.Since(start)}
	var st *coreml.State
	if o.state != "" {
		if st, p.before, err = openState(m, o.state); err != nil {
			return nil, err
		}
		defer st.Close()
	}
	ctx, cancel := o.within(ctx)
	defer cancel()
	start = time.Now()
	r, err := m.PredictWith(ctx, coreml.Request{In: in, Out: p.out, State: st})
	if err != nil {
		return nil, err
	}
	p.took, p.dispatch = time.Since(start), r.Dispatch
	if st != nil {
		p.after, err = st.Save()
	}
	return p, err
}

// openState makes a state and sets what the file names; a missing file leaves zeros.
func openState(m *coreml.Model, file string) (*coreml.State, coreml.Features, error) {
	st, err := m.NewState()
	if err != nil {
		return nil, nil, fmt.Errorf("--state: %w", err)
	}
	f, err := record.ReadFeatures(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f, err = coreml.Features{}, nil
	case err == nil:
		err = st.Load(f)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--state: %w", err), st.Close())
	}
	return st, f, nil
}

// save writes the files that the flags ask for.
func (p *prediction) save(o *predictFlags) error {
	if p.after != nil {
		if err := writeFeatures(o.state, p.after, nil); err != nil {
			return err
		}
	}
	switch ending := strings.ToLower(o.output[strings.LastIndexByte(o.output, '.')+1:]); {
	case o.output == "":
		return nil
	case ending == "png" || ending == "jpg" || ending == "jpeg":
		return p.savePicture(o.output, ending)
	case ending == "npy":
		return p.saveTensor(o.output)
	}
	return writeFeatures(o.output, p.out, p.function.Outputs)
}

func writeFeatures(name string, f coreml.Features, d []coreml.Feature) error {
	return atomicfile.Write(name, func(w io.Writer) error { return record.WriteFeatures(w, f, d) })
}

func (p *prediction) record(dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return usageError{fmt.Errorf("--record %s: it is there already", dir)}
	}
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
