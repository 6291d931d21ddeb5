package doctor

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/log/fsx"
)

// numbers returns the device numbers that the kernel gives a directory of a test, under which a tree can have any device.
func numbers(t *testing.T, dir string) string {
	t.Helper()
	d, err := fsx.DeviceOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", d.Major, d.Minor)
}

const (
	mmc  = "sys/devices/platform/mmc0/block/mmcblk0/"
	disk = "sys/devices/pci/usb1/1-2/block/sda/"
)

// aCard is a Raspberry Pi's card with a second partition of ext4.
var aCard = map[string]string{
	mmc + "mmcblk0p2/partition": "2\n", mmc + "queue/rotational": "0\n", mmc + "removable": "0\n", mmc + "queue/write_cache": "write through\n",
	mmc + "device/type": "SD\n", mmc + "device/name": "SC32G\n", mmc + "device/date": "06/2019\n",
	"sys/fs/ext4/mmcblk0p2/lifetime_write_kbytes": "1048576\n", "sys/fs/ext4/mmcblk0p2/errors_count": "0\n",
}

const cardBlock = "-> ../../devices/platform/mmc0/block/mmcblk0/mmcblk0p2"

func with(base map[string]string, more map[string]string) map[string]string {
	all := maps.Clone(base)
	maps.Copy(all, more)
	return all
}

func TestAMediumIsToldByWhatTheKernelKnows(t *testing.T) {
	dir := t.TempDir()
	link := "sys/dev/block/" + numbers(t, dir)
	for name, c := range map[string]struct {
		files  map[string]string
		mounts string
		want   Medium
	}{
		"nothing": {nil, "", Medium{Class: Unknown, Written: -1, Errors: -1}},
		"card": {with(aCard, map[string]string{link: cardBlock}), "", Medium{Class: SDCard, Device: "mmcblk0p2", Disk: "mmcblk0", Model: "SC32G", Made: "06/2019",
			Written: 1 << 30, WriteCache: "write through"}},
		"eMMC": {with(aCard, map[string]string{link: cardBlock, mmc + "device/type": "MMC\n", mmc + "device/life_time": "0x01 0x03\n", mmc + "device/pre_eol_info": "0x02\n"}), "",
			Medium{Class: EMMC, Device: "mmcblk0p2", Disk: "mmcblk0", Model: "SC32G", Made: "06/2019", Written: 1 << 30, WriteCache: "write through", Life: Life{1, 3, 2}}},
		"USB stick": {map[string]string{link: "-> ../../devices/pci/usb1/1-2/block/sda", disk + "removable": "1\n", disk + "queue/rotational": "1\n", disk + "device/model": "Cruzer  \n"}, "",
			Medium{Class: USBStick, Device: "sda", Disk: "sda", Model: "Cruzer", Written: -1, Errors: -1, Rotational: true, Removable: true}},
		"USB disk": {map[string]string{link: "-> ../../devices/pci/usb1/1-2/block/sda", disk + "removable": "0\n"}, "",
			Medium{Class: USBDisk, Device: "sda", Disk: "sda", Written: -1, Errors: -1}},
		"hard disk": {map[string]string{link: "-> ../../block/sdb", "sys/block/sdb/queue/rotational": "1"}, "",
			Medium{Class: HardDisk, Device: "sdb", Disk: "sdb", Written: -1, Errors: -1, Rotational: true}},
		"NVMe":         {map[string]string{link: "-> ../../block/nvme0n1", "sys/block/nvme0n1/queue/rotational": "0"}, "", Medium{Class: SSD, Device: "nvme0n1", Disk: "nvme0n1", Written: -1, Errors: -1}},
		"virtual disk": {map[string]string{link: "-> ../../block/vda", "sys/block/vda/queue/rotational": "1"}, "", Medium{Class: Virtual, Device: "vda", Disk: "vda", Written: -1, Errors: -1, Rotational: true}},
		"encrypted volume on a card": {with(aCard, map[string]string{link: "-> ../../block/dm-1", "sys/block/dm-1/slaves/dm-0": "-> ../../dm-0",
			"sys/block/dm-0/slaves/mmcblk0p2": "-> ../../../devices/platform/mmc0/block/mmcblk0/mmcblk0p2"}), "",
			Medium{Class: SDCard, Device: "dm-1", Disk: "mmcblk0", Model: "SC32G", Made: "06/2019", Written: -1, Errors: -1, WriteCache: "write through"}},
		"volume on itself": {map[string]string{link: "-> ../../block/dm-0", "sys/block/dm-0/slaves/dm-0": "-> ../../dm-0"}, "",
			Medium{Class: Unknown, Device: "dm-0", Disk: "dm-0", Written: -1, Errors: -1}},
		"btrfs, which has numbers of its own": {with(aCard, map[string]string{"sys/class/block/mmcblk0p2": "-> ../../devices/platform/mmc0/block/mmcblk0/mmcblk0p2"}),
			"30 1 0:45 /root / rw,relatime shared:1 - btrfs /dev/mmcblk0p2 rw,ssd,subvol=/root\n",
			Medium{Class: SDCard, Device: "mmcblk0p2", Disk: "mmcblk0", Model: "SC32G", Made: "06/2019", Written: 1 << 30, WriteCache: "write through"}},
		"memory":    {nil, "30 1 0:45 / / rw - tmpfs tmpfs rw,size=1k\n", Medium{Class: Memory, Written: -1, Errors: -1}},
		"network":   {nil, "30 1 0:45 / / rw - nfs4 server:/export rw,vers=4.2\n", Medium{Class: Remote, Written: -1, Errors: -1}},
		"raw flash": {nil, "30 1 0:45 / / rw - ubifs ubi0:rootfs rw\n", Medium{Class: Flash, Written: -1, Errors: -1}},
	} {
		files := with(map[string]string{"proc/self/mountinfo": c.mounts}, c.files)
		if got := FindMedium(string(machineOf(t, files)), dir); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestTheRegistersOfAnEMMCAreNotTrusted(t *testing.T) {
	for _, c := range []struct {
		life, eol string
		want      Life
	}{
		{"0x01 0x0b", "0x01", Life{1, 11, 1}}, {"0x00 0x00", "0x00", Life{}}, {"", "", Life{}}, {"0x01", "x", Life{}},
		{"0xff 0x02", "0x09", Life{0, 2, 0}}, {"-1 99999999999", "-3", Life{}},
	} {
		if got := parseLife(c.life, c.eol); got != c.want {
			t.Errorf("%q, %q: %+v, want %+v", c.life, c.eol, got, c.want)
		}
	}
}

func TestWearIsToldBeforeTheEnd(t *testing.T) {
	for _, c := range []struct {
		life     Life
		level    Level
		measured string
	}{
		{Life{}, Note, "does not tell"}, {Life{1, 2, 1}, OK, "up to 20 % of its life used"}, {Life{6, 1, 1}, Note, "up to 60 %"},
		{Life{1, 9, 1}, Warn, "up to 90 %"}, {Life{1, 1, 2}, Warn, "more than 80 % of its spare blocks used"},
		{Life{1, 1, 3}, Fail, "more than 90 % of its spare blocks used"}, {Life{11, 1, 1}, Fail, "used up"}, {Life{0, 0, 1}, OK, "life unknown"},
	} {
		f := judgeLife(c.life)
		if f.Level != c.level || !strings.Contains(f.Measured, c.measured) {
			t.Errorf("%+v: %+v, want %v with %q", c.life, f, c.level, c.measured)
		}
		explained(t, []Finding{f})
	}
}

func TestEveryClassOfDeviceIsExplained(t *testing.T) {
	for class, level := range map[Class]Level{
		SDCard: Note, MMC: Note, EMMC: OK, USBStick: Warn, USBDisk: Note, SSD: OK, HardDisk: Note, Virtual: Note, Loop: Note, Flash: Note,
		Memory: Fail, Remote: Warn, Unknown: Note,
	} {
		e := &exam{medium: Medium{Class: class, Device: "x", Model: "M", Made: "01/2020", Written: 1 << 40, Errors: -1}}
		all := e.checkDevice()
		if all[0].Level != level || !strings.Contains(all[0].Measured, "M, x, made 01/2020, 1.0 TiB written") {
			t.Errorf("%s: %+v, want %v", class, all[0], level)
		}
		explained(t, all)
	}
}
