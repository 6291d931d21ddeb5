package doctor

import (
	"strings"
	"testing"
)

func TestMemoryIsComparedWithWhatTheConfigurationAllows(t *testing.T) {
	const mib = 1 << 20
	const pi = "MemTotal:         948280 kB\nMemFree:          100 kB\nMemAvailable:     700000 kB\n"
	for name, c := range map[string]struct {
		meminfo string
		opt     Options
		level   Level
		says    string
	}{
		"a Pi":              {pi, Options{MemoryLimit: 370 * mib, PromisedBytes: 128 * mib}, OK, "926 MiB, 684 MiB available, the node may use 370 MiB"},
		"limit unknown":     {pi, Options{PromisedBytes: 128 * mib}, OK, "684 MiB available"},
		"promises too much": {pi, Options{MemoryLimit: 100 * mib, PromisedBytes: 128 * mib}, Warn, "allow 128 MiB together"},
		"small":             {"MemTotal: 128000 kB\nMemAvailable: 90000 kB\n", Options{MemoryLimit: 50 * mib}, Warn, "That is little"},
		"busy":              {"MemTotal: 948280 kB\nMemAvailable: 90000 kB\n", Options{MemoryLimit: 370 * mib}, Note, "Other programs"},
		"nothing told":      {"MemTotal: lots kB\nMemTotal: 1 MB\n", Options{}, Note, "does not tell"},
		"nonsense":          {"MemTotal: 9223372036854775807 kB\n", Options{}, Note, "does not tell"},
	} {
		e := &exam{opt: c.opt, tree: machineOf(t, map[string]string{"proc/meminfo": c.meminfo})}
		all := e.checkMemory()
		if f := all[0]; f.Level != c.level || !strings.Contains(f.Measured+f.Means, c.says) {
			t.Errorf("%s: %+v, want %v with %q", name, f, c.level, c.says)
		}
		explained(t, all)
	}
}

func TestSwapOnACardIsAWarning(t *testing.T) {
	const head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	const mounts = "27 1 179:2 / / rw - ext4 /dev/root rw\n28 27 8:1 / /srv rw - ext4 /dev/sda1 rw\n"
	for name, c := range map[string]struct {
		swaps    string
		level    Level
		measured string
	}{
		"none":              {head, OK, "none"},
		"in memory":         {head + "/dev/zram0 partition\t1048572\t0\t100\n", OK, "/dev/zram0"},
		"partition of card": {head + "/dev/mmcblk0p3 partition\t1048572\t0\t-2\n", Warn, "/dev/mmcblk0p3 on a card"},
		"file on a card":    {head + "/var/swap file\t102396\t0\t-2\n", Warn, "/var/swap on a card"},
		"file on a disk":    {head + "/srv/my\\040swap file\t102396\t0\t-2\n", OK, "/srv/my swap"},
		"both":              {head + "/dev/zram0 partition 1 0 100\n/var/swap file\t102396\t0\t-2\n", Warn, "/var/swap on a card"},
	} {
		e := &exam{mounts: parseMounts(mounts), tree: machineOf(t, map[string]string{"proc/swaps": c.swaps,
			"sys/dev/block/179:2": "-> ../../block/mmcblk0p2", "sys/block/mmcblk0p2/size": "1"})}
		all := e.checkSwap()
		if all[0].Level != c.level || all[0].Measured != c.measured {
			t.Errorf("%s: %+v, want %v %q", name, all, c.level, c.measured)
		}
		explained(t, all)
	}
	if all := (&exam{tree: machineOf(t, nil)}).checkSwap(); all != nil {
		t.Errorf("of a machine that does not tell: %+v", all)
	}
}

func TestOpenFilesAreComparedWithTheConnectionsAllowed(t *testing.T) {
	const limits = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max cpu time              unlimited            unlimited            seconds   \n" +
		"Max open files            1024                 HARD               files     \n"
	for hard, want := range map[string]Level{"524288": OK, "unlimited": OK, "4096": Warn} {
		e := &exam{opt: Options{Connections: 11000}, held: 77, tree: machineOf(t, map[string]string{
			"proc/self/limits": strings.ReplaceAll(limits, "HARD", "16"), "proc/77/limits": strings.ReplaceAll(limits, "HARD", hard)})}
		all := e.checkOpenFiles()
		if len(all) != 1 || all[0].Level != want || !strings.Contains(all[0].Measured, hard+" for the running node, 11128 may be needed") {
			t.Errorf("%s: %+v, want %v", hard, all, want)
		}
		explained(t, all)
		e.held = 78 // which is gone
		if all := e.checkOpenFiles(); all[0].Level != Warn || !strings.Contains(all[0].Measured, "16 for a program started from here") {
			t.Errorf("of this program: %+v", all)
		}
	}
	for _, text := range []string{"", "Max open files", "Max open files 1 many files"} {
		e := &exam{tree: machineOf(t, map[string]string{"proc/self/limits": text})}
		if all := e.checkOpenFiles(); all != nil {
			t.Errorf("%q: %+v", text, all)
		}
	}
}
