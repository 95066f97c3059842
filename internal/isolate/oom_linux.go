package isolate

import (
	"os"
	"strconv"
	"strings"
)

// oomKills counts the processes that the kernel has killed for want of memory in
// this process's group, or on the machine; -1 if it does not say.
func oomKills() int64 {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		switch {
		case id == "0":
			if n := counter("/sys/fs/cgroup" + group + "/memory.events"); n >= 0 {
				return n
			}
		case controllers == "memory":
			for _, dir := range []string{group, ""} { // inside a container the group is the root
				if n := counter("/sys/fs/cgroup/memory" + dir + "/memory.oom_control"); n >= 0 {
					return n
				}
			}
		}
	}
	return counter("/proc/vmstat")
}

// counter finds the line "oom_kill n" in a file.
func counter(name string) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}
