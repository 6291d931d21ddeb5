package doctor

import (
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
)

// smallMemory is less than a node, a kernel and a page cache live well in.
const smallMemory = 200 << 20

// meminfo returns a field of /proc/meminfo in bytes: proc_meminfo(5).
func meminfo(text, field string) (int64, bool) {
	for line := range strings.Lines(text) {
		parts := strings.Fields(line)
		if len(parts) == 3 && parts[0] == field+":" && parts[2] == "kB" {
			kib, err := strconv.ParseInt(parts[1], 10, 64)
			return kib << 10, err == nil && kib >= 0 && kib < math.MaxInt64>>10
		}
	}
	return 0, false
}

func (e *exam) checkMemory() []Finding {
	const check = "memory"
	text, _ := e.tree.read("proc/meminfo")
	total, ok := meminfo(text, "MemTotal")
	if !ok {
		return []Finding{{Check: check, Level: Note, Measured: "unknown", Means: "/proc/meminfo does not tell."}}
	}
	available, _ := meminfo(text, "MemAvailable")
	f := Finding{Check: check, Measured: fmt.Sprintf("%s, %s available", size(total), size(available)),
		Means:  "The limits of the configuration fit, and the page cache keeps what is read often.",
		Values: map[string]any{"total_bytes": total, "available_bytes": available, "limit_bytes": e.opt.MemoryLimit, "promised_bytes": e.opt.PromisedBytes}}
	limit := e.opt.MemoryLimit
	if limit > 0 {
		f.Measured += fmt.Sprintf(", the node may use %s", size(limit))
	}
	switch {
	case limit > 0 && e.opt.PromisedBytes > limit:
		f.Level = Warn
		f.Means = fmt.Sprintf("The limits of the configuration allow %s together, more than the node is to use: under full load the garbage "+
			"collector works harder and the node becomes slow.", size(e.opt.PromisedBytes))
		f.Do = "Lower kafka.max_inflight_bytes and the mqtt.max_..._bytes, or raise node.memory_limit."
	case total < smallMemory:
		f.Level = Warn
		f.Means = "That is little for a kernel, a node and a cache together."
		f.Do = "Lower node.memory_limit and mqtt.max_connections, and run little else."
	case e.held == nobody && limit > available && available > 0:
		f.Level = Note
		f.Means = "Other programs have so much that the node could not use what it may."
		f.Do = "See what takes it: ps aux --sort -rss | head"
	}
	return []Finding{f}
}

// checkSwap looks whether memory is written to a medium that wears.
func (e *exam) checkSwap() []Finding {
	const check = "swap"
	text, ok := e.tree.read("proc/swaps") // proc_swaps(5): Filename Type Size Used Priority, sizes in KiB
	if !ok {
		return nil
	}
	var names, worn []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 5 || fields[0] == "Filename" {
			continue
		}
		name := printable(unescape(fields[0]))
		names = append(names, name)
		on := filepath.Base(name)
		if fields[1] == "file" {
			m, _ := mountOf(e.mounts, name)
			on = e.blockName(m)
		}
		if strings.HasPrefix(on, "mmcblk") {
			worn = append(worn, name)
		}
	}
	switch {
	case len(worn) > 0:
		return []Finding{{Check: check, Level: Warn, Measured: strings.Join(worn, ", ") + " on a card",
			Means: "When memory runs short, the kernel writes it to the card: that wears it, and makes every sync wait.",
			Do:    "Turn it off (on Raspberry Pi OS: dphys-swapfile swapoff, and disable that service), or use zram.", Values: map[string]any{"on_card": worn}}}
	case len(names) > 0:
		return []Finding{{Check: check, Measured: strings.Join(names, ", "), Means: "It is not on a card, so nothing wears by it."}}
	}
	return []Finding{{Check: check, Measured: "none", Means: "Nothing wears by it; when memory runs out the kernel ends a process."}}
}

// blockName returns the kernel's name of the device that a mount is on.
func (e *exam) blockName(m mount) string {
	if block := e.tree.resolve(fmt.Sprintf("sys/dev/block/%d:%d", m.major, m.minor)); block != "" {
		return filepath.Base(block)
	}
	return filepath.Base(m.source)
}
