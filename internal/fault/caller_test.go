package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestByCaller(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{Invalid, true},
		{fmt.Errorf("engine: input %q: %w", "x", Schema), true},
		{As(Runtime, fmt.Errorf("run: %w", context.Canceled)), true},
		{fmt.Errorf("run: %w", context.DeadlineExceeded), false},
		{As(Killed, errors.New("signal 9")), false},
		{errors.New("of no kind"), false},
	} {
		if got := ByCaller(c.err); got != c.want {
			t.Errorf("ByCaller(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	held := []error{Timeout, Compile, Load, Memory, Runtime, Drift, Killed, Cache}
	for _, k := range held {
		if ByCaller(k) {
			t.Errorf("%v is not held against the backend", k)
		}
	}
	if len(held)+len(callers)-1 != len(Kinds) {
		t.Errorf("%d kinds are sorted, want all %d", len(held)+len(callers)-1, len(Kinds))
	}
}
