package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// badBlock fails the first read of the journal, which is a large one, and of the reads block by block that follow the
// one with number bad.
type badBlock struct {
	reads atomic.Int64
	bad   int64
}

func (f *badBlock) Before(step, path string) error {
	if step != "journal.read" {
		return nil
	}
	if n := f.reads.Add(1); n == 1 || n == f.bad+1 {
		return &os.PathError{Op: step, Path: path, Err: unix.EIO}
	}
	return nil
}

func TestJournalWithABadBlockLosesItsGroupAlone(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.AbsorbBytes, opt.AbsorbInterval = 1<<30, time.Hour
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0) // the first block
	for range 10 {
		p.mustAppend(t, 1, 100) // a block each
	}
	opt.Dir, opt.Metrics, opt.Faults = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry()), &badBlock{bad: 5}
	s2 := openTest(t, opt)
	have := readAll(t, s2, p.id, p.durable)
	if len(have) != 9 || have[3] {
		t.Fatalf("records %v, want all but offset 3", have)
	}
	if d := s2.Damage(); len(d) != 2 || !slices.Equal(d[0].Lost[p.id], []Hole{{3, 4}}) || filepath.Base(d[1].Path) != "journal.damaged" {
		t.Fatalf("reported %+v", d)
	}
	q := newSource(t, s2, "q", 1)
	q.mustAppend(t, 1, 100)
	verify(t, reopen(t, opt), q.id, 0, 1)
}

// TestBatchesOfALostPartitionDoNotTurnUpInAnother loses the creation of a partition with the active segment, while the
// journal still has its batches.
func TestBatchesOfALostPartitionDoNotTurnUpInAnother(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.AbsorbBytes, opt.AbsorbInterval = 1<<30, time.Hour
	s := openTest(t, opt)
	lost := newSource(t, s, "lost", 0)
	lost.mustAppend(t, 4, 20<<10) // its creation is in the segment now
	lost.mustAppend(t, 3, 100)
	opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
	change(t, opt.Dir+"/journal", func(b []byte) []byte { clear(b[blockSize : 2*blockSize]); return b }) // and not in the journal
	change(t, segmentPath(opt.Dir, 1), func(b []byte) []byte { return b[:100] })
	s2, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	other := newSource(t, s2, "other", 7)
	if other.id != lost.id {
		t.Fatalf("id %d, this test wants %d again", other.id, lost.id)
	}
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	opt.Metrics = NewMetrics(prometheus.NewRegistry())
	s3 := openTest(t, opt)
	if n := s3.Log(other.id).Size(); n != 0 {
		t.Fatalf("a new partition has %d bytes of another", n)
	}
}

func TestStoreOpensOnAFullDiskAndServesWhatTheJournalHolds(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.AbsorbBytes, opt.AbsorbInterval = 1<<30, time.Hour
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for range 300 { // more than once around
		p.mustAppend(t, 1, 3000)
	}
	q := newSource(t, s, "q", 1)
	q.mustAppend(t, 2, 100)
	f := &faults{fail: map[string]error{"segment.commit": unix.ENOSPC}}
	opt.Dir, opt.Metrics, opt.Faults = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry()), f
	s2 := openTest(t, opt)
	if err := s2.Refused(); !errors.Is(err, ErrFull) {
		t.Fatalf("refused: %v, want ErrFull", err)
	}
	verify(t, s2, p.id, 0, p.durable)
	verify(t, s2, q.id, 0, 2)
	for _, st := range s2.States() {
		if want := map[uint32]int64{p.id: p.durable, q.id: 2}[st.ID]; st.Next != want {
			t.Errorf("partition %d ends at %d, want %d", st.ID, st.Next, want)
		}
	}
	if err := s2.SetStart(p.id, 100, Gone{}); err != nil { // in the journal, behind what is there
		t.Fatal(err)
	}
	verify(t, reopen(t, opt), p.id, 100, p.durable)
	f.set("segment.commit", nil)
	waitFor(t, "appends to be taken", func() bool { return s2.Refused() == nil })
	p.st, p.next = s2, p.durable
	for range 100 {
		p.mustAppend(t, 1, 3000)
	}
	r := newSource(t, s2, "r", 2)
	if r.id <= q.id {
		t.Fatalf("id %d is used again", r.id)
	}
	s3 := reopen(t, opt)
	verify(t, s3, p.id, 100, p.durable)
	verify(t, s3, q.id, 0, 2)
}

func TestDamagedMetaPageOfTheActiveSegmentIsReported(t *testing.T) {
	for page := range 2 {
		opt := testOptions(t.TempDir())
		s := openTest(t, opt)
		p := newSource(t, s, "p", 0)
		for range 3 {
			p.mustAppend(t, 4, 10<<10)
		}
		opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
		change(t, segmentPath(opt.Dir, 1), func(b []byte) []byte { b[page*blockSize+29] ^= 64; return b })
		s2 := openTest(t, opt)
		if d := s2.Damage(); len(d) != 1 {
			t.Errorf("meta page %d: reported %+v", page, d)
		}
		if have := readAll(t, s2, p.id, p.durable); len(have) < 8 {
			t.Errorf("meta page %d: %d records", page, len(have))
		}
	}
}
