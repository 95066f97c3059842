package coreml_test

import (
	"context"
	"errors"
	"hash/fnv"
	"path/filepath"
	"sync/atomic"
	"testing"

	"coreml"
	"coreml/internal/verify"
)

// everyOther fails the second call, the fourth, and so on, before or after it has been made.
func everyOther(after bool) func(coreml.Predictor) coreml.Predictor {
	var n atomic.Int64
	return func(next coreml.Predictor) coreml.Predictor {
		return func(ctx context.Context, in coreml.Features) (coreml.Features, error) {
			bad := n.Add(1)%2 == 0
			if bad && !after {
				return nil, errors.New("every other call fails")
			}
			out, err := next(ctx, in)
			if bad && err == nil {
				err = errors.New("every other call fails, after it was made")
			}
			return out, err
		}
	}
}

// TestConformanceGuarded runs a sample of the recorded cases in child processes and
// with backends that fail, so that every other answer comes from who stands in:
// outputs and states have to be the same.
func TestConformanceGuarded(t *testing.T) {
	set, err := verify.Find(filepath.Join("testdata", "cases"))
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	never := coreml.Breaker{MinSuccess: -1, MaxViolations: -1, MaxFootprint: -1, MaxDrifts: -1}
	for _, w := range []struct {
		name string
		one  uint32 // of so many cases, but every one with states
		open coreml.Options
	}{
		{"in a child", 40, coreml.Options{Isolate: &coreml.Isolation{}, Fallback: &coreml.Fallback{}}},
		{"every other call fails", 4, coreml.Options{Fallback: &coreml.Fallback{}, Breaker: never, Wrap: everyOther(false)}},
		{"every other call fails late", 4, coreml.Options{Fallback: &coreml.Fallback{Checkpoint: 3}, Breaker: never, Wrap: everyOther(true)}},
	} {
		t.Run(w.name, func(t *testing.T) {
			w.open.Threads = 1
			keep := func(c *verify.Case) bool {
				h := fnv.New32a()
				h.Write([]byte(c.ID))
				return c.ModelType == "mlProgram" && c.Expect == "" && (h.Sum32()%w.one == 0 || c.Calls[0].State != nil)
			}
			judge(t, verify.Run(context.Background(), set.Cases, verify.Options{Open: w.open, Keep: keep}))
		})
	}
}
