package isolate

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine names the build of the operating system and the chip, as far as they are known.
func Machine() (build, chip string) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		build = "linux " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Version[:])
	}
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name", "CPU implementer", "CPU part":
			chip += strings.TrimSpace(value) + " "
		case "processor":
			if chip != "" { // those of the first one are known
				return build, strings.TrimSpace(chip)
			}
		}
	}
	return build, strings.TrimSpace(chip)
}
