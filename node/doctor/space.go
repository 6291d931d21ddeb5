package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// space is what a file system has for a user without privileges.
type space struct {
	total, free   int64 // bytes
	inodes, ifree int64 // files; 0: it does not count them
}

func statSpace(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, err
	}
	block := int64(st.Bsize) //nolint:unconvert // the fields' types differ between architectures
	return space{int64(st.Blocks) * block, int64(st.Bavail) * block, int64(st.Files), int64(st.Ffree)}, nil
}

// fewInodes is less than a node makes in years: it has a file per segment.
const fewInodes = 1000

func (e *exam) checkSpace() []Finding {
	s, err := e.space(e.dir)
	if err != nil {
		return []Finding{{Check: "space", Level: Warn, Measured: printable(err.Error()), Means: "Nothing is known about the space that is left."}}
	}
	return judgeSpace(s, e.opt.MinFreeBytes, e.opt.SegmentBytes)
}

// judgeSpace says what the free space means to a node that refuses below least and makes segments of a size.
func judgeSpace(s space, least, segment int64) []Finding {
	percent := int64(0)
	if s.total > 0 {
		percent = int64(float64(s.free) / float64(s.total) * 100)
	}
	f := Finding{Check: "space", Measured: fmt.Sprintf("%s of %s free (%d %%)", size(s.free), size(s.total), percent),
		Means:  fmt.Sprintf("The log may grow by %s before the oldest records must go or writers are refused.", size(max(0, s.free-least))),
		Values: map[string]any{"free_bytes": s.free, "total_bytes": s.total, "min_free_bytes": least}}
	switch {
	case s.free <= least:
		f.Level = Fail
		f.Means = fmt.Sprintf("log.min_free_bytes leaves %s to the rest of the machine, so that writers are refused.", size(least))
		f.Do = "Make room, or set log.retention or log.max_bytes so that the log does."
	case s.free < least+4*segment:
		f.Level = Warn
		f.Means = "The device is nearly full. " + f.Means
		f.Do = "Make room, or set log.retention or log.max_bytes so that the log does."
	case percent < 10 && s.free < 4<<30:
		f.Level = Note
		f.Means += " Flash that is nearly full wears faster and stalls more."
		f.Do = "Leave a tenth of a card free: log.max_bytes bounds the log."
	}
	findings := []Finding{f}
	if s.inodes > 0 && s.ifree < fewInodes {
		findings = append(findings, Finding{Check: "inodes", Level: Warn, Measured: fmt.Sprintf("%d of %d free", s.ifree, s.inodes),
			Means: "The file system can hold nearly no more files, whatever space is left; the log needs one for each segment.",
			Do:    "Find what makes so many small files: du --inodes -x / | sort -n | tail", Values: map[string]any{"free": s.ifree, "total": s.inodes}})
	}
	return findings
}

// checkPageSize names the kernel's page size, which differs between boards.
func (e *exam) checkPageSize() []Finding {
	f := Finding{Check: "page size", Measured: size(int64(e.pageSize)), Means: "Segments have pages of 4 KiB on every machine, so that a card can be read in another board.",
		Values: map[string]any{"bytes": e.pageSize}}
	if e.pageSize != 4096 {
		f.Means = fmt.Sprintf("The kernel's pages are larger than the usual 4 KiB, as on a Raspberry Pi 5. Segments have pages of 4 KiB always, so that "+
			"a card can be read in another board and a small commit does not cost %s a page. Nothing is lost by it.", size(int64(e.pageSize)))
	}
	return []Finding{f}
}
