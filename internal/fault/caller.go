package fault

import (
	"context"
	"errors"
)

// callers are the kinds that say nothing about whether a backend is well.
var callers = []error{Invalid, Unsupported, Limit, Schema, State, Closed, context.Canceled}

// ByCaller reports whether err is the caller's doing: bad input, misuse, limits
// that the caller set, or cancellation. Such a failure is never held against a
// backend. A passed deadline is held against it.
func ByCaller(err error) bool {
	for _, k := range callers {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}
