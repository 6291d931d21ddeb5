package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/record"
)

// busyStore fills a store with all that a segment and the journal can hold, and returns its directory: as it is when it was
// closed, and as it was when it was killed with groups in the journal.
func busyStore(t testing.TB) (closed, killed string) {
	t.Helper()
	opt := testOptions(t.TempDir())
	opt.SegmentBytes, opt.JournalBytes, opt.AbsorbBytes, opt.AbsorbInterval = 192<<10, 96<<10, 1<<30, time.Hour
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	p, q, r := newSource(t, s, "p", 0), newSource(t, s, "q", 1), newSource(t, s, "r", 2)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 18 {
		p.mustAppend(t, 3, 12<<10) // a commit of its own
		q.mustAppend(t, 2, 300)
		r.mustAppend(t, 1, 5000)
		switch i {
		case 5:
			check(s.SetStart(p.id, 4, Gone{Expired: 3, Lost: 1}))
			_, err := s.Truncate(q.id, 6)
			check(err)
			q.next, q.durable = 6, 6
		case 8:
			check(s.BeginEpoch(r.id, 3, r.durable))
		case 12:
			_, err := s.Rewrite(s.Segments()[0].Number, keepAll, nil)
			check(err)
		}
	}
	for range 5 {
		q.mustAppend(t, 2, 300)
		r.mustAppend(t, 1, 2000)
	}
	killed = copyDir(t, opt.Dir)
	check(s.Close())
	return opt.Dir, killed
}

// contents are what can be reached in a segment's file, or are the groups that a journal would replay.
func contents(t testing.TB, path string, absorbed uint64) string {
	t.Helper()
	var all strings.Builder
	if filepath.Base(path) == JournalFile {
		j, err := openJournal(filepath.Dir(path), nil)
		if err != nil {
			return err.Error()
		}
		defer j.f.Close()
		frames, _ := j.scan()
		groups, _, _ := j.replay(frames, absorbed)
		for _, g := range groups {
			fmt.Fprintf(&all, "%d %v\n", g.seq, encodeOps(g.ops))
			for _, e := range g.entries {
				fmt.Fprintf(&all, "%d %x\n", e.Partition, e.Batch)
			}
		}
		return all.String()
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	metas, _ := boltfile.Metas(data)
	if len(metas) == 0 {
		return "no meta page"
	}
	err = boltfile.Walk(data, metas[0], func(path [][]byte, key, value []byte) error {
		fmt.Fprintf(&all, "%x %x %x\n", path, key, value)
		return nil
	})
	fmt.Fprintln(&all, err)
	return all.String()
}

// delivered are the batches that inspecting a directory hands on, without their leader epochs, which no checksum of their
// own covers.
func delivered(t fatal, dir string) (all map[string]bool, in *inspected) {
	t.Helper()
	all = make(map[string]bool)
	in = inspectEach(t, dir, func(b BatchReport) {
		clone := bytes.Clone(b.Batch)
		record.Batch(clone).SetLeaderEpoch(0)
		all[fmt.Sprintf("%d %x", b.Partition, clone)] = true
	})
	return all, in
}

// TestEveryFlipThatMattersIsFound flips a random bit of a random file per round.
func TestEveryFlipThatMattersIsFound(t *testing.T) {
	const rounds = 150
	closed, killed := busyStore(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, dir := range []string{closed, killed} {
		whole, in := delivered(t, dir)
		if len(in.problems) > 0 {
			t.Fatalf("problems in what is whole: %q", in.problems)
		}
		absorbed := in.segments[len(in.segments)-1].Last
		pending := in.journal.Pending > 0
		if pending != (dir == killed) || len(in.segments) < 4 || !in.segments[0].Rewritten {
			t.Fatalf("this test wants another store: %d segments, %d groups pending, %v", len(in.segments), in.journal.Pending, in.segments[0].Rewritten)
		}
		files := slices.Sorted(func(yield func(string) bool) {
			for _, r := range in.segments {
				yield(r.Path)
			}
		})
		files = append(files, filepath.Join(dir, JournalFile))
		before := make(map[string]string)
		found := 0
		for _, f := range files {
			before[f] = contents(t, f, absorbed)
		}
		for range rounds {
			f := files[rnd.IntN(len(files))]
			var at, bit int
			change(t, f, func(b []byte) []byte {
				at, bit = rnd.IntN(len(b)), rnd.IntN(8)
				b[at] ^= 1 << bit
				return b
			})
			have, in := delivered(t, dir)
			damaged := contents(t, f, absorbed) != before[f]
			if damaged && len(in.problems) == 0 {
				t.Errorf("%s byte %d bit %d: not found", filepath.Base(f), at, bit)
			}
			if damaged {
				found++
			}
			for b := range have {
				if !whole[b] {
					t.Errorf("%s byte %d bit %d: a batch that was not written: %.60s; %q", filepath.Base(f), at, bit, b, in.problems)
				}
			}
			if !damaged && !maps.Equal(have, whole) {
				t.Errorf("%s byte %d bit %d: %d of %d batches, though nothing is lost; %q", filepath.Base(f), at, bit, len(have), len(whole), in.problems)
			}
			change(t, f, func(b []byte) []byte { b[at] ^= 1 << bit; return b })
		}
		if found < rounds/10 {
			t.Errorf("only %d of %d flips changed anything", found, rounds)
		}
	}
}

func TestEveryKindOfDamageIsTold(t *testing.T) {
	closed, _ := busyStore(t)
	segments, err := filepath.Glob(filepath.Join(closed, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(closed, JournalFile)
	sealed, active := segments[1], segments[len(segments)-1]
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)*n/100] } }
	fill := func(v byte) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Repeat([]byte{v}, len(b)) }
	}
	for _, c := range []struct {
		name string
		file string
		fn   func([]byte) []byte
		want string
	}{
		{"sealed segment cut in half", sealed, cut(50), "hold fewer than"},
		{"sealed segment emptied", sealed, cut(0), "meta page 0: missing"},
		{"sealed segment of zeros", sealed, fill(0), "not a bbolt file"},
		{"sealed segment of ones", sealed, fill(0xff), "not a bbolt file"},
		{"meta pages gone", sealed, func(b []byte) []byte { clear(b[:2*blockSize]); return b }, "not a bbolt file"},
		{"one meta page gone", sealed, func(b []byte) []byte { clear(b[blockSize : 2*blockSize]); return b }, "meta page 1: not a bbolt file"},
		{"active segment cut in half", active, cut(50), "hold fewer than"},
		{"active segment emptied", active, cut(0), "meta page 0: missing"},
		{"another segment in its place", sealed, func([]byte) []byte { return read(t, segments[2]) }, "header"},
		{"journal cut in half", journal, cut(50), "the file has"},
		{"journal emptied", journal, cut(0), "header: EOF"},
		{"journal of zeros", journal, fill(0), "header: no CVJF block"},
		{"journal of another version", journal, func(b []byte) []byte {
			body := bytes.Clone(b[10:26])
			copy(b, versioned(journalMagic, 9, body))
			return b
		}, "another version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := read(t, c.file)
			defer change(t, c.file, func([]byte) []byte { return whole })
			change(t, c.file, c.fn)
			in := inspectEach(t, closed, nil)
			if !strings.Contains(strings.Join(in.problems, "\n"), c.want) {
				t.Errorf("problems %q, want %q", in.problems, c.want)
			}
			for _, p := range in.problems {
				if c.file != active && !strings.HasPrefix(p, filepath.Base(c.file)) {
					t.Errorf("%s is blamed: %s", filepath.Base(c.file), p)
				}
			}
		})
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// versioned is a block of a version.
func versioned(magic string, version byte, body []byte) []byte {
	b := seal(magic, body)
	b[5] = version
	b = b[:len(b)-4]
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// TestAFileThatIsCutWhileItIsReadIsNoReasonToDie cuts the file after it was mapped, which is what a sector that cannot be
// read looks like, too: reading the map faults.
// emulated reports whether the machine below is of another kind: user mode emulation shows its processors.
func emulated() bool {
	text, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && strings.HasPrefix(runtime.GOARCH, "arm") && bytes.Contains(text, []byte("vendor_id"))
}

func TestAFileThatIsCutWhileItIsReadIsNoReasonToDie(t *testing.T) {
	if emulated() {
		t.Skip("emulation does not tell a page that is gone from a nil pointer")
	}
	closed, _ := busyStore(t)
	path := segmentPath(closed, 2)
	whole, err := InspectSegment(path, InspectOptions{Checksums: true})
	if err != nil || whole.Damaged() > 0 || whole.Moved {
		t.Fatal(err, whole.List)
	}
	for _, size := range []int64{whole.Bytes / 4, whole.Bytes / 2, whole.Bytes * 3 / 4} {
		im, err := openImage(path)
		if err != nil {
			t.Fatal(err)
		}
		data := read(t, path)
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		batches := int64(0)
		r, err := inspectImage(im, 2, InspectOptions{Checksums: true, Batch: func(BatchReport) error { batches++; return nil }})
		im.close()
		if err != nil || r.Damaged() == 0 || !r.Moved || batches != r.Batches || batches >= whole.Batches {
			t.Errorf("cut to %d: %v, %d of %d batches, moved %v, %+v", size, err, batches, whole.Batches, r.Moved, r.List)
		}
		if size > whole.Bytes/2 && batches == 0 {
			t.Errorf("cut to %d: nothing was found in what is left: %+v", size, r.List)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestACommitThatWasNotFinishedIsNoDamage tears the newest transaction of the newest segment.
func TestACommitThatWasNotFinishedIsNoDamage(t *testing.T) {
	_, killed := busyStore(t)
	segments, err := filepath.Glob(filepath.Join(killed, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	path := segments[len(segments)-1]
	data := read(t, path)
	metas, err := boltfile.Metas(data)
	if len(metas) != 2 {
		t.Fatal(err)
	}
	clear(data[metas[0].Root*blockSize:][:blockSize]) // never arrived
	change(t, path, func([]byte) []byte { return data })
	before := uint64(0)
	for settled := range uint64(1000) {
		r, err := InspectSegment(path, InspectOptions{Newest: true, Settled: settled})
		if err != nil {
			t.Fatal(err)
		}
		if r.Damaged() > 0 {
			before = settled
			break
		}
		if len(r.List) != 1 || !errors.Is(r.List[0], ErrUnfinished) || r.After == nil {
			t.Fatalf("settled %d: %+v", settled, r.List)
		}
		if settled > r.Last {
			t.Fatalf("commit %d is the newest, %d was synced, and nothing is missed", r.Last, settled)
		}
	}
	if r, err := InspectSegment(path, InspectOptions{Newest: true, Settled: before - 1}); err != nil || r.Last != before-1 {
		t.Errorf("ends with commit %d, want %d, %v", r.Last, before-1, err)
	}
}

// smallStore is a store that was killed, with a sealed segment, an active one, and groups in a small journal.
func smallStore(t testing.TB) string {
	t.Helper()
	opt := testOptions(t.TempDir())
	opt.SegmentBytes, opt.JournalBytes, opt.DirectBytes, opt.AbsorbBytes = 16<<10, 32<<10, 4<<10, 1<<30
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	p, q := newSource(t, s, "p", 0), newSource(t, s, "q", 1)
	for range 3 {
		p.mustAppend(t, 2, 2500)
		q.mustAppend(t, 2, 200)
	}
	dir := copyDir(t, opt.Dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func FuzzInspectSegment(f *testing.F) {
	dir := smallStore(f)
	for _, n := range []uint64{1, 2} {
		f.Add(read(f, segmentPath(dir, n)), uint32(5000), uint64(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint32, xor uint64) {
		data = bytes.Clone(data)
		for i := range 8 {
			if pos := int(at) + i; pos < len(data) {
				data[pos] ^= byte(xor >> (8 * i))
			}
		}
		for _, opt := range []InspectOptions{{HeaderOnly: true}, {Checksums: true, Newest: at%2 == 0, Settled: xor, Live: func(uint32) (int64, int64) { return 3, 9 }}} {
			n := int64(0)
			opt.Batch = func(b BatchReport) error {
				if !opt.HeaderOnly && !b.Batch.VerifyCRC() {
					t.Error("a damaged batch was handed on")
				}
				n++
				return nil
			}
			r, err := inspectImage(&image{path: "x", data: data}, uint64(at%3), opt)
			if err != nil || n != r.Batches {
				t.Fatalf("%d batches, %v, %+v", n, err, r)
			}
		}
	})
}

func FuzzInspectJournal(f *testing.F) {
	f.Add(read(f, filepath.Join(smallStore(f), JournalFile)), uint32(4100), uint64(1), uint64(0))
	path := filepath.Join(f.TempDir(), JournalFile)
	f.Fuzz(func(t *testing.T, data []byte, at uint32, xor, absorbed uint64) {
		data = bytes.Clone(data)
		for i := range 8 {
			if pos := int(at) + i; pos < len(data) {
				data[pos] ^= byte(xor >> (8 * i))
			}
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := ScanJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n := int64(0)
		rep, err := r.Inspect(JournalOptions{Absorbed: absorbed, Alone: at%2 == 0, State: newState(), Batch: func(BatchReport) error { n++; return nil }})
		if err != nil || n != rep.Batches {
			t.Fatalf("%d batches, %v, %+v", n, err, rep)
		}
	})
}
