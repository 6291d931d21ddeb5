package doctor

import (
	"strings"
	"testing"
)

const aMountinfo = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 179:2 / / rw,noatime shared:1 master:2 - ext4 /dev/root rw,errors=remount-ro
28 27 0:24 / /run rw,nosuid - tmpfs tmpfs rw,size=1k
29 27 8:1 / /srv/my\040data rw,relatime - vfat /dev/sda1 rw,errors=remount-ro
30 27 8:2 / /srv/twice rw,relatime - ext4 /dev/sda2 rw
31 27 0:50 / /srv/twice rw,relatime - xfs /dev/sda3 rw
no line
32 27 x:y / /bad rw - ext4 /dev/sdb rw
33 27 8:3
`

func TestTheMountOfAPathIsTheDeepestAndTopmost(t *testing.T) {
	mounts := parseMounts(aMountinfo)
	if len(mounts) != 6 {
		t.Fatalf("%d mounts: %+v", len(mounts), mounts)
	}
	for path, want := range map[string]string{
		"/": "ext4", "/var/lib/culvert": "ext4", "/run": "tmpfs", "/run/x": "tmpfs", "/runs": "ext4", "/srv/my data/x": "vfat", "/srv/twice/x": "xfs", "/bad": "ext4",
	} {
		if m, ok := mountOf(mounts, path); !ok || m.fstype != want {
			t.Errorf("%s: %+v, want %s", path, m, want)
		}
	}
	if _, ok := mountOf(mounts[2:], "/var"); ok {
		t.Error("a mount was found where there is none")
	}
	if m := mounts[1]; m.major != 179 || m.minor != 2 || m.source != "/dev/root" || !m.has("noatime") || m.value("errors") != "remount-ro" {
		t.Errorf("%+v", m)
	}
}

func TestFileSystemsAndTheirOptionsAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		line     string
		level    Level
		measured string // of the worst
	}{
		"ext4 as it should be":  {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,errors=remount-ro,data=ordered", OK, "ext4 on /, rw,noatime,errors=remount-ro,data=ordered"},
		"read-only":             {"27 1 179:2 / / ro,noatime - ext4 /dev/root rw", Fail, "read-only"},
		"read-only below":       {"27 1 179:2 / / rw,noatime - ext4 /dev/root ro", Fail, "read-only"},
		"nobarrier":             {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,nobarrier", Fail, "nobarrier"},
		"barrier=0":             {"27 1 179:2 / / rw,noatime - ext3 /dev/root rw,barrier=0", Fail, "barrier=0"},
		"f2fs without barriers": {"27 1 179:2 / / rw,noatime - f2fs /dev/root rw,fsync_mode=nobarrier", Fail, "fsync_mode=nobarrier"},
		"writeback":             {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,data=writeback", Note, "data=writeback"},
		"data in the journal":   {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,data=journal", Note, "data=journal"},
		"goes on after damage":  {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,errors=continue", Warn, "errors=continue"},
		"stops after damage":    {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,errors=panic", Note, "errors=panic"},
		"times of reading":      {"27 1 179:2 / / rw - ext4 /dev/root rw", Note, "strictatime"},
		"synchronous":           {"27 1 179:2 / / rw,sync,noatime - ext4 /dev/root rw", Warn, "with sync"},
		"discard on a card":     {"27 1 179:2 / / rw,noatime - ext4 /dev/root rw,discard", Note, "with discard"},
		"btrfs":                 {"27 1 0:45 / / rw,noatime - btrfs /dev/sda rw", Note, "btrfs"},
		"vfat":                  {"27 1 8:1 / / rw,noatime - vfat /dev/sda1 rw", Warn, "vfat"},
		"nfs":                   {"27 1 0:45 / / rw,noatime - nfs server:/x rw", Warn, "nfs"},
		"a program":             {"27 1 0:45 / / rw,noatime - fuse.sshfs x rw", Warn, "fuse.sshfs"},
		"memory":                {"27 1 0:45 / / rw,noatime - tmpfs tmpfs rw", Fail, "tmpfs"},
		"an image":              {"27 1 0:45 / / ro,noatime - squashfs /dev/loop0 ro", Fail, "squashfs"},
		"a container":           {"27 1 0:45 / / rw,noatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w", Warn, "overlay"},
		"an overlay in memory": {"27 1 0:45 / / rw,noatime - overlay overlay rw,lowerdir=/l,upperdir=/media/rw/upper,workdir=/w\n" +
			"28 1 0:46 / /media/rw rw,noatime - tmpfs tmpfs rw", Fail, "upper layer is tmpfs"},
		"control characters": {"27 1 0:45 / /x rw,noatime - overlay overlay rw\n28 1 0:46 / / rw,noatime - ext4\x1b[2J x rw", OK, "ext4?[2J"},
	} {
		e := &exam{dir: "/", mounts: parseMounts(c.line), medium: Medium{Class: SDCard, Errors: -1}}
		all := e.checkFileSystem()
		worst := (&Report{Findings: all}).Worst()[0]
		if worst.Level != c.level || !strings.Contains(worst.Measured, c.measured) {
			t.Errorf("%s: %+v, want %v with %q", name, all, c.level, c.measured)
		}
		explained(t, all)
	}
	e := &exam{dir: "/"}
	if all := e.checkFileSystem(); len(all) != 1 || all[0].Level != Note || all[0].Measured != "unknown" {
		t.Errorf("without mountinfo: %+v", all)
	}
}

func TestDamageThatExt4HasRecordedIsTold(t *testing.T) {
	e := &exam{dir: "/", mounts: parseMounts(aMountinfo), medium: Medium{Class: SSD, Errors: 3}}
	if f := find(t, e.checkFileSystem(), "file system", "3 errors recorded"); f.Level != Warn || f.Do == "" {
		t.Errorf("%+v", f)
	}
}
