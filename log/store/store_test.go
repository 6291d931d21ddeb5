package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testOptions(dir string) Options {
	return Options{
		Dir: dir, SegmentBytes: 1 << 20, JournalBytes: 256 << 10, DirectBytes: 32 << 10, AbsorbBytes: 64 << 10, AbsorbInterval: time.Hour,
		MaxOpenBytes: 1 << 20, MaxMaps: 2, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry()),
	}
}

func openTest(t testing.TB, opt Options) *Store {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// source is a partition of the tests: batches in, offsets assigned.
type source struct {
	st *Store
	mu sync.Mutex
	id uint32

	urgent  bool
	group   *Group
	queue   []record.Batch
	next    int64
	sent    int64
	durable int64
}

func newSource(t fatal, st *Store, topic string, index int32) *source {
	t.Helper()
	states, err := st.CreatePartitions([]PartitionInfo{{Topic: topic, TopicID: [16]byte{byte(index), 1}, Index: index}})
	if err != nil {
		t.Fatal(err)
	}
	return &source{st: st, id: states[0].ID}
}

func makeBatch(base int64, ts int64, values ...[]byte) record.Batch {
	var b record.Builder
	for _, v := range values {
		b.Append(ts, nil, v, nil)
	}
	return slices.Clone(b.Finish(base, 0, record.None, nil))
}

// append adds a batch of n records of size bytes and returns the group.
func (s *source) append(n, size int) (*Group, error) {
	g, _, err := s.appendBatch(n, size, nil)
	return g, err
}

// appendBatch is append of a batch that change has changed before.
func (s *source) appendBatch(n, size int, change func(record.Batch)) (*Group, record.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([][]byte, n)
	for i := range values {
		values[i] = value(s.id, s.next+int64(i), size)
	}
	b := makeBatch(s.next, 1000+s.next, values...)
	if change != nil {
		change(b)
	}
	return s.appendReady(b)
}

// appendReady adds a batch. The caller holds mu.
func (s *source) appendReady(b record.Batch) (*Group, record.Batch, error) {
	if s.group == nil {
		g, err := s.st.Join(s, s.urgent)
		if err != nil {
			return nil, nil, err
		}
		s.group = g
	}
	b.SetBaseOffset(s.next)
	s.next = b.NextOffset()
	s.queue = append(s.queue, b)
	s.st.Grow(s.group, int64(len(b)))
	return s.group, b, nil
}

func value(id uint32, offset int64, size int) []byte {
	v := fmt.Appendf(nil, "%d/%d.", id, offset)
	return append(v, bytes.Repeat([]byte{byte(offset)}, max(0, size-len(v)))...)
}

func (s *source) Collect(dst []Entry) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.queue {
		dst = append(dst, Entry{s.id, b})
	}
	s.queue, s.group, s.sent = nil, nil, s.next
	return dst
}

func (s *source) Committed() {
	s.mu.Lock()
	s.durable = s.sent
	s.mu.Unlock()
}

func (s *source) Failed() {
	s.mu.Lock()
	s.next = s.durable
	s.mu.Unlock()
}

func (s *source) mustAppend(t fatal, n, size int) {
	t.Helper()
	g, err := s.append(n, size)
	if err != nil {
		t.Fatal(err)
	}
	<-g.Done()
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
}

// verify reads a partition from offset from to its end and checks every record.
func verify(t fatal, st *Store, id uint32, from, end int64) {
	t.Helper()
	l := st.Log(id)
	if l == nil {
		t.Fatalf("partition %d is unknown", id)
	}
	for at := from; at < end; {
		sp, err := l.Read(at, end, 64<<10)
		if err != nil {
			t.Fatalf("partition %d at %d: %v", id, at, err)
		}
		if len(sp.Batches) == 0 {
			t.Fatalf("partition %d ends at %d, want %d", id, at, end)
		}
		for _, b := range sp.Batches {
			if b.BaseOffset() > at || b.NextOffset() <= at {
				t.Fatalf("partition %d at %d: batch of offsets %d to %d", id, at, b.BaseOffset(), b.LastOffset())
			}
			var r record.Reader
			for _ = r.Reset(b, 1<<20); r.Next(); {
				rec := r.Record()
				want := value(id, rec.Offset, len(rec.Value))
				if !bytes.Equal(rec.Value, want) {
					t.Fatalf("partition %d offset %d: %.20q, want %.20q", id, rec.Offset, rec.Value, want)
				}
			}
			if r.Err() != nil {
				t.Fatal(r.Err())
			}
			r.Close()
			at = b.NextOffset()
		}
		sp.Release()
	}
}

// copyDir copies the files of a store that has nothing in flight: what SIGKILL would leave.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, f.Name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestSmallGroupsSurviveAKillInTheJournal(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	a, b := newSource(t, s, "a", 0), newSource(t, s, "b", 1)
	for range 20 {
		a.mustAppend(t, 3, 100)
		b.mustAppend(t, 1, 50)
	}
	verify(t, s, a.id, 0, 60)
	opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
	s2 := openTest(t, opt)
	verify(t, s2, a.id, 0, 60)
	verify(t, s2, b.id, 0, 20)
	for _, st := range s2.States() {
		if want := map[uint32]int64{a.id: 60, b.id: 20}[st.ID]; st.Next != want {
			t.Errorf("partition %s ends at %d, want %d", st.Topic, st.Next, want)
		}
	}
}

func TestReadersSeeOneLogAcrossMemoryActiveAndSealedSegments(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p, q := newSource(t, s, "p", 0), newSource(t, s, "q", 1)
	for i := range 120 {
		p.mustAppend(t, 4, 10<<10) // goes to the segment at once
		q.mustAppend(t, 1+i%3, 200)
	}
	if st := s.Stats(); st.Segments < 4 {
		t.Fatalf("%d segments, want several", st.Segments)
	}
	verify(t, s, p.id, 0, p.durable)
	verify(t, s, q.id, 0, q.durable)
	verify(t, s, q.id, 17, q.durable)
	opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
	s2 := openTest(t, opt)
	verify(t, s2, p.id, 0, p.durable)
	verify(t, s2, q.id, 0, q.durable)
	sp, err := s2.Log(p.id).ReadTime(1000+250, 0, p.durable)
	if err != nil || len(sp.Batches) == 0 || sp.Batches[0].MaxTimestamp() < 1250 || sp.Batches[0].BaseOffset() > 252 {
		t.Fatalf("search by time: %v, %v", sp, err)
	}
	sp.Release()
}

func TestJournalWrapsAndIsOverwrittenOnlyAfterAbsorption(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.AbsorbBytes = 1 << 30 // only a full ring absorbs
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for i := range 300 {
		p.mustAppend(t, 1, 1+(i*977)%9000)
		if i%50 == 0 {
			o := opt
			o.Dir, o.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
			s2 := openTest(t, o)
			verify(t, s2, p.id, 0, p.durable)
		}
	}
	verify(t, s, p.id, 0, p.durable)
}

func TestConcurrentSourcesShareGroups(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.AbsorbInterval = 5 * time.Millisecond
	s := openTest(t, opt)
	sources := make([]*source, 8)
	for i := range sources {
		sources[i] = newSource(t, s, "t", int32(i))
	}
	var wg sync.WaitGroup
	for _, p := range sources {
		for range 2 {
			wg.Go(func() {
				for i := range 200 {
					g, err := p.append(1, 10+i*7)
					if err != nil {
						t.Error(err)
						return
					}
					if i%10 == 0 {
						<-g.Done()
					}
				}
			})
		}
		wg.Go(func() {
			for range 50 {
				p.mu.Lock()
				end := p.durable
				p.mu.Unlock()
				verify(t, s, p.id, 0, end)
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opt.Metrics = NewMetrics(prometheus.NewRegistry())
	s2 := openTest(t, opt)
	for _, p := range sources {
		verify(t, s2, p.id, 0, 400)
	}
}

type faults struct {
	mu   sync.Mutex
	fail map[string]error
}

func (f *faults) set(step string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.fail, step)
	} else {
		f.fail[step] = err
	}
}

func (f *faults) Before(step, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail[step]; err != nil {
		return &os.PathError{Op: step, Path: path, Err: err}
	}
	return nil
}

func TestFullDiskRefusesAppendsKeepsReadingAndRecovers(t *testing.T) {
	opt := testOptions(t.TempDir())
	f := &faults{fail: map[string]error{}}
	opt.Faults = f
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	p.mustAppend(t, 2, 100)
	f.set("segment.commit", unix.ENOSPC)
	g, err := p.append(4, 20<<10)
	if err != nil {
		t.Fatal(err)
	}
	<-g.Done()
	if !errors.Is(g.Err(), ErrFull) {
		t.Fatalf("commit on a full disk: %v, want ErrFull", g.Err())
	}
	for _, err := p.append(1, 1); !errors.Is(err, ErrFull); _, err = p.append(1, 1) {
		if err != nil {
			t.Fatal(err)
		}
	}
	verify(t, s, p.id, 0, 2)
	f.set("segment.commit", nil)
	waitFor(t, "appends to be taken again", func() bool { return s.Refused() == nil })
	p.mustAppend(t, 4, 20<<10)
	verify(t, s, p.id, 0, p.durable)
}

func TestBrokenDeviceStaysRefusedAndNothingUnsyncedIsAcknowledged(t *testing.T) {
	opt := testOptions(t.TempDir())
	f := &faults{fail: map[string]error{}}
	opt.Faults = f
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	p.mustAppend(t, 2, 100)
	f.set("journal.sync", unix.EIO)
	g, err := p.append(1, 10)
	if err != nil {
		t.Fatal(err)
	}
	<-g.Done()
	if !errors.Is(g.Err(), ErrFailed) || p.durable != 2 || p.next != 2 {
		t.Fatalf("err %v, durable %d, next %d", g.Err(), p.durable, p.next)
	}
	f.set("journal.sync", nil)
	if _, err := p.append(1, 10); !errors.Is(err, ErrFailed) {
		t.Fatalf("append after a failed sync: %v, want ErrFailed", err)
	}
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestDeletedPartitionsAndStartOffsetsAreRemembered(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p, q := newSource(t, s, "p", 0), newSource(t, s, "q", 1)
	p.mustAppend(t, 10, 100)
	q.mustAppend(t, 10, 100)
	if err := errors.Join(s.SetStart(p.id, 4, Gone{}), s.DropPartitions(q.id)); err != nil {
		t.Fatal(err)
	}
	opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
	s2 := openTest(t, opt)
	states := s2.States()
	if len(states) != 1 || states[0].ID != p.id || states[0].Start != 4 || states[0].Next != 10 || s2.Log(q.id) != nil {
		t.Fatalf("states %+v", states)
	}
	if r := newSource(t, s2, "r", 2); r.id <= q.id {
		t.Fatalf("id %d is used again", r.id)
	}
}

func TestReclaimDropsDeadSegmentsAndRewritesMostlyDeadOnes(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	keep, bulk := newSource(t, s, "keep", 0), newSource(t, s, "bulk", 1)
	for range 60 {
		bulk.mustAppend(t, 4, 20<<10)
		keep.mustAppend(t, 1, 100)
	}
	before := s.Stats()
	held, err := s.Log(keep.id).Read(0, 1, 1) // a reader keeps what it has begun to read
	if err != nil {
		t.Fatal(err)
	}
	last := s.Log(bulk.id).SealedRuns()
	if err := s.SetStart(bulk.id, last[len(last)-1].Next, Gone{}); err != nil {
		t.Fatal(err)
	}
	if err := s.absorb(nil); err != nil {
		t.Fatal(err)
	}
	freed, err := s.Reclaim()
	if err != nil || freed < before.SegmentBytes/2 {
		t.Fatalf("freed %d of %d, %v", freed, before.SegmentBytes, err)
	}
	if got := held.Batches[0]; !got.VerifyCRC() || got.BaseOffset() != 0 {
		t.Fatal("a held span changed")
	}
	held.Release()
	verify(t, s, keep.id, 0, 60)
	opt.Dir, opt.Metrics = copyDir(t, opt.Dir), NewMetrics(prometheus.NewRegistry())
	s2 := openTest(t, opt)
	verify(t, s2, keep.id, 0, 60)
	verify(t, s2, bulk.id, last[len(last)-1].Next, bulk.durable)
	if err := s2.SetStart(keep.id, 60, Gone{}); err != nil {
		t.Fatal(err)
	}
	if err := s2.absorb(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s2.Reclaim(); err != nil {
		t.Fatal(err)
	}
	if st := s2.Stats(); st.Segments != 1 {
		t.Fatalf("%d segments are left, want the active one", st.Segments)
	}
}

func TestSecondStoreInADirectoryIsRefused(t *testing.T) {
	opt := testOptions(t.TempDir())
	openTest(t, opt)
	opt.Metrics = NewMetrics(prometheus.NewRegistry())
	if _, err := Open(opt); err == nil {
		t.Fatal("opened twice")
	}
}

func TestStateIsEqualAfterAnyRestart(t *testing.T) {
	opt := testOptions(t.TempDir())
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	for i := range 40 {
		p.mustAppend(t, 1+i%5, 3000*(i%4))
	}
	if err := s.absorb(nil); err != nil {
		t.Fatal(err)
	}
	want := s.state.encode()
	for _, abrupt := range []bool{true, false} {
		o := opt
		o.Metrics = NewMetrics(prometheus.NewRegistry())
		if abrupt {
			o.Dir = copyDir(t, opt.Dir)
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s2 := openTest(t, o)
		if !bytes.Equal(s2.state.encode(), want) {
			t.Fatalf("abrupt %v: another state", abrupt)
		}
	}
	st, err := decodeState(want)
	if err != nil || !bytes.Equal(st.encode(), want) || !slices.Equal(slices.Sorted(maps.Keys(st.Partitions)), []uint32{p.id}) {
		t.Fatalf("decoded %+v, %v", st, err)
	}
}

// fatal is what helpers need of a test, of this package's or rapid's.
type fatal interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func TestGroupLargerThanTheMapGetsASegmentThatHoldsItWhileReadersRead(t *testing.T) {
	opt := testOptions(t.TempDir())
	opt.SegmentBytes, opt.MaxOpenBytes = 64<<10, 64<<10
	s := openTest(t, opt)
	p := newSource(t, s, "p", 0)
	p.mustAppend(t, 4, 10<<10)
	sp, err := s.Log(p.id).Read(0, 4, 1) // bbolt could not map the file anew while this is held
	if err != nil {
		t.Fatal(err)
	}
	before := s.active.Load().number
	p.mustAppend(t, 800, 10<<10)
	sp.Release()
	if seg := s.active.Load(); seg.number == before || seg.bytes.Load() > int64(seg.mapped) {
		t.Fatalf("segment %d of %d bytes, mapped %d", seg.number, seg.bytes.Load(), seg.mapped)
	}
	verify(t, s, p.id, 0, p.durable)
}
