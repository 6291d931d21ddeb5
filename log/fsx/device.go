package fsx

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Device names the block device that holds path.
type Device struct {
	Major, Minor uint32
	Name         string // kernel name such as "mmcblk0p2" or "sda1"; "" where the file system has no device of its own
}

// DeviceOf finds the block device below path through sysfs.
func DeviceOf(path string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Device{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	dev := uint64(st.Dev) //nolint:unconvert // the field's type differs between architectures
	d := Device{Major: unix.Major(dev), Minor: unix.Minor(dev)}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", d.Major, d.Minor))
	if err == nil {
		d.Name = filepath.Base(link)
	}
	return d, nil
}

// IsCard reports whether the device is an SD card or eMMC, where a sync takes milliseconds and every rewritten block
// wears the medium.
func (d Device) IsCard() bool { return strings.HasPrefix(d.Name, "mmcblk") }
