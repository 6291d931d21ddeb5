package config

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// autoMemoryPercent is the share of the memory that memory_limit = "auto" takes: the rest is for the page cache, which
// serves reads from segments, and for the machine.
const autoMemoryPercent = 40

// MemoryLimit returns the bytes of memory that the process should stay within: what the configuration says, or for
// "auto" a share of the memory of the machine, or of the control group this process is in when that has less. 0: the
// machine does not tell. The caller gives it to [runtime/debug.SetMemoryLimit], unless it is automatic and GOMEMLIMIT is
// set.
func (c *Config) MemoryLimit() int64 {
	if !c.Node.MemoryLimit.IsAuto() {
		return int64(c.Node.MemoryLimit)
	}
	return machineMemory("/") / 100 * autoMemoryPercent
}

// machineMemory returns the bytes of memory this process may count on: the machine's, or its control group's when that
// is less. 0: unknown. root is where /proc and /sys are found.
func machineMemory(root string) int64 {
	total := int64(math.MaxInt64)
	if text, err := os.ReadFile(filepath.Join(root, "proc/meminfo")); err == nil {
		for line := range bytes.Lines(text) {
			fields := strings.Fields(string(line))
			if len(fields) == 3 && fields[0] == "MemTotal:" {
				if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil && kib < math.MaxInt64>>10 {
					total = kib << 10
				}
			}
		}
	}
	if total = min(total, groupMemory(root)); total == math.MaxInt64 {
		return 0
	}
	return total
}

// groupMemory returns the least limit of the control groups this process is in (cgroups(7)): in version 2 of each group
// up to the root, in version 1 of the memory controller's own.
func groupMemory(root string) int64 {
	least := int64(math.MaxInt64)
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return least
	}
	limit := func(path string) {
		value, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", path))
		if err != nil {
			return
		}
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err == nil && n > 0 {
			least = min(least, n)
		}
	}
	for line := range bytes.Lines(text) {
		parts := strings.SplitN(strings.TrimSpace(string(line)), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch group := filepath.Clean("/" + parts[2]); {
		case parts[0] == "0" && parts[1] == "":
			for ; ; group = filepath.Dir(group) {
				limit(filepath.Join(group, "memory.max"))
				if group == "/" {
					break
				}
			}
		case parts[1] == "memory":
			limit(filepath.Join("memory", group, "memory.limit_in_bytes"))
			limit("memory/memory.limit_in_bytes") // a container sees its own group as the root
		}
	}
	return least
}
