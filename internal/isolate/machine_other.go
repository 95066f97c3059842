//go:build !linux && !darwin && !windows

package isolate

import "runtime"

// Machine names the operating system and the architecture; more is not known here.
func Machine() (build, chip string) { return runtime.GOOS, runtime.GOARCH }
