// Command coreml runs Core ML models on every machine: predict, show, verify, bench.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"coreml"
)

// Exit codes, by class.
const (
	exitOK          = 0
	exitFailed      = 1 // a check failed
	exitUsage       = 2
	exitInput       = 3 // a model or an input that is wrong
	exitUnsupported = 4
	exitEnvironment = 5 // files, memory, time
)

// commands is the table: one constructor for each, in the order of the help.
var commands = []func() *cobra.Command{
	verifyCommand,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "coreml",
		Short:         "Core ML models, run on every machine",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	for _, c := range commands {
		root.AddCommand(c())
	}
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var quiet failedError
	if !errors.As(err, &quiet) {
		fmt.Fprintln(os.Stderr, "coreml:", err)
	}
	return exitCode(err)
}

// usageError is a command line that is wrong.
type usageError struct{ error }

// failedError is a check that failed and has said so.
type failedError struct{}

func (failedError) Error() string { return "a check failed" }

func exitCode(err error) int {
	var usage usageError
	var failed failedError
	var file *fs.PathError
	switch {
	case errors.As(err, &failed):
		return exitFailed
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, coreml.ErrUnsupported):
		return exitUnsupported
	case errors.Is(err, coreml.ErrInvalid), errors.Is(err, coreml.ErrSchema):
		return exitInput
	case errors.Is(err, coreml.ErrTimeout), errors.Is(err, coreml.ErrLoad), errors.Is(err, coreml.ErrLimit),
		errors.Is(err, coreml.ErrMemory), errors.As(err, &file), errors.Is(err, context.Canceled):
		return exitEnvironment
	}
	return exitUsage
}
