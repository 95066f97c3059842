package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"coreml"
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
  made up                     x=random, x=zeros or x=ones, the same each time, of the default
                              shape, for tensors and pictures (integers are 0 or 1 at random)
  a text                      text="hello", where the model wants a string
  a dictionary                features='{"rooms": 3}', where the model wants one

--inputs reads all inputs from an npz file, a member for each (of members c0/NAME,
c1/NAME, … those of call 0); --output writes all outputs to one. What is no array,
such as a label, is described in the member __meta__ (JSON: name → kind and data).
--output of a .npy, .png or .jpg file takes the only tensor or picture. A command that
fails leaves the --state file as it was.`,
		Example: `  coreml predict
  coreml predict --audio song.wav
  coreml predict model.mlpackage
  coreml predict model.mlpackage image=cat.jpg
  coreml predict model.mlpackage --inputs in.npz --output out.npz
  coreml predict decoder.mlpackage token=7 --state state.npz
  coreml predict model.mlpackage x=x.npy --record testdata/mycase`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNames(cmd.Flags(), "audio", "inputs", "output", "state", "record"); err != nil {
				return err
			}
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
	f, err := describeFunction(path, o.Function)
	if err != nil {
		return err
	}
	in, err := readInputs(cmd.ErrOrStderr(), f, o.inputs, assignments)
	if err != nil {
		return err
	}
	if o.inputs == "" && len(assignments) == 0 && wantsInput(f) {
		if err := tryOpen(path, opt); err != nil {
			return fmt.Errorf("%s does not run here: %w", path, err)
		}
		return printInputs(cmd.OutOrStdout(), path, o.Function, f, o.asJSON)
	}
	out, err := o.destination(f)
	if err != nil {
		return err
	}
	p, err := runOnce(cmd.Context(), path, opt, o, in)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	p.function = f
	if p.dispatch.Fallback {
		fmt.Fprintf(cmd.ErrOrStderr(), "answered by %s instead of %s: %s\n", p.dispatch.Backend, p.dispatch.Requested, p.dispatch.Reason)
	}
	return p.deliver(cmd, o, out)
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
		if err = st.Load(f); err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--state: %w", err), st.Close())
	}
	return st, f, nil
}
