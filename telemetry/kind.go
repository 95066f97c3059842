package telemetry

import (
	"context"
	"errors"

	"coreml/internal/fault"
)

// Kind is a kind of failure, by the name that logs and metrics show.
type Kind uint8

const (
	None Kind = iota // it went well
	CompileError
	LoadError
	SchemaMismatch
	Timeout
	MemoryPressure
	RuntimeError
	NumericDrift
	ProcessKilled
	CacheCorrupt
	Invalid
	Unsupported
	LimitExceeded
	StateUnusable
	Closed
	Cancelled
	kinds
)

var kindNames = [kinds]string{"", "CompileError", "LoadError", "SchemaMismatch", "Timeout", "MemoryPressure", "RuntimeError",
	"NumericDrift", "ProcessKilled", "CacheCorrupt", "Invalid", "Unsupported", "LimitExceeded", "StateUnusable", "Closed", "Cancelled"}

func (k Kind) String() string { return kindNames[k] }

// kindOf is in the order in which an error of several kinds is judged: the
// caller's doing before the backend's, as fault.ByCaller has it.
var kindOf = []struct {
	err  error
	kind Kind
}{
	{context.Canceled, Cancelled},
	{fault.Schema, SchemaMismatch},
	{fault.Invalid, Invalid},
	{fault.Unsupported, Unsupported},
	{fault.Limit, LimitExceeded},
	{fault.State, StateUnusable},
	{fault.Closed, Closed},
	{fault.Killed, ProcessKilled},
	{fault.Memory, MemoryPressure},
	{fault.Drift, NumericDrift},
	{fault.Cache, CacheCorrupt},
	{fault.Compile, CompileError},
	{fault.Load, LoadError},
	{fault.Timeout, Timeout},
	{context.DeadlineExceeded, Timeout},
	{fault.Runtime, RuntimeError},
}

// KindOf sorts an error; one of no kind is a RuntimeError.
func KindOf(err error) Kind {
	if err == nil {
		return None
	}
	for _, k := range kindOf {
		if errors.Is(err, k.err) {
			return k.kind
		}
	}
	return RuntimeError
}

// byCaller reports whether failures of this kind are left out of success rates.
func (k Kind) byCaller() bool { return k == SchemaMismatch || k >= Invalid }
