package isolate

import (
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// Machine names the build of the operating system and the chip, as far as they are known.
func Machine() (build, chip string) {
	v := windows.RtlGetVersion()
	return fmt.Sprintf("windows %d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber), os.Getenv("PROCESSOR_IDENTIFIER")
}
