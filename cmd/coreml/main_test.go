package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"coreml/internal/fault"
	"coreml/tensor"
)

// TestExitCodes has every kind of error, none of which is the command line's fault.
func TestExitCodes(t *testing.T) {
	want := map[error]int{
		fault.Invalid: exitInput, fault.Schema: exitInput, fault.State: exitInput, fault.Runtime: exitInput,
		fault.Unsupported: exitUnsupported, fault.Drift: exitFailed,
		fault.Limit: exitEnvironment, fault.Timeout: exitEnvironment, fault.Compile: exitEnvironment, fault.Load: exitEnvironment,
		fault.Memory: exitEnvironment, fault.Killed: exitEnvironment, fault.Cache: exitEnvironment, fault.Closed: exitEnvironment,
	}
	listed := map[error]bool{}
	for _, e := range exits {
		listed[e.kind] = true
	}
	for _, k := range fault.Kinds {
		code, ok := want[k]
		if got := exitCode(fmt.Errorf("model: %w", k)); !ok || got != code || !listed[k] {
			t.Errorf("%v: exit code %d, want %d; it is in the list: %v", k, got, code, listed[k])
		}
	}
	file := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("broken pipe"), exitEnvironment},
		{context.Canceled, exitEnvironment},
		{file, exitEnvironment},
		{inputError{file}, exitEnvironment},
		{inputError{fmt.Errorf("%w: %w", fault.Invalid, file)}, exitEnvironment},
		{inputError{errors.New("want a number")}, exitInput},
		{inputError{fmt.Errorf("too large: %w", fault.Limit)}, exitEnvironment},
		{tensor.ErrFormat, exitInput},
		{tensor.ErrUnsupported, exitInput},
		{tensor.ErrLimit, exitEnvironment},
		{errors.Join(fault.Load, fault.Unsupported), exitUnsupported},
		{usageError{fault.Invalid}, exitUsage},
		{failedError{}, exitFailed},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}
