//go:build !unix && !windows

package isolate

import (
	"errors"
	"os"
)

func createShared(string) (*os.File, error)          { return nil, errors.ErrUnsupported }
func growShared(*os.File, int64, int64) error        { return errors.ErrUnsupported }
func mapShared(*os.File, int64, int) ([]byte, error) { return nil, errors.ErrUnsupported }
func unmapShared([]byte) error                       { return errors.ErrUnsupported }
