package cachedir

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"coreml/internal/fault"
)

// places are the variables that os.UserCacheDir reads on all systems.
var places = []string{"XDG_CACHE_HOME", "HOME", "LocalAppData"}

func TestPath(t *testing.T) {
	for _, p := range places {
		t.Setenv(p, t.TempDir())
	}
	got, err := Path("a", "b")
	if err != nil || !filepath.IsAbs(got) || !strings.HasSuffix(got, filepath.Join("coreml", "a", "b")) {
		t.Errorf("%q, %v", got, err)
	}
	for _, p := range places {
		t.Setenv(p, "")
	}
	if got, err := Path("a"); !errors.Is(err, fault.Load) {
		t.Errorf("without HOME: %q, %v, want %v", got, err, fault.Load)
	}
}
