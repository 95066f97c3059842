//go:build !unix && !windows

package isolate

import (
	"errors"
	"os"
	"os/exec"
)

func command(...*os.File) (*exec.Cmd, error) { return nil, errors.ErrUnsupported }
func handles(...*os.File) string             { return "" }
func inherit(uintptr) *os.File               { return nil }
func limitData(int64)                        {}
func offerToKill()                           {}
