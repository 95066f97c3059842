// Package cpu says which kernels this machine can run.
package cpu

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// Level is an instruction set that kernels are written for, in increasing order of preference.
type Level int

// The levels. Generic is plain Go and runs everywhere.
const (
	Generic Level = iota
	NEON
	AVX2
	AVX512
)

var names = [...]string{Generic: "generic", NEON: "neon", AVX2: "avx2", AVX512: "avx512"}

func (l Level) String() string {
	if l < 0 || int(l) >= len(names) {
		return fmt.Sprintf("Level(%d)", int(l))
	}
	return names[l]
}

// Lanes is the number of float32 in a vector of the level. Generic kernels block by 8.
func (l Level) Lanes() int {
	switch l {
	case NEON:
		return 4
	case AVX512:
		return 16
	}
	return 8
}

// Variable is the environment variable that forces a level, for tests and comparison.
const Variable = "COREML_CPU"

// ByName is the level of that name.
func ByName(name string) (Level, error) {
	for l, n := range names {
		if strings.EqualFold(n, name) {
			return Level(l), nil
		}
	}
	return Generic, fmt.Errorf("cpu: level %q: want one of %s", name, strings.Join(names[:], ", "))
}

// Has reports whether this machine and this build can run kernels of the level.
func Has(l Level) bool {
	for _, have := range Levels() {
		if have == l {
			return true
		}
	}
	return false
}

// Levels lists what this machine and this build can run, Generic first, the best last.
func Levels() []Level { return append([]Level{Generic}, detect()...) }

// Best is the level to use: the best this machine has, or the one that COREML_CPU forces.
// A name that is unknown or not available here is ignored; Forced tells.
func Best() Level {
	l, _ := Forced()
	return l
}

// Forced is Best together with what is wrong with COREML_CPU, if anything.
var Forced = sync.OnceValues(func() (Level, error) { return choose(os.Getenv(Variable), Levels()) })

func choose(forced string, have []Level) (Level, error) {
	best := have[len(have)-1]
	if forced == "" {
		return best, nil
	}
	l, err := ByName(forced)
	if err != nil {
		return best, fmt.Errorf("%s: %w", Variable, err)
	}
	for _, h := range have {
		if h == l {
			return l, nil
		}
	}
	return best, fmt.Errorf("cpu: %s=%s: this machine has %v", Variable, forced, have)
}
