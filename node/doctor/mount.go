package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mount is a line of /proc/self/mountinfo: proc_pid_mountinfo(5).
type mount struct {
	major, minor uint32
	point        string   // where it is mounted
	options      []string // of this mount
	fstype       string
	source       string
	super        []string // options of the file system itself
}

func readMounts(t tree) []mount {
	text, _ := t.read("proc/self/mountinfo")
	return parseMounts(text)
}

// parseMounts reads mountinfo; lines of another form are left out.
func parseMounts(text string) []mount {
	var all []mount
	for line := range strings.Lines(text) {
		front, back, ok := strings.Cut(strings.TrimSpace(line), " - ")
		head, tail := strings.Fields(front), strings.Fields(back)
		if !ok || len(head) < 6 || len(tail) < 3 {
			continue
		}
		major, minor, _ := strings.Cut(head[2], ":")
		maj, err1 := strconv.ParseUint(major, 10, 32)
		mnr, err2 := strconv.ParseUint(minor, 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		all = append(all, mount{
			major: uint32(maj), minor: uint32(mnr), point: unescape(head[4]), options: strings.Split(head[5], ","),
			fstype: tail[0], source: unescape(tail[1]), super: strings.Split(unescape(tail[2]), ","),
		})
	}
	return all
}

// unescape undoes the kernel's \040 for a blank, and the like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountOf returns the mount that holds an absolute path without symbolic links: the deepest, and of several on one place
// the one on top.
func mountOf(mounts []mount, path string) (best mount, found bool) {
	for _, m := range mounts {
		inside := m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
		if inside && (!found || len(m.point) >= len(best.point)) {
			best, found = m, true
		}
	}
	return best, found
}

// has reports whether an option is set, for the mount or for the file system.
func (m mount) has(option string) bool {
	return slices.Contains(m.options, option) || slices.Contains(m.super, option)
}

// value returns what an option is set to.
func (m mount) value(option string) string {
	for _, o := range slices.Concat(m.super, m.options) {
		if v, ok := strings.CutPrefix(o, option+"="); ok {
			return v
		}
	}
	return ""
}

// A file system of these types is no place for a log, or a place with a catch.
var (
	inMemory = []string{"tmpfs", "ramfs", "rootfs", "devtmpfs"}
	readOnly = []string{"squashfs", "erofs", "iso9660", "cramfs", "romfs"}
	network  = []string{"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs", "virtiofs"}
	plain    = []string{"vfat", "msdos", "exfat", "ext2", "ntfs", "ntfs3", "hfsplus", "udf"} // without a journal that Linux uses
	copying  = []string{"btrfs", "f2fs", "zfs", "nilfs2", "bcachefs"}                        // that write a changed block elsewhere
)

const checkFS = "file system"

func (e *exam) checkFileSystem() []Finding {
	m, ok := mountOf(e.mounts, e.dir)
	if !ok {
		return []Finding{{Check: checkFS, Level: Note, Measured: "unknown", Means: "/proc/self/mountinfo does not tell where " + e.dir + " is mounted."}}
	}
	first := Finding{Check: checkFS, Measured: printable(fmt.Sprintf("%s on %s, %s", m.fstype, m.point, m.mode())),
		Values: map[string]any{"type": m.fstype, "mount_point": m.point, "source": m.source, "options": slices.Concat(m.options, m.super)}}
	judgeType(&first, m)
	findings := append([]Finding{first}, judgeOptions(m, e.medium)...)
	if m.fstype == "overlay" {
		findings = append(findings, e.judgeOverlay(m)...)
	}
	return append(findings, e.judgeErrors()...)
}

// mode names the options that say something about how data is written.
func (m mount) mode() string {
	shown := []string{"rw"}
	if m.has("ro") {
		shown[0] = "ro"
	}
	for _, o := range slices.Concat(m.options, m.super) {
		key, _, _ := strings.Cut(o, "=")
		switch key {
		case "noatime", "relatime", "strictatime", "nobarrier", "barrier", "data", "errors", "sync", "discard", "commit", "fsync_mode", "volatile":
			if !slices.Contains(shown, o) {
				shown = append(shown, o)
			}
		}
	}
	return strings.Join(shown, ",")
}

// judgeType says what the type of the file system means.
func judgeType(f *Finding, m mount) {
	is := func(types []string) bool { return slices.Contains(types, m.fstype) }
	switch {
	case is(inMemory):
		f.Level, f.Means = Fail, "It is in memory: everything in it is gone when the power goes, acknowledged or not."
		f.Do = "Put node.data_dir on a card or a disk."
	case is(readOnly):
		f.Level, f.Means = Fail, "It cannot be written at all."
		f.Do = "Put node.data_dir on a file system that can be."
	case m.fstype == "overlay":
		f.Level, f.Means = Warn, "It is a layer over another file system, as in containers and read-only images: it may be gone with "+
			"the container or the next start, and changing a file of the lower layer copies it whole."
		f.Do = "Mount a volume or a partition of its own on node.data_dir."
	case is(network), strings.HasPrefix(m.fstype, "fuse"):
		f.Level, f.Means = Warn, "A sync is only as good as the server or program behind it says, and as fast as the way there; locks may "+
			"not hold, and where it hangs the node does."
		f.Do = "Put node.data_dir on a disk or card of this machine; what a central cluster is for is [upstream]."
	case is(plain):
		f.Level, f.Means = Warn, "It has no journal: a power cut may leave it damaged, files of the log with it, and some of these types know no "+
			"owners and rights."
		f.Do = "Use ext4 for node.data_dir."
	case is(copying):
		f.Level, f.Means = Note, "It writes every changed block to a new place. That is safe, but the log's journal, which counts on "+
			"overwriting blocks in place, costs more writes on it than on ext4."
		f.Do = "On a card ext4 lasts longer."
	default:
		f.Means = "It keeps what was synced, and comes back by itself after a power cut."
	}
}

// judgeOptions says what is remarkable about the options.
func judgeOptions(m mount, med Medium) []Finding {
	var all []Finding
	add := func(l Level, measured, means, do string) {
		all = append(all, Finding{Check: checkFS, Level: l, Measured: measured, Means: means, Do: do})
	}
	if m.has("ro") {
		add(Fail, "mounted read-only", "Nothing can be stored. Where errors=remount-ro is set, the kernel does this after a damage.",
			"See `dmesg` for the reason, repair with fsck, and mount it with rw.")
	}
	for _, o := range []string{"nobarrier", "barrier=0", "fsync_mode=nobarrier", "volatile"} {
		if m.has(o) {
			add(Fail, "mounted with "+o, "The device is not told to empty its cache at a sync: a power cut takes records that were acknowledged, and "+
				"may damage the file system.", "Take "+o+" out of the mount options.")
		}
	}
	switch m.value("data") {
	case "writeback":
		add(Note, "mounted with data=writeback", "What was synced is kept. After a power cut the ends of files that were not may hold old blocks; "+
			"the log's checksums tell them from records.", "data=ordered, ext4's default, avoids it.")
	case "journal":
		add(Note, "mounted with data=journal", "Everything is written twice, once into the file system's own journal.",
			"data=ordered, ext4's default, halves the writes; the log needs no more.")
	}
	switch m.value("errors") {
	case "continue":
		add(Warn, "mounted with errors=continue", "After damage the kernel goes on writing, and may make it worse.", "Mount it with errors=remount-ro.")
	case "panic":
		add(Note, "mounted with errors=panic", "Damage stops the machine, which is meant where a watchdog starts it again.", "")
	}
	if m.has("sync") {
		add(Warn, "mounted with sync", "Every write waits for the device, also those that need not: slow, and it wears a card.", "Take sync out of the mount options.")
	}
	if m.has("strictatime") || !m.has("ro") && !m.has("noatime") && !m.has("relatime") && strings.HasPrefix(m.fstype, "ext") {
		add(Note, "mounted with strictatime", "Reading a file writes the time of reading.", "Mount it with noatime.")
	}
	if m.has("discard") && med.Card() {
		add(Note, "mounted with discard", "Giving blocks back at once makes some cards stall for seconds.",
			"Mount it without discard and let fstrim.timer do it once a week.")
	}
	return all
}

// judgeOverlay looks at the file system that takes what is written to an overlay.
func (e *exam) judgeOverlay(m mount) []Finding {
	upper := m.value("upperdir")
	below, ok := mountOf(e.mounts, upper)
	if upper == "" || !ok || !slices.Contains(inMemory, below.fstype) {
		return nil
	}
	return []Finding{{Check: checkFS, Level: Fail, Measured: "the overlay's upper layer is " + below.fstype,
		Means: "What is written stays in memory: everything is gone when the power goes, acknowledged or not.",
		Do:    "Mount a partition of the card on node.data_dir; raspi-config's overlay file system leaves none that is kept."}}
}

// judgeErrors asks ext4 whether it has met damage.
func (e *exam) judgeErrors() []Finding {
	if e.medium.Errors <= 0 {
		return nil
	}
	return []Finding{{Check: checkFS, Level: Warn, Measured: plural(e.medium.Errors, "error", "errors") + " recorded by ext4",
		Means:  "The file system has found itself damaged since it was last repaired: a power cut, or a medium that fails.",
		Do:     "Run e2fsck -f on it while it is not mounted. If errors come back, replace the medium.",
		Values: map[string]any{"errors": e.medium.Errors}}}
}
