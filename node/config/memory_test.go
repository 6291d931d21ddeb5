package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheMemoryLimitIsWhatIsWrittenOrAShare(t *testing.T) {
	c := Default()
	if got := c.MemoryLimit(); got < 0 || got > 1<<50 {
		t.Errorf("automatic limit %d", got)
	}
	c.Node.MemoryLimit = AutoSize(200 * MiB)
	if got := c.MemoryLimit(); got != int64(200*MiB) {
		t.Errorf("limit %d", got)
	}
}

func TestMemoryIsTheMachinesOrTheGroups(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"nothing known": {nil, 0},
		"machine":       {map[string]string{"proc/meminfo": "MemTotal:         512000 kB\nMemFree: 1 kB\n"}, 512000 << 10},
		"group of version 2, limited above": {map[string]string{"proc/meminfo": "MemTotal: 512000 kB\n",
			"proc/self/cgroup": "0::/system.slice/culvert.service\n", "sys/fs/cgroup/system.slice/culvert.service/memory.max": "max\n",
			"sys/fs/cgroup/system.slice/memory.max": "209715200\n"}, 200 << 20},
		"group of version 1": {map[string]string{"proc/meminfo": "MemTotal: 512000 kB\n", "proc/self/cgroup": "5:cpu:/x\n7:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "104857600\n"}, 100 << 20},
		"group without a limit": {map[string]string{"proc/meminfo": "MemTotal: 512000 kB\n", "proc/self/cgroup": "7:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 512000 << 10},
		"nonsense": {map[string]string{"proc/meminfo": "MemTotal: lots kB\nMemTotal: 9223372036854775807 kB\n", "proc/self/cgroup": "0::/../../..\nx\n"}, 0},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			path := filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := machineMemory(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
