package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"coreml/internal/verify"
)

type verifyFlags struct {
	verify.Options
	id, modelType, op string
	asJSON, verbose   bool
	worst             int
}

func verifyCommand() *cobra.Command {
	var o verifyFlags
	c := &cobra.Command{
		Use:   "verify CASES…",
		Short: "Check recorded cases: models with inputs and expected outputs",
		Long: `Verify runs recorded cases and compares what comes out with what was recorded.
CASES are folders or zips that hold cases at any depth. A case that cannot be read or
run has failed, and so has one that expects nothing. The last line is "N passed,
N failed, N skipped"; the exit code is 1 if anything failed, and 2 if the filters
left nothing to check. Cases are recorded with "coreml predict --record DIR".`,
		Example: "  coreml verify testdata/cases\n  coreml verify --tight --op conv cases.zip",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runVerify(cmd, &o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.Tight, "tight", false, "judge by the tolerances before the float16 relaxation")
	f.StringVar(&o.id, "id", "", "only cases whose id matches this regular expression")
	f.StringVar(&o.modelType, "type", "", "only cases of this model type, such as mlProgram")
	f.StringVar(&o.op, "op", "", "only cases with this operator or layer")
	f.IntVar(&o.Jobs, "jobs", 0, "cases at a time (default: one for each processor)")
	f.IntVar(&o.Open.Threads, "threads", 1, "threads of each prediction")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "time for one case")
	f.StringVar(&o.Open.Backend, "backend", "", "cpu or reference (default cpu)")
	f.BoolVar(&o.asJSON, "json", false, "print everything as JSON")
	f.IntVar(&o.worst, "worst", 20, "how many failures to show")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print each failure as it happens, on stderr")
	return c
}

func runVerify(cmd *cobra.Command, o *verifyFlags, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	set, err := verify.Find(args...)
	if err != nil {
		return err
	}
	defer set.Close()
	if o.verbose {
		o.Each = func(r verify.Result) {
			if r.Status == verify.Failed {
				fmt.Fprintf(cmd.ErrOrStderr(), "FAILED %s: %s\n%s", r.ID, r.Reason, r.Stack)
			}
		}
	}
	start := time.Now()
	results := verify.Run(cmd.Context(), set.Cases, o.Options)
	report := verify.Summarise(results)
	if o.asJSON {
		err = printJSON(cmd.OutOrStdout(), struct {
			verify.Summary
			Results []verify.Result `json:"results"`
		}{report, results})
	} else {
		printSummary(cmd.OutOrStdout(), report, results, o.worst, time.Since(start))
	}
	stopped := cmd.Context().Err()
	switch {
	case err != nil:
		return err
	case stopped != nil && len(results) < len(set.Cases):
		return fmt.Errorf("verify: stopped with %d of %d cases to go: %w", len(set.Cases)-len(results), len(set.Cases), stopped)
	case report.Failed > 0:
		return failedError{}
	case report.Passed == 0:
		return usageError{fmt.Errorf("verify: nothing to check: %s leaves none of %s", o.filters(), plural(len(set.Cases), "case"))}
	}
	return nil
}

// check refuses what makes no sense, and sets the filter.
func (o *verifyFlags) check() error {
	for _, f := range []struct {
		name  string
		value int
	}{{"worst", o.worst}, {"jobs", o.Jobs}, {"threads", o.Open.Threads}} {
		if f.value < 0 {
			return usageError{fmt.Errorf("--%s %d: want 0 or more", f.name, f.value)}
		}
	}
	if o.Timeout <= 0 {
		return usageError{fmt.Errorf("--timeout %v: want more than 0", o.Timeout)}
	}
	id, err := regexp.Compile(o.id)
	if err != nil {
		return usageError{fmt.Errorf("--id: %w", err)}
	}
	if err := checkBackend("backend", o.Open.Backend); err != nil {
		return err
	}
	o.Keep = func(c *verify.Case) bool {
		return id.MatchString(c.ID) && (c.Broken != nil || // of an unknown type
			(o.modelType == "" || c.ModelType == o.modelType) && (o.op == "" || slices.Contains(c.Operators(), o.op)))
	}
	return nil
}

// filters are the flags that leave cases out, as they were given.
func (o *verifyFlags) filters() string {
	var words []string
	for _, f := range [][2]string{{"--id", o.id}, {"--type", o.modelType}, {"--op", o.op}} {
		if f[1] != "" {
			words = append(words, f[0]+" "+shellQuote(f[1]))
		}
	}
	return strings.Join(words, " with ")
}

func printSummary(w io.Writer, s verify.Summary, results []verify.Result, show int, took time.Duration) {
	var failed []verify.Result
	for _, r := range results {
		if r.Status == verify.Failed {
			failed = append(failed, r)
		}
	}
	sort.SliceStable(failed, func(i, j int) bool { return magnitude(failed[i]) > magnitude(failed[j]) })
	for _, r := range failed[:min(show, len(failed))] {
		fmt.Fprintf(w, "FAILED %s\n       %s\n", r.ID, r.Reason)
	}
	if len(failed) > show {
		fmt.Fprintf(w, "and %d more (--worst %d shows all)\n", len(failed)-show, len(failed))
	}
	printOps(w, s)
	fmt.Fprintf(w, "%.1f s\n%d passed, %d failed, %d skipped\n", took.Seconds(), s.Passed, s.Failed, s.Skipped)
}

func magnitude(r verify.Result) float64 {
	if r.Worst == nil {
		return 0
	}
	return float64(r.Worst.Error)
}

// printOps prints the operators with failures, the most failures first.
func printOps(w io.Writer, s verify.Summary) {
	var names []string
	for n, c := range s.Ops {
		if c.Failed > 0 {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := s.Ops[b].Failed - s.Ops[a].Failed; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\noperator\tpassed\tfailed")
	for _, n := range names {
		fmt.Fprintf(t, "%s\t%d\t%d\n", n, s.Ops[n].Passed, s.Ops[n].Failed)
	}
	t.Flush()
	fmt.Fprintln(w)
}
