// Command coreml runs Core ML models on every machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"coreml"
	"coreml/tensor"
)

// Exit codes, by class.
const (
	exitOK          = 0
	exitFailed      = 1 // a check failed
	exitUsage       = 2
	exitInput       = 3 // a model or an input that is wrong
	exitUnsupported = 4
	exitEnvironment = 5 // files, memory, time, and whatever is of no class
)

// commands is the table: one constructor for each, in the order of the help.
var commands = []func() *cobra.Command{
	predictCommand,
	showCommand,
	benchCommand,
	verifyCommand,
	pipeCommand,
	statusCommand,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	begun := false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !begun { // no command took the arguments
		err = usageError{err}
	}
	var quiet failedError
	if !errors.As(err, &quiet) {
		fmt.Fprintln(os.Stderr, "coreml:", oneLine(err))
	}
	return exitCode(err)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "coreml",
		Short: "Core ML models, run on every machine",
		Long: `Coreml runs Core ML models (.mlpackage and .mlmodel) on any machine: it needs no
Mac, no Python and no network. Models run on the processor, in the command itself.

Results go to stdout, everything else to stderr. Most commands print JSON with
--json. COREML_CPU=generic|avx2|avx512|neon forces the instruction set.

Exit codes:
  0  done
  1  a check failed
  2  the command line is wrong, or names a function or a backend that there is not
  3  the model or an input is wrong
  4  the model is sound, but nothing here can run it; the message names the operator
  5  a file, memory, time or anything else around it is lacking`,
		Example: `  coreml show model.mlpackage
  coreml predict model.mlpackage
  coreml predict model.mlpackage image=cat.jpg
  coreml bench model.mlpackage --profile`,
		Version:                    version(),
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
		Args:                       unknownCommand,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cobra.EnableCommandSorting = false
	for _, c := range commands {
		cmd := c()
		if check := cmd.Args; check != nil {
			cmd.Args = func(cmd *cobra.Command, args []string) error {
				if err := check(cmd, args); err != nil {
					return seeHelp(cmd, err)
				}
				return nil
			}
		}
		root.AddCommand(cmd)
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return seeHelp(cmd, flagError(err)) })
	return root
}

func seeHelp(cmd *cobra.Command, err error) error {
	if cmd.HasParent() {
		err = fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// unknownCommand refuses a command that there is not, with those that it may have been meant for.
func unknownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	meant := "see coreml --help"
	if names := root.SuggestionsFor(args[0]); len(names) > 0 {
		meant = "did you mean " + strings.Join(names, " or ") + "?"
	}
	return usageError{fmt.Errorf("unknown command %q; %s", args[0], meant)}
}

// flagValues say what a flag of a type wants.
var flagValues = map[string]string{"int": "a whole number", "float64": "a number", "duration": "a time such as 500ms or 1m", "bool": "true or false"}

// flagError says of a value that cannot be parsed what would be.
func flagError(err error) error {
	var value *pflag.InvalidValueError
	if !errors.As(err, &value) {
		return err
	}
	f := value.GetFlag()
	if want := flagValues[f.Value.Type()]; want != "" {
		return fmt.Errorf("--%s %q: want %s", f.Name, value.GetValue(), want)
	}
	return fmt.Errorf("--%s %w", f.Name, value.Unwrap())
}

// usageError is a command line that is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// failedError is a check that failed and has said so.
type failedError struct{}

func (failedError) Error() string { return "a check failed" }

// inputError is an input on the command line or in a file that is wrong.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

// maxError bounds the text of an error, which may hold names from a file.
const maxError = 2000

// oneLine is the text of an error, whose parts errors.Join puts on lines of their own.
func oneLine(err error) string {
	s := strings.ReplaceAll(err.Error(), "\n", "; ")
	if len(s) > maxError {
		s = strings.ToValidUTF8(s[:maxError], "") + "…"
	}
	return s
}

// exits are the exit codes by kind of error. Of an error with several kinds, the first here decides.
var exits = []struct {
	kind error
	code int
}{
	{coreml.ErrUnsupported, exitUnsupported},
	{coreml.ErrTimeout, exitEnvironment},
	{coreml.ErrLimit, exitEnvironment},
	{coreml.ErrMemory, exitEnvironment},
	{coreml.ErrKilled, exitEnvironment},
	{context.Canceled, exitEnvironment},
	{coreml.ErrLoad, exitEnvironment},
	{coreml.ErrCompile, exitEnvironment},
	{coreml.ErrCache, exitEnvironment},
	{coreml.ErrClosed, exitEnvironment},
	{coreml.ErrDrift, exitFailed},
	{coreml.ErrInvalid, exitInput},
	{coreml.ErrSchema, exitInput},
	{coreml.ErrState, exitInput},
	{coreml.ErrRuntime, exitInput},
	{tensor.ErrFormat, exitInput},
	{tensor.ErrUnsupported, exitInput},
	{tensor.ErrLimit, exitEnvironment},
}

// exitCode is the class of an error. One of no kind is the environment's: what is
// wrong with a command line or an input has been said to be that.
func exitCode(err error) int {
	var usage usageError
	var failed failedError
	var input inputError
	var file *fs.PathError
	switch {
	case errors.As(err, &failed):
		return exitFailed
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &file) && !errors.Is(err, coreml.ErrUnsupported):
		return exitEnvironment
	}
	for _, e := range exits {
		if errors.Is(err, e.kind) {
			return e.code
		}
	}
	if errors.As(err, &input) {
		return exitInput
	}
	return exitEnvironment
}
