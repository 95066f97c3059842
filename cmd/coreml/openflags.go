package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"coreml"
	"coreml/internal/mlmodel"
)

// openFlags are the flags of every command that runs a model.
type openFlags struct {
	coreml.Options
	units   string
	memory  byteSize
	timeout time.Duration
}

var computeUnits = []string{"ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"}

func (o *openFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.Function, "function", "", "function to run, of a model that has several (default: the model's default)")
	f.IntVar(&o.Threads, "threads", 0, "threads of one prediction (default: one for each core)")
	f.Var(&o.memory, "memory", "limit for weights and activations beside the mapped file, such as 512MiB or 2GB")
	f.DurationVar(&o.timeout, "timeout", 0, "time for one prediction, such as 500ms or 1m (default: no limit)")
	f.StringVar(&o.units, "compute-units", "CPU_ONLY", "accepted as Core ML spells it: "+strings.Join(computeUnits, ", ")+"; the work is done on the CPU")
	f.StringVar(&o.Backend, "backend", "", "cpu, or reference: slow and simple, the one that cpu is checked against (default cpu)")
}

// options checks the flags.
func (o *openFlags) options() (coreml.Options, error) {
	if !slices.Contains(computeUnits, o.units) {
		return o.Options, usageError{fmt.Errorf("--compute-units %s: want %s", o.units, strings.Join(computeUnits, ", "))}
	}
	if o.Threads < 0 {
		return o.Options, usageError{fmt.Errorf("--threads %d: want 0 or more", o.Threads)}
	}
	if o.timeout < 0 {
		return o.Options, usageError{fmt.Errorf("--timeout %v: want 0 or more", o.timeout)}
	}
	o.MemoryLimit = int64(o.memory)
	return o.Options, checkBackend("backend", o.Backend)
}

// checkNames refuses flags that name a file by nothing, as an unset variable of a shell does.
func checkNames(f *pflag.FlagSet, flags ...string) error {
	for _, name := range flags {
		if l := f.Lookup(name); l.Changed && l.Value.String() == "" {
			return usageError{fmt.Errorf("--%s: is empty, want a name", name)}
		}
	}
	return nil
}

// checkBackend refuses a name that no backend has.
func checkBackend(flag, name string) error {
	if all := coreml.Backends(); name != "" && !slices.Contains(all, name) {
		return usageError{fmt.Errorf("--%s %s: want %s", flag, name, strings.Join(all, " or "))}
	}
	return nil
}

// describeFunction describes the function of a model that --function names, or its default.
func describeFunction(path, name string) (*function, error) {
	d, err := coreml.Describe(path)
	if err != nil {
		return nil, err
	}
	return functionNamed(d, name)
}

func functionNamed(d *coreml.Description, name string) (*function, error) {
	f, err := mlmodel.FunctionNamed(d, name)
	if err != nil {
		return nil, usageError{fmt.Errorf("--function: %w", err)}
	}
	return f, nil
}

// within is ctx with the time limit, if there is one.
func (o *openFlags) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.timeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, o.timeout)
}

// byteSize is a flag's number of bytes, with an optional suffix.
type byteSize int64

var byteSuffixes = []struct {
	name string
	size float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"B", 1}}

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	scale, number := 1.0, s
	for _, x := range byteSuffixes {
		if len(s) > len(x.name) && strings.EqualFold(s[len(s)-len(x.name):], x.name) {
			scale, number = x.size, s[:len(s)-len(x.name)]
			break
		}
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if v := f * scale; err != nil || !(v >= 1) || v >= math.MaxInt64 {
		return fmt.Errorf("%q: want a number of bytes, such as 512MiB or 2GB", s)
	}
	*b = byteSize(f * scale)
	return nil
}

func (b *byteSize) String() string {
	if *b == 0 {
		return ""
	}
	return formatBytes(int64(*b))
}

func (b *byteSize) Type() string { return "bytes" }

// formatBytes prints a size in the largest unit that it reaches.
func formatBytes(n int64) string {
	switch f := float64(n); {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", f/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", f/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", f/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
