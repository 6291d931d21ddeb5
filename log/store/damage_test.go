package store

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/boltfile"
	"github.com/culvert-mq/culvert/log/record"
)

// damagedStore fills a store, closes it, lets harm change its files, and opens it again.
func damagedStore(t *testing.T, harm func(dir string)) (*Store, *source) {
	t.Helper()
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for range 100 {
		p.mustAppend(t, 4, 10<<10)
		p.mustAppend(t, 1, 300)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	harm(opt.Dir)
	opt.Metrics = NewMetrics(prometheus.NewRegistry())
	return openTest(t, opt), p
}

// readAll reads what a partition has and returns the offsets, having checked every record.
func readAll(t *testing.T, s *Store, id uint32, end int64) map[int64]bool {
	t.Helper()
	have := make(map[int64]bool)
	l := s.Log(id)
	for at := int64(0); l != nil && at < end; {
		sp, err := l.Read(at, end, 1<<20)
		if err != nil {
			t.Fatalf("at %d: %v", at, err)
		}
		if len(sp.Batches) == 0 {
			break
		}
		for _, b := range sp.Batches {
			var r record.Reader
			for _ = r.Reset(b, 1<<20); r.Next(); {
				rec := r.Record()
				if !bytes.Equal(rec.Value, value(id, rec.Offset, len(rec.Value))) {
					t.Fatalf("offset %d: a damaged record was served", rec.Offset)
				}
				have[rec.Offset] = true
			}
			r.Close()
			at = b.NextOffset()
		}
		sp.Release()
	}
	return have
}

func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(files) < 3 {
		t.Fatalf("segments %v, %v", files, err)
	}
	return files
}

func change(t *testing.T, path string, fn func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, fn(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedFilesAreSetAsideAndTheRestIsServed(t *testing.T) {
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)*n/100] } }
	for _, c := range []struct {
		name   string
		which  func(files []string) string
		fn     func([]byte) []byte
		lost   bool // whether records may be gone
		report bool // whether damage must be told, at the latest when it is read
	}{
		{"sealed segment cut in half", func(f []string) string { return f[1] }, cut(50), true, true},
		{"sealed segment emptied", func(f []string) string { return f[1] }, cut(0), true, true},
		{"sealed segment of zeros", func(f []string) string { return f[1] }, func(b []byte) []byte { return make([]byte, len(b)) }, true, true},
		{"both meta pages gone", func(f []string) string { return f[0] }, func(b []byte) []byte { clear(b[:2*blockSize]); return b }, true, true},
		{"active segment cut in half", func(f []string) string { return f[len(f)-1] }, cut(50), true, true},
		{"active segment emptied", func(f []string) string { return f[len(f)-1] }, cut(0), true, true},
		{"journal cut in half", func(f []string) string { return filepath.Join(filepath.Dir(f[0]), journalName) }, cut(50), false, true},
		{"journal header flipped", func(f []string) string { return filepath.Join(filepath.Dir(f[0]), journalName) }, func(b []byte) []byte { b[12] ^= 1; return b }, false, true},
		{"journal of zeros", func(f []string) string { return filepath.Join(filepath.Dir(f[0]), journalName) }, func(b []byte) []byte { clear(b); return b }, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var victim string
			s, p := damagedStore(t, func(dir string) {
				victim = c.which(segmentFiles(t, dir))
				change(t, victim, c.fn)
			})
			have := readAll(t, s, p.id, p.durable)
			if !c.lost && int64(len(have)) != p.durable {
				t.Errorf("%d of %d records are left", len(have), p.durable)
			}
			if c.lost && len(have) < int(p.durable)/3 {
				t.Errorf("only %d of %d records are left", len(have), p.durable)
			}
			if d := s.Damage(); c.report != (len(d) > 0) || len(d) > 0 && !strings.HasPrefix(d[0].Path, victim+".damaged") {
				t.Errorf("reported %+v", d)
			}
			if _, err := os.Stat(victim + ".damaged"); err != nil {
				t.Error("the damaged file was not kept:", err)
			}
			next := newSource(t, s, "after", 9)
			next.mustAppend(t, 3, 100)
			verify(t, s, next.id, 0, 3)
		})
	}
}

func TestMissingJournalAndMissingSegmentAreNoReasonNotToStart(t *testing.T) {
	s, p := damagedStore(t, func(dir string) {
		files := segmentFiles(t, dir)
		for _, f := range []string{files[1], filepath.Join(dir, journalName)} {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	})
	if have := readAll(t, s, p.id, p.durable); len(have) == 0 || int64(len(have)) == p.durable {
		t.Fatalf("%d of %d records", len(have), p.durable)
	}
}

// flips is how many bits TestFlippedBitsNeverReachAReader flips, one by one.
func flips(t *testing.T) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("CULVERT_FLIPS"), "150"))
	if err != nil {
		t.Fatal("CULVERT_FLIPS:", err)
	}
	return n
}

// TestFlippedBitsNeverReachAReader flips one random bit per round in any file of a store that was not closed: what is served
// is right, what is gone is told, offset by offset, and no offset is given twice.
func TestFlippedBitsNeverReachAReader(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	opt := testOptions(t.TempDir())
	opt.SegmentBytes, opt.JournalBytes = 256<<10, 80<<10
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for range 40 {
		p.mustAppend(t, 4, 10<<10)
		p.mustAppend(t, 2, 300)
	}
	snapshot := copyDir(t, opt.Dir)
	files, err := os.ReadDir(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	for range flips(t) {
		dir := copyDir(t, snapshot)
		name := files[rnd.IntN(len(files))].Name()
		var at, bit int
		change(t, filepath.Join(dir, name), func(b []byte) []byte {
			if len(b) > 0 {
				at, bit = rnd.IntN(len(b)), rnd.IntN(8)
				b[at] ^= 1 << bit
			}
			return b
		})
		o := opt
		o.Dir, o.Metrics = dir, NewMetrics(prometheus.NewRegistry())
		what := fmt.Sprintf("%s byte %d bit %d", name, at, bit)
		checkHarmed(t, what, o, p, name == journalName)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}

// checkHarmed opens a store that was harmed, twice, and compares it with what p had been told to be durable. A group that is
// damaged in the journal and has none behind it looks as if it had never been finished.
func checkHarmed(t *testing.T, what string, o Options, p *source, journal bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			panic(fmt.Sprintf("%s: %v", what, r))
		}
	}()
	s, err := Open(o)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	have := readAll(t, s, p.id, p.durable)
	told := make(map[int64]bool)
	for _, d := range s.Damage() {
		for _, h := range d.Lost[p.id] {
			for off := h.From; off < min(h.To, p.durable); off++ {
				told[off] = true
			}
		}
	}
	for off := range p.durable {
		if !have[off] && !told[off] && !journal && len(s.TakenBack()) == 0 {
			t.Errorf("%s: offset %d is gone and not told: %+v", what, off, s.Damage())
			break
		}
		if have[off] && told[off] {
			t.Errorf("%s: offset %d is told to be gone: %+v", what, off, s.Damage())
			break
		}
	}
	if l := s.Log(p.id); l != nil && !journal && len(s.TakenBack()) == 0 {
		again := &source{st: s, id: p.id}
		for _, st := range s.States() {
			if st.ID == p.id {
				again.next, again.durable = st.Next, st.Next
			}
		}
		if again.next < p.durable {
			t.Errorf("%s: offset %d is given again", what, again.next)
		}
		again.mustAppend(t, 1, 100)
		if sum, err := l.Ledger(); err != nil || sum.Accepted != again.durable || sum.Stored != int64(len(have))+1 || sum.Superseded != 0 {
			t.Errorf("%s: %+v, %v; want %d accepted, %d stored: %+v", what, sum, err, again.durable, len(have)+1, s.Damage())
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	o.Metrics = NewMetrics(prometheus.NewRegistry())
	s, err = Open(o)
	if err != nil {
		t.Fatalf("%s, the second time: %v", what, err)
	}
	if d := s.Damage(); len(d) != 0 {
		t.Errorf("%s: damage again: %+v", what, d)
	}
	if got := readAll(t, s, p.id, p.durable); !maps.Equal(got, have) {
		t.Errorf("%s: %d records the second time, %d the first", what, len(got), len(have))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOneBadBatchIsAllThatIsLostWithIt(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		var bad int64
		s, p := damagedStore(t, func(dir string) {
			files := segmentFiles(t, dir)
			file := files[len(files)-1]
			if sealed {
				file = files[1]
			}
			change(t, file, func(b []byte) []byte {
				at := bytes.LastIndex(b, value(1, 0, 0)[:2]) // the value of some record: "1/"
				end := bytes.IndexByte(b[at:], '.')
				if n, err := strconv.Atoi(string(b[at+2 : at+end])); err == nil {
					bad = int64(n)
				}
				b[at+end+1] ^= 8
				return b
			})
		})
		have := readAll(t, s, p.id, p.durable)
		if have[bad] || len(have) < int(p.durable)-4 {
			t.Errorf("sealed %v: %d of %d records, offset %d is served: %v", sealed, len(have), p.durable, bad, have[bad])
		}
		if d := s.Damage(); len(d) != 1 || len(d[0].Lost[p.id]) != 1 || d[0].Lost[p.id][0].From > bad || d[0].Lost[p.id][0].To <= bad {
			t.Errorf("sealed %v: reported %+v, want offset %d", sealed, d, bad)
		}
	}
}

func TestMissingSegmentsAreToldOnceAndTheirOffsetsNotGivenAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		which func(files []string) string
	}{
		{"in the middle", func(f []string) string { return f[1] }},
		{"the oldest", func(f []string) string { return f[0] }},
		{"the newest", func(f []string) string { return f[len(f)-1] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := testOptions(t.TempDir())
			s := openTest(t, opt)
			p := newSource(t, s, "p", 0)
			for range 100 {
				p.mustAppend(t, 4, 10<<10)
				p.mustAppend(t, 1, 300)
			}
			opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
			if err := os.Remove(c.which(segmentFiles(t, opt.Dir))); err != nil {
				t.Fatal(err)
			}
			checkHarmed(t, c.name, opt, p, false)
		})
	}
}

func FuzzState(f *testing.F) {
	s := newState()
	s.applyOp(op{kind: opCreate, info: PartitionInfo{ID: 1, Topic: "t"}})
	b := makeBatch(0, 1, []byte("v"))
	b.SetProducer(7, 1, 3)
	s.Partitions[1].Apply(b)
	f.Add(s.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		// The envelope's checksum would keep the fuzzer out of what it protects.
		if st, err := decodeState(seal(stateMagic, data)); err == nil {
			again, err := decodeState(st.encode())
			if err != nil || !bytes.Equal(again.encode(), st.encode()) {
				t.Fatalf("decoded once, then %v", err)
			}
		}
		_, _ = decodeState(data)
		_, _ = decodeSummary(seal(summaryMagic, data))
		_, _, _ = decodeItems(data)
		_, _ = decodeOp(data)
	})
}

func FuzzSegment(f *testing.F) {
	dir := f.TempDir()
	opt := testOptions(dir)
	s, err := Open(opt)
	if err != nil {
		f.Fatal(err)
	}
	p := newSource(f, s, "p", 0)
	for range 5 {
		p.mustAppend(f, 2, 500)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(segmentPath(dir, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint32(5000), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, at uint32, xor uint64) {
		data = bytes.Clone(data)
		for i := range 8 {
			if pos := int(at) + i; pos < len(data) {
				data[pos] ^= byte(xor >> (8 * i))
			}
		}
		metas, _ := boltfile.Metas(data)
		for _, m := range metas { // must return
			_, _ = readContents(data, m, 1, func(*header) error { return nil }, func(*commit) error { return nil })
		}
	})
}

func TestSegmentThatCannotBeOpenedNowIsNotDamaged(t *testing.T) {
	for _, c := range []struct {
		err    error
		damage bool
	}{{unix.EMFILE, false}, {unix.ENOMEM, false}, {bolterrors.ErrTimeout, false}, {unix.EIO, true}} {
		opt := testOptions(t.TempDir())
		f := &faults{fail: map[string]error{}}
		opt.Faults = f
		s := openTest(t, opt)
		p := newSource(t, s, "p", 0)
		for range 60 {
			p.mustAppend(t, 4, 20<<10)
		}
		s.absorbMu.Lock()
		s.sealed[0].unmap()
		s.absorbMu.Unlock()
		f.set("segment.open", c.err)
		sp, err := s.Log(p.id).Read(0, p.durable, 1)
		if c.damage == (err != nil) {
			t.Errorf("%v: read returned %v", c.err, err)
		}
		if err == nil {
			sp.Release()
		}
		if d := s.Damage(); c.damage != (len(d) > 0) {
			t.Errorf("%v: set aside %+v", c.err, d)
		}
		f.set("segment.open", nil)
		if !c.damage {
			verify(t, s, p.id, 0, p.durable)
		}
	}
}
