package isolate

import "golang.org/x/sys/unix"

// Machine names the build of the operating system and the chip, as far as they are known.
func Machine() (build, chip string) {
	build, _ = unix.Sysctl("kern.osversion")
	chip, _ = unix.Sysctl("machdep.cpu.brand_string")
	return "darwin " + build, chip
}
