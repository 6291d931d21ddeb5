package doctor

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-mq/culvert/log/fsx"
)

// Class is a kind of storage.
type Class string

// Classes of storage.
const (
	Unknown  Class = "unknown"
	SDCard   Class = "SD card"
	EMMC     Class = "eMMC"
	MMC      Class = "SD card or eMMC"
	USBStick Class = "USB stick"
	USBDisk  Class = "USB disk"
	SSD      Class = "SSD"
	HardDisk Class = "hard disk"
	Virtual  Class = "virtual disk"
	Flash    Class = "raw flash"
	Loop     Class = "file of another file system"
	Memory   Class = "memory"
	Remote   Class = "network"
)

// Medium is what the kernel tells about the storage below a directory.
type Medium struct {
	Class   Class
	Device  string // that holds the file system: mmcblk0p2
	Disk    string // the whole: mmcblk0
	Model   string // its name, where it has one
	Made    string // month and year of making, of cards
	Life    Life
	Written int64 // bytes written to the file system since it was made, which ext4 counts; -1: unknown
	Errors  int64 // that ext4 has recorded; -1: unknown

	Rotational, Removable bool
	WriteCache            string // "write back", "write through", or unknown
}

// Life is what eMMC registers about its wear, of JEDEC standard JESD84-B50 and later. Zero values: not told.
type Life struct {
	A, B int // DEVICE_LIFE_TIME_EST_TYP_A, B: 1 for up to 10 % used, 2 for up to 20 %, ..., 11 for more than was meant
	EOL  int // PRE_EOL_INFO: 1 normal, 2 more than 80 % of the spare blocks used, 3 more than 90 %
}

// Used returns the share of the life that is used at most, of 1, and whether the medium tells. More than was meant is 1.1.
func (l Life) Used() (float64, bool) {
	worst := max(l.A, l.B)
	return float64(worst) / 10, worst > 0
}

// Card reports whether the medium is a card or stick, which wears with every write and stalls now and then.
func (m Medium) Card() bool { return slices.Contains([]Class{SDCard, EMMC, MMC, USBStick}, m.Class) }

// FindMedium asks the kernel what lies below a directory. root is where /proc and /sys are found, "/" but for tests.
func FindMedium(root, dir string) Medium {
	t := tree(root)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return findMedium(t, readMounts(t), dir)
}

func findMedium(t tree, mounts []mount, dir string) Medium {
	m := Medium{Class: Unknown, Written: -1, Errors: -1}
	mnt, _ := mountOf(mounts, dir)
	switch {
	case slices.Contains(inMemory, mnt.fstype):
		m.Class = Memory
		return m
	case slices.Contains(network, mnt.fstype):
		m.Class = Remote
		return m
	case mnt.fstype == "ubifs" || mnt.fstype == "jffs2":
		m.Class = Flash
		return m
	}
	block := blockDir(t, mnt, dir)
	if block == "" {
		return m
	}
	m.Device = filepath.Base(block)
	if fs := filepath.Join("sys/fs/ext4", m.Device); t.exists(fs) {
		if kib, ok := t.number(filepath.Join(fs, "lifetime_write_kbytes")); ok && kib >= 0 && kib < 1<<50 {
			m.Written = kib << 10
		}
		if n, ok := t.number(filepath.Join(fs, "errors_count")); ok && n >= 0 {
			m.Errors = n
		}
	}
	m.describe(t, diskDir(t, block))
	return m
}

// blockDir returns the directory in /sys of the block device that holds dir, "" if there is none.
func blockDir(t tree, mnt mount, dir string) string {
	if d, err := fsx.DeviceOf(dir); err == nil {
		number := strconv.Itoa(int(d.Major)) + ":" + strconv.Itoa(int(d.Minor))
		if block := t.resolve(filepath.Join("sys/dev/block", number)); block != "" {
			return block
		}
	}
	// btrfs and others have device numbers of their own; the mount names the device.
	if name, ok := strings.CutPrefix(mnt.source, "/dev/"); ok && !strings.Contains(name, "/") {
		return t.resolve(filepath.Join("sys/class/block", name))
	}
	return ""
}

// diskDir returns the directory of the whole disk below a block device: of a partition its disk, of an encrypted or
// logical volume the first of those it lies on.
func diskDir(t tree, block string) string {
	const deepest = 8
	for range deepest {
		if t.exists(filepath.Join(block, "partition")) {
			block = filepath.Dir(block)
		}
		slaves := t.names(filepath.Join(block, "slaves"))
		if len(slaves) == 0 {
			break
		}
		below := t.resolve(filepath.Join(block, "slaves", slaves[0]))
		if below == "" {
			break
		}
		block = below
	}
	return block
}

func (m *Medium) describe(t tree, disk string) {
	get := func(name string) string { return t.text(filepath.Join(disk, name)) }
	m.Disk = filepath.Base(disk)
	m.Rotational, m.Removable = get("queue/rotational") == "1", get("removable") == "1"
	m.WriteCache = get("queue/write_cache")
	m.Model = get("device/model")
	is := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(m.Disk, p) })
	}
	switch usb := strings.Contains(disk, "/usb"); {
	case is("mmcblk"):
		m.Class = MMC
		switch get("device/type") {
		case "SD":
			m.Class = SDCard
		case "MMC":
			m.Class = EMMC
			m.Life = parseLife(get("device/life_time"), get("device/pre_eol_info"))
		}
		m.Model, m.Made = get("device/name"), get("device/date")
	case is("zram", "ram", "brd"):
		m.Class = Memory
	case is("loop"):
		m.Class, m.Model = Loop, get("loop/backing_file")
	case is("nbd", "rbd"):
		m.Class = Remote
	case is("vd", "xvd"):
		m.Class, m.Model = Virtual, ""
	case usb && m.Removable:
		m.Class = USBStick
	case usb:
		m.Class = USBDisk
	case m.Rotational:
		m.Class = HardDisk
	case is("nvme", "sd"):
		m.Class = SSD
	}
}

// parseLife reads the two files of an eMMC: "0x01 0x02" and "0x01". What is out of range is unknown.
func parseLife(lifeTime, eol string) Life {
	register := func(text string, most int64) int {
		n, err := strconv.ParseInt(text, 0, 32)
		if err != nil || n < 0 || n > most {
			return 0
		}
		return int(n)
	}
	l := Life{EOL: register(eol, 3)}
	if fields := strings.Fields(lifeTime); len(fields) == 2 {
		l.A, l.B = register(fields[0], 11), register(fields[1], 11)
	}
	return l
}
