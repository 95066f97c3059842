package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/internal/engine"
	"coreml/internal/mlmodel"
	"coreml/schema"
	"coreml/tensor"
)

type benchFlags struct {
	openFlags
	guardFlags
	inputs, dump               string
	seconds                    float64
	top                        int
	serve, profile, peak, json bool
}

func benchCommand() *cobra.Command {
	var o benchFlags
	c := &cobra.Command{
		Use:   "bench MODEL",
		Short: "Measure a model's speed and memory",
		Long: `Bench runs a model again and again and prints how long a prediction takes: the
median, the 95th and 99th percentile and the shortest; how long loading, the first
prediction and the way from the process's start to the first answer took; the peak
memory; and the arithmetic done a second.

Inputs are random, of the model's default shapes (integers are 1), or come from
--inputs: an npz file with a member for each input. Members named c0/NAME, c1/NAME, …
are calls that run in this order, each round on a new state; then the first call,
such as a decoder's prompt, and the others are reported apart.

--profile prints what each step of the plan took, with its kernel and its share of
the machine's peak, which --peak alone measures. --serve answers requests on stdin:
it loads, runs once, prints {"ready":true,…}, and for each line "GO SECONDS RUNS" runs
that long and at least that often and prints {"lat_ms":[…]}.`,
		Example: `  coreml bench model.mlpackage
  coreml bench model.mlpackage --threads 1 --profile
  coreml bench decoder.mlpackage --inputs decode.npz --json
  coreml bench --peak`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNames(cmd.Flags(), "inputs", "dump"); err != nil {
				return err
			}
			switch {
			case len(args) == 0 && o.peak:
				return printPeak(cmd.OutOrStdout(), o.json)
			case len(args) == 0:
				return usageError{fmt.Errorf("bench: no model given; coreml bench --help")}
			case o.peak:
				return usageError{errors.New("bench: --peak measures the machine: want it without a MODEL")}
			case !(o.seconds > 0 && o.seconds <= 3600):
				return usageError{fmt.Errorf("--seconds %g: want more than 0, at most 3600", o.seconds)}
			}
			return bench(cmd, &o, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&o.inputs, "inputs", "", "npz file with the inputs, or with several calls as members c0/NAME, c1/NAME, …")
	f.Float64Var(&o.seconds, "seconds", 2, "how long to measure")
	f.BoolVar(&o.profile, "profile", false, "print the time of every step")
	f.IntVar(&o.top, "top", 30, "steps that --profile prints; 0: all")
	f.BoolVar(&o.peak, "peak", false, "without a model: measure this machine's arithmetic and memory limits")
	f.BoolVar(&o.serve, "serve", false, "answer GO lines on stdin")
	f.StringVar(&o.dump, "dump", "", "file for the first output of the first call, as raw little-endian float32")
	f.BoolVar(&o.json, "json", false, "print one line of JSON")
	o.openFlags.add(f)
	o.guardFlags.add(f)
	return c
}

// subject is a model that is being measured: its calls, each with outputs that are used again.
type subject struct {
	model   *coreml.Model
	flags   *benchFlags
	inputs  []coreml.Features
	outputs []coreml.Features
	state   *coreml.State // nil: none
	stateful,
	sequence bool // several calls, each round on a new state
	load, first, start time.Duration
	flops              float64 // of the calls of one round; 0: unknown
}

func bench(cmd *cobra.Command, o *benchFlags, path string) error {
	s, err := prepare(cmd.Context(), o, path)
	if err != nil {
		return err
	}
	defer s.model.Close()
	if o.dump != "" {
		if err := s.dumpOutput(o.dump); err != nil {
			return err
		}
	}
	if o.serve {
		return s.serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
	}
	if o.profile {
		p, err := s.measureProfile(cmd.Context())
		if err != nil {
			return err
		}
		return printProfile(cmd.OutOrStdout(), o, p)
	}
	if err := s.countFlops(cmd.Context()); err != nil {
		return err
	}
	r, err := s.measure(cmd.Context())
	if err != nil {
		return err
	}
	if o.json {
		return r.printJSON(cmd.OutOrStdout())
	}
	if err := r.print(cmd.OutOrStdout()); err != nil || !o.guarded() {
		return err
	}
	t := s.model.Telemetry()
	fmt.Fprintln(cmd.OutOrStdout())
	return t.WriteSummary(cmd.OutOrStdout())
}

// prepare loads the model and makes the first round of calls.
func prepare(ctx context.Context, o *benchFlags, path string) (*subject, error) {
	opt, err := o.options()
	if err == nil {
		err = o.guardFlags.apply(&opt, os.Stderr)
	}
	if err == nil && o.Function != "" {
		_, err = describeFunction(path, o.Function)
	}
	if err != nil {
		return nil, err
	}
	start := time.Now()
	m, err := coreml.Open(path, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &subject{model: m, flags: o, load: time.Since(start)}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	return s, nil
}

func (s *subject) begin(ctx context.Context) error {
	f, err := mlmodel.FunctionNamed(s.model.Description(), s.flags.Function)
	if err != nil {
		return err
	}
	s.stateful = len(f.States) > 0
	if s.inputs, s.sequence, err = benchInputs(f, s.flags.inputs); err != nil {
		return err
	}
	for range s.inputs {
		s.outputs = append(s.outputs, coreml.Features{})
	}
	if err := s.renew(); err != nil {
		return err
	}
	for i := range s.inputs {
		start := time.Now()
		if err := s.call(ctx, i); err != nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
		if i == 0 {
			s.first, s.start = time.Since(start), time.Since(processStart)
		}
	}
	return nil
}

// renew gives a stateful model a new state for the next round.
func (s *subject) renew() error {
	if !s.stateful {
		return nil
	}
	if s.state != nil {
		s.state.Close()
	}
	var err error
	s.state, err = s.model.NewState()
	return err
}

// call makes call i. It reuses the outputs of the round before.
func (s *subject) call(ctx context.Context, i int) error {
	ctx, cancel := s.flags.within(ctx)
	defer cancel()
	return s.model.PredictInto(ctx, s.inputs[i], s.outputs[i], s.state)
}

// round makes all calls and appends their times to lat, one slice for each call.
func (s *subject) round(ctx context.Context, lat [][]time.Duration) error {
	if s.sequence {
		if err := s.renew(); err != nil {
			return err
		}
	}
	for i := range s.inputs {
		start := time.Now()
		if err := s.call(ctx, i); err != nil {
			return err
		}
		lat[i] = append(lat[i], time.Since(start))
	}
	return nil
}

// rounds makes rounds for a time, and at least so many.
func (s *subject) rounds(ctx context.Context, d time.Duration, least int) ([][]time.Duration, error) {
	lat := make([][]time.Duration, len(s.inputs))
	for i := range lat {
		lat[i] = make([]time.Duration, 0, 1024)
	}
	for start, n := time.Now(), 0; n < least || time.Since(start) < d; n++ {
		if err := s.round(ctx, lat); err != nil {
			return nil, err
		}
	}
	return lat, nil
}

// measure is the benchmark proper: one round more to warm up, then the time of the flags.
func (s *subject) measure(ctx context.Context) (*benchResult, error) {
	d := time.Duration(s.flags.seconds * float64(time.Second))
	if _, err := s.rounds(ctx, d/10, 1); err != nil {
		return nil, err
	}
	lat, err := s.rounds(ctx, d, 3)
	if err != nil {
		return nil, err
	}
	return s.result(lat), nil
}

// countFlops profiles one round for what its kernels say they compute.
func (s *subject) countFlops(ctx context.Context) error {
	p := &engine.Profile{}
	_, err := s.rounds(engine.WithProfile(ctx, p), 0, 1)
	for _, st := range p.Steps {
		s.flops += float64(st.Calls) * st.Flops
	}
	return err
}

func (s *subject) measureProfile(ctx context.Context) (*engine.Profile, error) {
	d := time.Duration(s.flags.seconds * float64(time.Second))
	if _, err := s.rounds(ctx, d/10, 1); err != nil {
		return nil, err
	}
	p := &engine.Profile{}
	_, err := s.rounds(engine.WithProfile(ctx, p), d, 1)
	return p, err
}

// firstTensor is the first output that is a tensor, in the description's order.
func (s *subject) firstTensor() (*tensor.Tensor, error) {
	f, err := mlmodel.FunctionNamed(s.model.Description(), s.flags.Function)
	if err != nil {
		return nil, err
	}
	for i := range f.Outputs {
		if t, ok := s.outputs[0][f.Outputs[i].Name].(*tensor.Tensor); ok && f.Outputs[i].Type != schema.TypeImage {
			return t, nil
		}
	}
	return nil, inputError{fmt.Errorf("--dump: the model gives no tensor")}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func inMilliseconds(l []time.Duration) []float64 {
	out := make([]float64, len(l))
	for i, d := range l {
		out[i] = milliseconds(d)
	}
	return out
}

// percentile is the value below which q of the sorted times lie, by the nearest rank.
func percentile(ordered []float64, q float64) float64 {
	i := int(q*float64(len(ordered))+0.5) - 1
	return ordered[min(max(i, 0), len(ordered)-1)]
}

func ordered(l []float64) []float64 {
	l = slices.Clone(l)
	slices.Sort(l)
	return l
}
