package main

import (
	"encoding/json"
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

func verifyCommand() *cobra.Command {
	var o verify.Options
	var match, modelType, op string
	var asJSON, verbose bool
	var show int
	c := &cobra.Command{
		Use:   "verify CASES…",
		Short: "Check recorded cases: models with inputs and expected outputs",
		Long: `Verify runs recorded cases and compares what comes out with what was recorded.
CASES are folders or zips that hold cases at any depth. A case that cannot be run
has failed. The last line is "N passed, N failed, N skipped"; the exit code is 1
if anything failed. Cases are recorded with "coreml predict --record DIR".`,
		Example: "  coreml verify testdata/cases\n  coreml verify --tight --op conv cases.zip",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keep, err := filter(match, modelType, op)
			if err != nil {
				return usageError{err}
			}
			o.Keep = keep
			set, err := verify.Find(args...)
			if err != nil {
				return err
			}
			defer set.Close()
			if verbose {
				o.Each = func(r verify.Result) {
					if r.Status == verify.Failed {
						fmt.Fprintf(cmd.ErrOrStderr(), "FAILED %s: %s\n", r.ID, r.Reason)
					}
				}
			}
			start := time.Now()
			results := verify.Run(cmd.Context(), set.Cases, o)
			report := verify.Summarise(results)
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", " ")
				err = enc.Encode(struct {
					verify.Summary
					Results []verify.Result `json:"results"`
				}{report, results})
			} else {
				printSummary(cmd.OutOrStdout(), report, results, show, time.Since(start))
			}
			if err == nil && report.Failed > 0 {
				err = failedError{}
			}
			return err
		},
	}
	f := c.Flags()
	f.BoolVar(&o.Tight, "tight", false, "judge by the tolerances before the float16 relaxation")
	f.StringVar(&match, "id", "", "only cases whose id matches this regular expression")
	f.StringVar(&modelType, "type", "", "only cases of this model type, such as mlProgram")
	f.StringVar(&op, "op", "", "only cases with this operator or layer")
	f.IntVar(&o.Jobs, "jobs", 0, "cases at a time (default: one for each processor)")
	f.IntVar(&o.Open.Threads, "threads", 1, "threads of each prediction")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "time for one case")
	f.StringVar(&o.Open.Backend, "backend", "", "cpu or reference (default cpu)")
	f.BoolVar(&asJSON, "json", false, "print everything as JSON")
	f.IntVar(&show, "worst", 20, "how many failures to show")
	f.BoolVarP(&verbose, "verbose", "v", false, "print each failure as it happens, on stderr")
	return c
}

func filter(match, modelType, op string) (func(*verify.Case) bool, error) {
	re, err := regexp.Compile(match)
	if err != nil {
		return nil, fmt.Errorf("--id: %w", err)
	}
	return func(c *verify.Case) bool {
		_, isOp := c.Ops[op]
		_, isLayer := c.Layers[op]
		return re.MatchString(c.ID) && (modelType == "" || c.ModelType == modelType) && (op == "" || isOp || isLayer)
	}, nil
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
