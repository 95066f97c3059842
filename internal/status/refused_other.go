//go:build !windows

package status

import "syscall"

// refused is what connecting says where nobody listens.
const refused = syscall.ECONNREFUSED
