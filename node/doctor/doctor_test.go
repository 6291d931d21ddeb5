package doctor

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// aPi is a Raspberry Pi 4 in a street cabinet: nothing is quite right with it.
func aPi(t *testing.T, dir string) map[string]string {
	t.Helper()
	return with(aCard, map[string]string{
		"sys/dev/block/" + numbers(t, dir): cardBlock,
		"proc/self/mountinfo":              "27 1 " + numbers(t, dir) + " / / rw,noatime - ext4 /dev/root rw\n",
		"proc/device-tree/model":           "Raspberry Pi 4 Model B Rev 1.5\x00", "proc/sys/kernel/osrelease": "6.12.25+rpt-rpi-v8\n",
		"proc/meminfo": "MemTotal: 948280 kB\nMemAvailable: 700000 kB\n", "proc/swaps": "/dev/mmcblk0p3 partition 1 0 1\n",
		"proc/self/limits": "Max open files 1024 524288 files\n",
		"sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
	})
}

func TestAMachineIsExaminedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	e := newExam(Options{Root: string(machineOf(t, aPi(t, dir))), DataDir: dir, SyncCount: 5, Connections: 11000, MemoryLimit: 1 << 28,
		Listen: []Listener{{"mqtt", "127.0.0.1:0"}, {"kafka", "127.0.0.1:0"}}})
	e.synchronised = func() (bool, error) { return false, nil }
	r := e.run(t.Context())
	var checks []string
	for _, f := range r.Findings {
		checks = append(checks, f.Check)
	}
	for _, want := range []string{"data", "sync", "device", "file system", "space", "memory", "swap", "page size", "clock", "power", "open files", "mqtt", "kafka"} {
		if !slices.Contains(checks, want) {
			t.Errorf("no finding of %s in %v", want, checks)
		}
	}
	explained(t, r.Findings)
	if r.Machine.Model != "Raspberry Pi 4 Model B Rev 1.5" || r.Machine.Kernel != "6.12.25+rpt-rpi-v8" || r.Machine.Arch == "" || r.DataDir != dir {
		t.Errorf("%+v", r)
	}
	if f := find(t, r.Findings, "device", "SD card, SC32G"); f.Values["class"] != SDCard {
		t.Errorf("%+v", f)
	}
	find(t, r.Findings, "swap", "/dev/mmcblk0p3 on a card")
	find(t, r.Findings, "power", "at times")
	worst := r.Worst()
	if r.Level < Warn || worst[0].Level != r.Level || len(worst) != len(r.Findings) || worst[len(worst)-1].Level != OK {
		t.Errorf("level %v, worst %+v", r.Level, worst)
	}
	if sum := r.Count(OK) + r.Count(Note) + r.Count(Warn) + r.Count(Fail); sum != len(r.Findings) {
		t.Errorf("%d findings counted of %d", sum, len(r.Findings))
	}
	if names := left(t, dir); len(names) > 0 {
		t.Errorf("the examination left %v", names)
	}
}

func TestTheRealMachineIsExamined(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none", "yet")
	start := time.Now()
	r := Run(t.Context(), Options{DataDir: dir, SyncTime: 100 * time.Millisecond, Connections: 10})
	if len(r.Findings) < 8 || r.Machine.Arch == "" || time.Since(start) > time.Minute {
		t.Errorf("%+v", r)
	}
	explained(t, r.Findings)
}

func TestAReportCanBeReadByPrograms(t *testing.T) {
	r := &Report{DataDir: "/srv", Level: Warn, Machine: Machine{Arch: "arm64"}, Findings: []Finding{{Check: "sync", Level: Note, Measured: "m", Means: "x", Values: map[string]any{"count": 3}}}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"data_dir":"/srv"`, `"level":"warn"`, `"level":"note"`, `"check":"sync"`, `"measured":"m"`, `"means":"x"`, `"values":{"count":3}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || back.Level != Warn || back.Findings[0].Level != Note {
		t.Errorf("%+v, %v", back, err)
	}
	if err := new(Level).UnmarshalText([]byte("bad")); err == nil || Level(9).String() != "Level(9)" {
		t.Error("unknown levels")
	}
}
