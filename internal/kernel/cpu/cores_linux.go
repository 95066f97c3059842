package cpu

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// cores counts the distinct sets of sibling threads among the processors of the affinity mask; 0: unknown.
func cores() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	siblings := map[string]bool{}
	for i := range 64 * len(set) {
		if !set.IsSet(i) {
			continue
		}
		list, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i))
		if err != nil {
			return 0
		}
		siblings[strings.TrimSpace(string(list))] = true
	}
	return len(siblings)
}
