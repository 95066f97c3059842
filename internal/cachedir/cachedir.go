// Package cachedir names the folder of this module's files that can be made again.
package cachedir

import (
	"fmt"
	"os"
	"path/filepath"

	"coreml/internal/fault"
)

// Path is a name in the folder, for one user. It need not exist. Where the
// environment names no such folder (without HOME) the error is fault.Load.
func Path(elem ...string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cachedir: %w: %w", fault.Load, err)
	}
	return filepath.Join(append([]string{base, "coreml"}, elem...)...), nil
}
