package doctor

import (
	"errors"
	"strings"
	"testing"
)

func TestFreeSpaceIsJudgedByWhatTheLogNeeds(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for name, c := range map[string]struct {
		s        space
		level    Level
		measured string
	}{
		"a large disk":      {space{total: 1000 * gib, free: 50 * gib, inodes: 1e6, ifree: 9e5}, OK, "50 GiB of 1000 GiB free (5 %)"},
		"a card with room":  {space{total: 32 * gib, free: 20 * gib}, OK, "(62 %)"},
		"a card well used":  {space{total: 32 * gib, free: 2 * gib}, Note, "(6 %)"},
		"nearly full":       {space{total: 32 * gib, free: 200 * mib}, Warn, "200 MiB of 32 GiB"},
		"full":              {space{total: 32 * gib, free: 60 * mib}, Fail, "60 MiB"},
		"nothing at all":    {space{}, Fail, "0 B of 0 B free (0 %)"},
		"no more files":     {space{total: 32 * gib, free: 20 * gib, inodes: 1e6, ifree: 10}, Warn, "10 of 1000000 free"},
		"files not counted": {space{total: 32 * gib, free: 20 * gib, inodes: 0, ifree: 0}, OK, "20 GiB"},
	} {
		all := judgeSpace(c.s, 64*mib, 64*mib)
		worst := (&Report{Findings: all}).Worst()[0]
		if worst.Level != c.level || !strings.Contains(worst.Measured, c.measured) {
			t.Errorf("%s: %+v, want %v with %q", name, all, c.level, c.measured)
		}
		explained(t, all)
	}
	e := newExam(Options{DataDir: t.TempDir()})
	if f := find(t, e.checkSpace(), "space", "free"); f.Values["free_bytes"].(int64) <= 0 {
		t.Errorf("of a real directory: %+v", f)
	}
	e.space = func(string) (space, error) { return space{}, errors.New("stale handle") }
	if f := find(t, e.checkSpace(), "space", "stale handle"); f.Level != Warn {
		t.Errorf("%+v", f)
	}
}

func TestLargePagesAreExplained(t *testing.T) {
	for bytes, want := range map[int]string{4096: "can be read in another board", 16384: "does not cost 16 KiB a page"} {
		e := &exam{pageSize: bytes}
		if f := e.checkPageSize()[0]; f.Level != OK || !strings.Contains(f.Means, want) || f.Measured != size(int64(bytes)) {
			t.Errorf("%d: %+v", bytes, f)
		}
	}
}
