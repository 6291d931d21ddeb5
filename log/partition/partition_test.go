package partition

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openStore(t testing.TB, opt store.Options) *store.Store {
	t.Helper()
	opt.Logger, opt.Metrics = slog.New(slog.DiscardHandler), store.NewMetrics(prometheus.NewRegistry())
	st, err := store.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return st
}

func newPartitions(t testing.TB, st *store.Store, n int) []*Partition {
	t.Helper()
	infos := make([]store.PartitionInfo, n)
	for i := range infos {
		infos[i] = store.PartitionInfo{Topic: "t", TopicID: [16]byte{1}, Index: int32(i)}
	}
	states, err := st.CreatePartitions(infos)
	if err != nil {
		t.Fatal(err)
	}
	set := &Settings{Codec: record.LZ4}
	all := make([]*Partition, n)
	for i, s := range states {
		all[i] = New(st, set, s, func() {})
	}
	return all
}

func wait(t testing.TB, g *store.Group) {
	t.Helper()
	<-g.Done()
	if err := g.Err(); err != nil {
		t.Fatal(err)
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

// batch builds a client's batch of n records with sequence numbers from seq.
func batch(producer int64, epoch int16, seq int32, n int) record.Batch {
	var b record.Builder
	for i := range n {
		b.Append(int64(1000+i), []byte("k"), fmt.Appendf(nil, "%d/%d", producer, int(seq)+i), nil)
	}
	out := slices.Clone(b.Finish(0, -1, record.None, nil))
	out.SetProducer(producer, epoch, seq)
	return out
}

// records reads a partition from its start and returns what fn makes of each record.
func records(t testing.TB, p *Partition, fn func(*record.Record) string) []string {
	t.Helper()
	var all []string
	for at := p.Start(); at < p.End(); {
		s, err := p.Read(at, math.MaxInt64, 1<<20)
		if err != nil || len(s.Batches) == 0 {
			t.Fatalf("at %d of %d: %d batches, %v", at, p.End(), len(s.Batches), err)
		}
		for _, b := range s.Batches {
			var r record.Reader
			if err := r.Reset(b, 1<<20); err != nil {
				t.Fatal(err)
			}
			for r.Next() {
				if r.Record().Offset != at {
					t.Fatalf("offset %d, want %d", r.Record().Offset, at)
				}
				all = append(all, fn(r.Record()))
				at++
			}
			r.Close()
		}
		s.Release()
	}
	return all
}

// noise returns n bytes that do not compress, the same in every run.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestSingleRecordsAndBatchesKeepTheOrderOfTheirAppends(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir()})
	p := newPartitions(t, st, 1)[0]
	var want []string
	var last *store.Group
	for i := range 200 {
		v := fmt.Sprintf("single %d", i)
		off, g, err := p.Append(int64(i), []byte("key"), []byte(v), []record.Header{{Key: []byte("h"), Value: []byte("x")}})
		if err != nil || off != int64(len(want)) {
			t.Fatalf("offset %d, want %d, %v", off, len(want), err)
		}
		want = append(want, v)
		if i%7 == 0 {
			a, err := p.AppendBatch(batch(-1, -1, -1, 3))
			if err != nil || a.BaseOffset != int64(len(want)) {
				t.Fatalf("%+v, want offset %d, %v", a, len(want), err)
			}
			want = append(want, "-1/-1", "-1/0", "-1/1")
		}
		last = g
		if i%50 == 0 {
			wait(t, g)
		}
	}
	wait(t, last)
	got := records(t, p, func(r *record.Record) string { return string(r.Value) })
	if !slices.Equal(got, want) {
		t.Fatalf("read %d records, want %d", len(got), len(want))
	}
}

func TestIdempotentProducerIsStoredOnceAndKeptInSequence(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir()})
	p := newPartitions(t, st, 1)[0]
	add := func(epoch int16, seq int32, n int) (Appended, error) {
		a, err := p.AppendBatch(batch(7, epoch, seq, n))
		if err == nil && a.Commit != nil {
			wait(t, a.Commit)
		}
		return a, err
	}
	for i := range int32(6) {
		if a, err := add(0, i*2, 2); err != nil || a.Duplicate || a.BaseOffset != int64(i*2) {
			t.Fatalf("batch %d: %+v, %v", i, a, err)
		}
	}
	if a, err := add(0, 4, 2); err != nil || !a.Duplicate || a.BaseOffset != 4 || a.Commit != nil {
		t.Fatalf("repeated batch: %+v, %v", a, err)
	}
	if _, err := add(0, 0, 2); !errors.Is(err, store.ErrOutOfOrderSequence) {
		t.Fatalf("batch that has left the window: %v", err)
	}
	if _, err := add(0, 14, 1); !errors.Is(err, store.ErrOutOfOrderSequence) {
		t.Fatalf("gap: %v", err)
	}
	if _, err := add(1, 5, 1); !errors.Is(err, store.ErrOutOfOrderSequence) {
		t.Fatalf("new epoch must begin at 0: %v", err)
	}
	if _, err := add(1, 0, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := add(0, 12, 1); !errors.Is(err, store.ErrInvalidProducerEpoch) {
		t.Fatalf("old epoch: %v", err)
	}
}

func TestSequenceWrapsAtMaxInt32(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir()})
	p := newPartitions(t, st, 1)[0]
	for _, seq := range []int32{math.MaxInt32 - 1, 0, 1} {
		n := 1
		if seq > 1 {
			n = 2
		}
		if _, err := p.AppendBatch(batch(7, 0, seq, n)); err != nil {
			t.Fatalf("sequence %d: %v", seq, err)
		}
	}
}

type fullDisk struct {
	mu   sync.Mutex
	full bool
}

func (f *fullDisk) set(full bool) {
	f.mu.Lock()
	f.full = full
	f.mu.Unlock()
}

func (f *fullDisk) Before(step, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full && step == "segment.commit" {
		return unix.ENOSPC
	}
	return nil
}

func TestFailedCommitLeavesNoGapAndNoTraceOfItsProducer(t *testing.T) {
	disk := &fullDisk{}
	st := openStore(t, store.Options{Dir: t.TempDir(), DirectBytes: 16 << 10, Faults: disk})
	p := newPartitions(t, st, 1)[0]
	a, err := p.AppendBatch(batch(7, 0, 0, 2))
	if err != nil {
		t.Fatal(err)
	}
	wait(t, a.Commit)
	disk.set(true)
	_, g, err := p.Append(1, nil, noise(60_000), nil)
	if err != nil {
		t.Fatal(err)
	}
	big := batch(7, 0, 2, 5000)
	if _, err := p.AppendBatch(big); err != nil && !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	<-g.Done()
	if p.End() != 2 {
		t.Fatalf("end %d, want 2", p.End())
	}
	for { // whatever had joined before has failed when this is refused
		_, g, err := p.Append(1, nil, noise(32<<10), nil)
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		<-g.Done()
	}
	disk.set(false)
	waitFor(t, "the store to recover", func() bool { return st.Refused() == nil })
	if a, err = p.AppendBatch(batch(7, 0, 2, 5000)); err != nil || a.Duplicate || a.BaseOffset < 2 {
		t.Fatalf("%+v, %v: the failed batch must not count as stored", a, err)
	}
	wait(t, a.Commit)
	if n := len(records(t, p, func(*record.Record) string { return "" })); int64(n) != p.End() {
		t.Fatalf("%d records to offset %d", n, p.End())
	}
}

func TestRetentionByAgeAndSizeDropsWholeSegments(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir(), SegmentBytes: 1 << 20, DirectBytes: 16 << 10})
	ps := newPartitions(t, st, 2)
	value := noise(60 << 10)
	for i := range 100 {
		for _, p := range ps {
			_, g, err := p.Append(int64(i), nil, value, nil)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, g)
		}
	}
	runs := st.Log(ps[0].ID()).SealedRuns()
	if len(runs) < 3 {
		t.Fatalf("%d sealed runs", len(runs))
	}
	now := runs[1].MaxTime + 1
	to, _ := ps[0].Expiring(now, 0, -1)
	if to != runs[1].Next {
		t.Fatalf("by age: up to %d, want %d", to, runs[1].Next)
	}
	if err := ps[0].AdvanceStart(to, store.Gone{Expired: to}); err != nil || ps[0].Start() != to {
		t.Fatalf("start %d, want %d, %v", ps[0].Start(), to, err)
	}
	size := ps[1].Size()
	to, bytes := ps[1].Expiring(0, -1, size/2)
	if to == 0 || size-bytes < size/2 {
		t.Fatalf("by size: %d of %d bytes, up to %d", bytes, size, to)
	}
	if err := ps[1].AdvanceStart(to, store.Gone{Expired: to}); err != nil {
		t.Fatal(err)
	}
	if _, err := ps[0].Read(0, math.MaxInt64, 1); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("read before the start: %v", err)
	}
	before := st.Stats().SegmentBytes
	if freed, err := st.Reclaim(); err != nil || freed == 0 || st.Stats().SegmentBytes >= before {
		t.Fatalf("freed %d, %v", freed, err)
	}
	records(t, ps[0], func(*record.Record) string { return "" })
}

func TestOffsetForTimeFindsTheFirstRecordAtOrPast(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir(), SegmentBytes: 1 << 20, DirectBytes: 16 << 10, AbsorbInterval: time.Hour})
	p := newPartitions(t, st, 1)[0]
	if off, _, _, err := p.OffsetForTime(0); err != nil || off != -1 {
		t.Fatalf("empty partition: %d, %v", off, err)
	}
	value := bytes.Repeat([]byte("0123456789abcdef"), 8)
	for i := range 3000 {
		if _, _, err := p.Append(int64(10*i), nil, value, nil); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 999 {
			_, g, err := p.Append(int64(10*i), nil, bytes.Repeat([]byte{1, 2, 3, byte(i)}, 80<<10), nil)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, g)
		}
	}
	_, g, err := p.Append(40_000, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, g)
	for _, c := range []struct{ ts, offset, at int64 }{{-5, 0, 0}, {0, 0, 0}, {15, 2, 20}, {9990, 999, 9990}, {9991, 1001, 10_000}, {30_001, 3003, 40_000}, {40_001, -1, -1}} {
		off, at, epoch, err := p.OffsetForTime(c.ts)
		if err != nil || off != c.offset || at != c.at || off >= 0 && epoch != 0 {
			t.Errorf("time %d: offset %d at %d, epoch %d, %v; want %d at %d", c.ts, off, at, epoch, err, c.offset, c.at)
		}
	}
	if off, at, err := p.MaxTime(); err != nil || off != 3003 || at != 40_000 {
		t.Errorf("newest record: %d at %d, %v", off, at, err)
	}
}

func TestDeletedPartitionRefusesAppends(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir()})
	p := newPartitions(t, st, 1)[0]
	p.Close()
	if _, _, err := p.Append(0, nil, nil, nil); !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
	if _, err := p.AppendBatch(batch(-1, -1, -1, 1)); !errors.Is(err, ErrGone) {
		t.Fatal(err)
	}
}

func TestAppendDoesNotAllocatePerRecord(t *testing.T) {
	st := openStore(t, store.Options{Dir: t.TempDir(), Linger: 300 * time.Millisecond, DirectBytes: 8 << 20, MaxOpenBytes: 64 << 20})
	p := newPartitions(t, st, 1)[0]
	value := make([]byte, 150)
	headers := []record.Header{{Key: []byte("mqtt.topic"), Value: []byte("city/north/lamp-17/temp")}}
	for range 2000 {
		if _, _, err := p.Append(1, value[:10], value, headers); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(5000, func() { _, _, _ = p.Append(1, value[:10], value, headers) }); n >= 1 {
		t.Fatalf("%v allocations per record", n)
	}
}

// BenchmarkAppendAndSync measures how fast single records of 150 bytes become durable, with what each waiter has in
// flight.
func BenchmarkAppendAndSync(b *testing.B) {
	for _, c := range []struct{ writers, window int }{{1, 1}, {1, 100}, {50, 20}, {200, 100}} {
		b.Run(fmt.Sprintf("%dx%d", c.writers, c.window), func(b *testing.B) {
			st := openStore(b, store.Options{Dir: b.TempDir(), SegmentBytes: 64 << 20})
			p := newPartitions(b, st, 1)[0]
			value := bytes.Repeat([]byte("21.5 degrees, 40 % "), 8)[:150]
			headers := []record.Header{{Key: []byte("mqtt.topic"), Value: []byte("city/north/lamp-17/temp")}, {Key: []byte("mqtt.qos"), Value: []byte("1")}}
			var wg sync.WaitGroup
			b.ResetTimer()
			for w := range c.writers {
				wg.Go(func() {
					var last *store.Group
					for i := w; i < b.N; i += c.writers {
						_, g, err := p.Append(int64(i), value[:20], value, headers)
						if err != nil {
							b.Error(err)
							return
						}
						last = g
						if i/c.writers%c.window == c.window-1 {
							<-g.Done()
						}
					}
					if last != nil {
						<-last.Done()
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkBulk measures client batches of 64 kB over 16 partitions, all synced.
func BenchmarkBulk(b *testing.B) {
	st := openStore(b, store.Options{Dir: b.TempDir(), SegmentBytes: 64 << 20})
	ps := newPartitions(b, st, 16)
	var build record.Builder
	value := noise(1000)
	for range 64 {
		build.Append(1, nil, value, nil)
	}
	master := build.Finish(0, -1, record.None, nil)
	b.SetBytes(int64(len(master)))
	b.ResetTimer()
	var window []*store.Group
	for i := range b.N {
		a, err := ps[i%16].AppendBatch(slices.Clone(master))
		if err != nil {
			b.Fatal(err)
		}
		if window = append(window, a.Commit); len(window) > 64 {
			<-window[0].Done()
			window = window[1:]
		}
	}
	for _, g := range window {
		<-g.Done()
	}
}
