package admin

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Device is what was written below the file system since a [Meter] was made. Neither number is the truth about this
// process alone; together they bound it.
type Device struct {
	// ProcessBytes is what the kernel charges this process for, write_bytes of /proc/self/io. It counts pages when they
	// become dirty: it does not see the file system's own journal, and where the page cache uses large folios it counts
	// a whole folio for every small write into it, so it can be far too high. -1: unknown.
	ProcessBytes int64 `json:"process_bytes"`
	// DeviceBytes is what the block device that holds the data directory wrote, whoever asked for it, the file system's
	// journal included, from its stat file. On a machine that does little else it is the number that wears a card out.
	// -1: unknown, as on network, memory and overlay file systems.
	DeviceBytes int64 `json:"device_bytes"`
	// Name of the block device, like mmcblk0p2; empty when unknown.
	Name string `json:"name,omitempty"`
}

// Meter reads how much was written to the disk. It may be used by any number of goroutines.
type Meter struct {
	proc, stat string // paths of files in the kernel's file systems
	name       string
	start      Device
}

// NewMeter makes a meter for the device that holds dir, counting from now.
func NewMeter(dir string) *Meter {
	stat, name := deviceOf(dir, "/sys")
	return newMeter("/proc/self/io", stat, name)
}

func newMeter(proc, stat, name string) *Meter {
	m := &Meter{proc: proc, stat: stat, name: name}
	m.start = m.absolute()
	return m
}

// deviceOf returns the stat file and the name of the block device that holds dir, or nothing.
func deviceOf(dir, sys string) (stat, name string) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", ""
	}
	dev := uint64(st.Dev) //nolint:unconvert // its type differs between architectures
	link := filepath.Join(sys, "dev", "block", fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)))
	target, err := os.Readlink(link)
	if err != nil {
		return "", ""
	}
	return filepath.Join(link, "stat"), filepath.Base(target)
}

// Read returns what was written since the meter was made.
func (m *Meter) Read() Device {
	now := m.absolute()
	now.ProcessBytes = since(m.start.ProcessBytes, now.ProcessBytes)
	now.DeviceBytes = since(m.start.DeviceBytes, now.DeviceBytes)
	return now
}

func since(start, now int64) int64 {
	if start < 0 || now < 0 {
		return -1
	}
	return max(0, now-start)
}

func (m *Meter) absolute() Device {
	d := Device{ProcessBytes: -1, DeviceBytes: -1, Name: m.name}
	if n, err := processWritten(m.proc); err == nil {
		d.ProcessBytes = n
	}
	if m.stat != "" {
		if n, err := deviceWritten(m.stat); err == nil {
			d.DeviceBytes = n
		}
	}
	return d
}

var errForm = errors.New("admin: file of the kernel has an unknown form")

// processWritten reads write_bytes of a /proc/PID/io file: proc_pid_io(5).
func processWritten(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("write_bytes:")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, errForm
}

// deviceWritten reads the sectors written, of 512 bytes whatever the device, from a block device's stat file:
// Documentation/block/stat.rst of the kernel.
func deviceWritten(path string) (int64, error) {
	const written, sector = 6, 512
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) <= written {
		return 0, errForm
	}
	n, err := strconv.ParseInt(string(fields[written]), 10, 64)
	if err != nil || n < 0 || n > (1<<63-1)/sector {
		return 0, errForm
	}
	return n * sector, nil
}

// Register adds the meter's two counters to reg, those that can be read.
func (m *Meter) Register(reg prometheus.Registerer) {
	counter := func(name, help string, read func(Device) int64) {
		if read(m.start) < 0 {
			return
		}
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(max(0, read(m.Read()))) }))
	}
	counter("culvert_process_written_bytes_total",
		"Bytes the kernel charges this process with writing to storage; too high where the page cache uses large folios.",
		func(d Device) int64 { return d.ProcessBytes })
	counter("culvert_device_written_bytes_total",
		"Bytes written by the whole block device that holds the data directory, by any process, since this one started.",
		func(d Device) int64 { return d.DeviceBytes })
}
