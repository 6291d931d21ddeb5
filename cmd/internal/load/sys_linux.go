package load

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ownCPU is the processor time this process has used so far, in seconds.
func ownCPU() float64 {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
}

func fdatasync(f *os.File) error {
	return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd())))
}

// processRSS is the resident memory of a process, in bytes.
func processRSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(rest)), "kB")), 10, 64)
			return kb * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no resident memory", pid)
}

// processCPU is the processor time a process has used so far, in seconds.
func processCPU(pid int) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Fields are counted from behind the command, which may hold anything in its parentheses: utime and stime are the
	// 14th and 15th of all.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("process %d: %d fields in its stat", pid, len(fields))
	}
	ticks := int64(0)
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return float64(ticks) / 100, nil // USER_HZ is 100 on every architecture Go runs on
}

// deviceWritten is how many bytes the block device below path has been told to write so far.
func deviceWritten(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	dev := uint64(st.Dev) //nolint:unconvert // the field's type differs between architectures
	stats, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, err
	}
	return writtenIn(string(stats), unix.Major(dev), unix.Minor(dev))
}

// writtenIn finds a device's line in the text of /proc/diskstats: the tenth field counts sectors of 512 bytes.
func writtenIn(stats string, major, minor uint32) (int64, error) {
	for line := range strings.Lines(stats) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != strconv.Itoa(int(major)) || f[1] != strconv.Itoa(int(minor)) {
			continue
		}
		sectors, err := strconv.ParseInt(f[9], 10, 64)
		return sectors * 512, err
	}
	return 0, fmt.Errorf("no statistics for device %d:%d", major, minor)
}

// syncAll asks the kernel to write everything it has put off.
func syncAll() { unix.Sync() }

// machineBusy is the processor time all processes together have used since the machine started, in seconds.
func machineBusy() (float64, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	ticks := int64(0)
	for i, f := range fields[1:9] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 { // idle, waiting for a disk
			ticks += n
		}
	}
	return float64(ticks) / 100, nil
}

// machine names the machine for a report.
func machine() string {
	model := ""
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "model name") {
				model = strings.TrimSpace(value) + ", "
				break
			}
		}
	}
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = ", Linux " + unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%s%d processors, %s/%s%s", model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, kernel)
}
