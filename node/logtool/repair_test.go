package logtool

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-mq/culvert/node/logtool/logtest"
)

func repairOptions() RepairOptions {
	return RepairOptions{SegmentBytes: logtest.SegmentBytes, JournalBytes: logtest.JournalBytes, DirectBytes: logtest.DirectBytes, Logger: slog.New(slog.DiscardHandler)}
}

// checkRepair repairs a damaged log and checks that nothing which could be read before is gone, that the damaged files are
// kept as they were, and that the log is whole afterwards. It returns the records before the damage that are gone.
func checkRepair(t *testing.T, dir string, whole []string) (gone []string, r *Repair) {
	t.Helper()
	before, _ := dumped(t, find(t, dir), everything)
	contents := files(t, dir)
	damaged := make(map[string][]byte)
	for name := range contents {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		damaged[name] = data
	}
	r, err := find(t, dir).Repair(t.Context(), repairOptions(), func(Problem) {})
	if err != nil {
		t.Fatal(err)
	}
	if r.Before.Whole() {
		return nil, r
	}
	if !r.After.Whole() {
		t.Errorf("not whole after the repair: %v\nbefore: %v\nmended: %+v", r.After.Problems, r.Before.Problems, r.Mended)
	}
	for _, m := range r.Mended {
		if m.Kept == "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, m.Kept))
		if err != nil || !bytes.Equal(data, damaged[m.File]) {
			t.Errorf("%s is not %s as it was: %v", m.Kept, m.File, err)
		}
	}
	after, left := dumped(t, find(t, dir), everything)
	if slices.ContainsFunc(left, func(p Problem) bool { return !p.Harmless }) {
		t.Errorf("left out after the repair: %v", left)
	}
	if lost := without(before, after); len(lost) > 0 {
		t.Errorf("%d records could be read before the repair and cannot any more: %.200v; mended: %+v", len(lost), lost, r.Mended)
	}
	checkGoesOn(t, dir)
	if made := without(after, whole); len(made) > 0 {
		t.Errorf("%d records were never written: %.200v", len(made), made)
	}
	return without(whole, after), r
}

// checkGoesOn appends to a log that was repaired, and checks that it is whole.
func checkGoesOn(t *testing.T, dir string) {
	t.Helper()
	w, err := logtest.Reopen(logtest.Options(dir))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * w.Partitions() {
		if err := w.Append(i%w.Partitions(), 2, 3000); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Store.Close(); err != nil {
		t.Fatal(err)
	}
	if v := verified(t, find(t, dir)); !v.Whole() {
		t.Errorf("not whole after it was repaired and went on: %v", v.Problems)
	}
}

// without returns the lines of a that are not in b.
func without(a, b []string) []string {
	in := make(map[string]bool, len(b))
	for _, l := range b {
		in[l] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(l string) bool { return in[l] })
}

// told reports whether a record is in one of the ranges.
func told(ranges []Range, record string) bool {
	var place string
	var at int64
	if _, err := fmt.Sscan(record, &place, &at); err != nil {
		return false
	}
	return slices.ContainsFunc(ranges, func(r Range) bool { return r.String() != "" && r.Place.String() == place && at >= r.From && at < r.To })
}

func goneIn(all []Mended) (gone []Range) {
	for _, m := range all {
		gone = append(gone, m.Gone...)
	}
	return gone
}

func segmentNames(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for _, f := range find(t, dir).Segments {
		all = append(all, filepath.Base(f.Path))
	}
	return all
}

func TestEveryKindOfDamageIsFoundAndRepaired(t *testing.T) {
	half := func(b []byte) []byte { return b[:len(b)/2] }
	for _, c := range []struct {
		name  string
		which func(segments []string) string
		fn    func([]byte) []byte // nil: it is removed
		lost  bool                // whether records may be gone
	}{
		{"sealed segment cut", func(s []string) string { return s[2] }, half, true},
		{"sealed segment emptied", func(s []string) string { return s[2] }, func([]byte) []byte { return nil }, true},
		{"sealed segment of zeros", func(s []string) string { return s[2] }, func(b []byte) []byte { return make([]byte, len(b)) }, true},
		{"a block of a sealed segment of zeros", func(s []string) string { return s[3] }, func(b []byte) []byte { clear(b[16<<10 : 20<<10]); return b }, true},
		{"a sealed segment is missing", func(s []string) string { return s[3] }, nil, true},
		{"the rewritten segment cut", func(s []string) string { return s[0] }, half, true},
		{"the newest segment cut", func(s []string) string { return s[len(s)-1] }, half, true},
		{"the newest segment emptied", func(s []string) string { return s[len(s)-1] }, func([]byte) []byte { return nil }, true},
		{"the journal cut", func([]string) string { return "journal" }, half, true},
		{"the journal's header flipped", func([]string) string { return "journal" }, func(b []byte) []byte { b[12] ^= 1; return b }, true},
		{"the journal of zeros", func([]string) string { return "journal" }, func(b []byte) []byte { return make([]byte, len(b)) }, true},
	} {
		for _, closed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, closed %v", c.name, closed), func(t *testing.T) {
				dir := sample(t, closed)
				whole, _ := dumped(t, find(t, dir), everything)
				victim := c.which(segmentNames(t, dir))
				if c.fn == nil {
					if err := os.Remove(filepath.Join(dir, victim)); err != nil {
						t.Fatal(err)
					}
				} else {
					damage(t, dir, victim, c.fn)
				}
				v := verified(t, find(t, dir))
				if v.Whole() {
					t.Fatal("not found")
				}
				have, _ := dumped(t, find(t, dir), everything)
				for _, l := range without(whole, have) {
					if !told(v.Gone, l) && !v.Blurred && victim != "journal" {
						t.Errorf("verify does not tell that %.40s is gone: %v", l, v.Gone)
					}
				}
				gone, r := checkRepair(t, dir, whole)
				if len(gone) > 0 && !c.lost || len(gone) == len(whole) {
					t.Errorf("%d of %d records are gone", len(gone), len(whole))
				}
				for _, l := range gone {
					if !told(goneIn(r.Mended), l) && victim != "journal" {
						t.Errorf("repair does not tell that %.40s is gone: %+v", l, r.Mended)
					}
				}
				if again, err := find(t, dir).Repair(t.Context(), repairOptions(), func(Problem) {}); err != nil || len(again.Mended) > 0 || again.After != nil {
					t.Errorf("repairing what is whole: %v, %+v", err, again)
				}
			})
		}
	}
}

var (
	flipSeed   = flag.Uint64("flip-seed", 1, "seed of the bits that are flipped; 0 is another one each time")
	flipRounds = flag.Int("flip-rounds", 40, "how often bits are flipped")
)

// TestFlippedBitsAreFoundAndRepaired flips a few bits per round.
func TestFlippedBitsAreFoundAndRepaired(t *testing.T) {
	seed := *flipSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	samples := []string{sample(t, true), sample(t, false)}
	for range *flipRounds {
		origin := samples[rnd.IntN(2)]
		whole, _ := dumped(t, find(t, origin), everything)
		dir := copyOf(t, origin)
		names := append(segmentNames(t, dir), "journal")
		var flips []string
		for range 1 + rnd.IntN(3) {
			name := names[rnd.IntN(len(names))]
			damage(t, dir, name, func(b []byte) []byte {
				at, bit := rnd.IntN(len(b)), rnd.IntN(8)
				flips = append(flips, fmt.Sprintf("%s byte %d bit %d", name, at, bit))
				b[at] ^= 1 << bit
				return b
			})
		}
		v := verified(t, find(t, dir))
		have, _ := dumped(t, find(t, dir), everything)
		if lost := without(whole, have); len(lost) > 0 && v.Whole() && v.Notes == 0 {
			t.Errorf("%v: %d records are gone, and nothing is found", flips, len(lost))
		}
		checkRepair(t, dir, whole)
		if t.Failed() {
			t.Fatalf("seed %d, %s", seed, strings.Join(flips, ", "))
		}
	}
}
