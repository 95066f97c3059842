package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"coreml"
	"coreml/internal/fault"
	"coreml/internal/listing"
	"coreml/internal/lower"
	"coreml/internal/mlmodel"
	"coreml/schema"
)

func showCommand() *cobra.Command {
	var mil, graph, asJSON bool
	var name string
	c := &cobra.Command{
		Use:   "show MODEL",
		Short: "Describe a model: what it takes and gives, its operators and weights",
		Long: `Show prints what a model says about itself, whether it can be run here, its
operators or layers with their number, and its weights by the form they are kept in.
It describes every type of Core ML model, also those that cannot be run here.

--mil prints the whole program as the file has it; small constants stand where they
are used. --graph prints one function as it is run here.`,
		Example: `  coreml show model.mlpackage
  coreml show model.mlpackage --mil | less
  coreml show model.mlpackage --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case mil && asJSON || mil && graph || graph && asJSON:
				return usageError{errors.New("show: want one of --mil, --graph and --json")}
			case name != "" && !graph:
				return usageError{errors.New("show: --function is of --graph; all functions are shown")}
			}
			m, err := mlmodel.Inspect(args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			switch w := cmd.OutOrStdout(); {
			case mil:
				return listing.Print(w, m)
			case graph:
				if _, err := functionNamed(m.Description, name); err != nil {
					return err
				}
				return printGraph(w, args[0], name)
			default:
				return show(w, m, args[0], asJSON)
			}
		},
	}
	f := c.Flags()
	f.BoolVar(&mil, "mil", false, "print the whole program as text")
	f.BoolVar(&graph, "graph", false, "print the graph that a function becomes")
	f.StringVar(&name, "function", "", "function of --graph (default: the model's default)")
	f.BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func printGraph(w io.Writer, path, function string) error {
	m, err := mlmodel.Open(path)
	if err != nil {
		return err
	}
	defer m.Close()
	g, err := lower.Graph(m, function)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return g.Print(w)
}

// report is what show says.
type report struct {
	*schema.Description
	Runs        bool           `json:"runs"` // here
	WhyNot      string         `json:"whyNot,omitempty"`
	Operators   map[string]int `json:"operators,omitempty"`
	Weights     []listing.Form `json:"weights,omitempty"`
	WeightBytes int64          `json:"weightBytes"`
}

func show(w io.Writer, m *mlmodel.Model, path string, asJSON bool) error {
	r := &report{Description: m.Description, Operators: listing.Ops(m.Spec, ""), Weights: listing.Weights(m.Spec)}
	for _, f := range r.Weights {
		r.WeightBytes += f.Bytes
	}
	if err := tryOpen(path, coreml.Options{}); err != nil {
		r.WhyNot = oneLine(err)
	} else {
		r.Runs = true
	}
	if asJSON {
		return printJSON(w, r)
	}
	return r.print(w, path)
}

// tryOpen loads a model, which plans it, and lets go of it.
func tryOpen(path string, o coreml.Options) error {
	m, err := coreml.Open(path, o)
	if err != nil {
		return err
	}
	return m.Close()
}

func (r *report) print(w io.Writer, path string) error {
	fmt.Fprintf(w, "%s: %s, specification version %d\n", path, r.ModelType, r.SpecVersion)
	if r.Runs {
		fmt.Fprintln(w, "It runs here.")
	} else {
		fmt.Fprintf(w, "It does not run here: %s\n", r.WhyNot)
	}
	printMetadata(w, &r.Metadata)
	functions := r.Functions
	if len(functions) == 0 {
		functions = []schema.Function{r.Function}
	}
	for i := range functions {
		printFunction(w, &functions[i], len(functions) > 1 && functions[i].Name == r.Function.Name)
	}
	printPipeline(w, r.Pipeline, 1)
	printCounts(w, r.Operators)
	if len(r.Weights) > 0 {
		fmt.Fprintf(w, "\nweights, %s\n", formatBytes(r.WeightBytes))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, f := range r.Weights {
			fmt.Fprintf(t, "  %s\t%d tensors\t%d values\t%s\n", f.Name, f.Count, f.Values, formatBytes(f.Bytes))
		}
		t.Flush()
	}
	return nil
}

func printMetadata(w io.Writer, m *schema.Metadata) {
	for _, f := range [][2]string{{"description", m.ShortDescription}, {"author", m.Author}, {"licence", m.License}, {"version", m.Version}} {
		if f[1] != "" {
			fmt.Fprintf(w, "  %s: %s\n", f[0], cut(f[1], 300))
		}
	}
	var keys []string
	for k := range m.UserDefined {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(w, "  %s: %s\n", cut(k, 100), cut(m.UserDefined[k], 100))
	}
}

func printFunction(w io.Writer, f *schema.Function, isDefault bool) {
	fmt.Fprintln(w)
	if f.Name != "" {
		fmt.Fprintf(w, "function %s", fault.Name(f.Name))
		if f.Opset != "" {
			fmt.Fprintf(w, " (%s)", f.Opset)
		}
		if isDefault {
			fmt.Fprint(w, ", the default")
		}
		fmt.Fprintln(w)
	}
	for _, part := range []struct {
		name     string
		features []coreml.Feature
	}{{"inputs", f.Inputs}, {"outputs", f.Outputs}, {"states", f.States}} {
		if len(part.features) > 0 {
			fmt.Fprintln(w, part.name)
			printFeatures(w, part.features)
		}
	}
	if l := f.ClassLabels; l != nil {
		words := l.Strings
		for _, i := range l.Int64s {
			words = append(words, fmt.Sprint(i))
		}
		fmt.Fprintf(w, "%d classes: %s\n", len(words), cut(strings.Join(words[:min(len(words), 20)], ", "), 70))
	}
}

func printPipeline(w io.Writer, steps []schema.PipelineStep, depth int) {
	for i, s := range steps {
		if i == 0 && depth == 1 {
			fmt.Fprintln(w, "\npipeline")
		}
		fmt.Fprintf(w, "%s%d %s: %s\n", strings.Repeat("  ", depth), i, fault.Name(s.Name), s.Description.ModelType)
		printPipeline(w, s.Description.Pipeline, depth+1)
	}
}

// printCounts prints how often each operator or layer occurs, the most frequent first.
func printCounts(w io.Writer, counts map[string]int) {
	if len(counts) == 0 {
		return
	}
	var names []string
	sum := 0
	for n, c := range counts {
		names = append(names, n)
		sum += c
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := counts[b] - counts[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	fmt.Fprintf(w, "\n%d operations\n", sum)
	for _, n := range names {
		fmt.Fprintf(w, "%7d %s\n", counts[n], n)
	}
}
