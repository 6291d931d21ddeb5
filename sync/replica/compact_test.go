package replica

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-mq/culvert/log/compact"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

// compacted makes a topic that is compacted as soon as anything of it is sealed, and one that is not.
func (r *rig) compacted(configs map[string]string) (p, other *Partition) {
	r.t.Helper()
	all := map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0"}
	maps.Copy(all, configs)
	r.apply(
		&meta.CreateTopic{Name: "compacted", ID: topicID(1), Partitions: 1, ReplicationFactor: 1, Configs: all},
		&meta.CreateTopic{Name: "other", ID: topicID(2), Partitions: 1, ReplicationFactor: 1})
	return r.partition("compacted", 0), r.partition("other", 0)
}

// put appends a record with a value, or a tombstone, and waits for nothing.
func (r *rig) put(p *Partition, key, value string) *store.Group {
	r.t.Helper()
	var v []byte
	if value != "" {
		v = []byte(value)
	}
	_, g, err := p.Append(r.now.UnixMilli(), []byte(key), v, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// settle waits for a group.
func (r *rig) settle(g *store.Group) {
	r.t.Helper()
	if <-g.Done(); g.Err() != nil {
		r.t.Fatal(g.Err())
	}
}

// seal appends to a partition until another segment has begun.
func (r *rig) seal(other *Partition) {
	for n := r.st.Stats().Segments; r.st.Stats().Segments == n; {
		r.fill(other, 1, 60<<10)
	}
}

// eager has segments written anew for little.
func (r *rig) eager() {
	r.m.compactor.cleaner = compact.New(compact.Options{Store: r.m.compactor.log, Worth: 1, Logger: r.m.log})
}

// shed removes the records of a partition, so that the segments that held them are worth being written anew.
func (r *rig) shed(other *Partition) {
	r.t.Helper()
	if err := other.AdvanceStart(other.HighWatermark()); err != nil {
		r.t.Fatal(err)
	}
}

// compact makes passes until nothing changes.
func (r *rig) compact() {
	r.t.Helper()
	if err := r.m.Compact(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// contents returns what a consumer reads of a partition: offset, key, value.
func (r *rig) contents(p *Partition) (all []string) {
	r.t.Helper()
	for at := p.StartOffset(); at < p.HighWatermark(); {
		s, err := p.Read(at, 10_000)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(s.Batches) == 0 {
			r.t.Fatalf("nothing to read at %d of %d", at, p.HighWatermark())
		}
		for _, b := range s.Batches {
			if b.NextOffset() <= at {
				r.t.Fatalf("batch to %d, read at %d", b.NextOffset(), at)
			}
			at = b.NextOffset()
			var rd record.Reader
			if err := rd.Reset(b, 1<<20); err != nil {
				r.t.Fatal(err)
			}
			for rd.Next() {
				rec := rd.Record()
				v := "-"
				if rec.Value != nil {
					v = string(rec.Value)
				}
				all = append(all, fmt.Sprintf("%d:%s=%s", rec.Offset, rec.Key, v))
			}
			if rd.Err() != nil {
				r.t.Fatal(rd.Err())
			}
			rd.Close()
		}
		s.Release()
	}
	return all
}

func (r *rig) wantContents(p *Partition, want ...string) {
	r.t.Helper()
	if got := r.contents(p); !slices.Equal(got, want) {
		r.t.Fatalf("%d records %.500s, want %d: %.500s", len(got), got, len(want), want)
	}
}

func TestCompactedTopicEndsWithTheLastOfEveryKey(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	var want []string
	for round := range 20 {
		var g *store.Group
		for i := range 200 {
			g = r.put(p, fmt.Sprint("k", i), fmt.Sprint("v", round, strings.Repeat(".", i)))
		}
		r.settle(g)
		if round%5 == 4 {
			r.seal(other)
		}
	}
	for i := range 200 {
		want = append(want, fmt.Sprintf("%d:k%d=v19%s", 19*200+i, i, strings.Repeat(".", i)))
	}
	r.eager()
	size, before := p.Size(), len(r.contents(other))
	r.compact()
	r.wantContents(p, want...)
	if n := len(r.contents(other)); n != before {
		t.Fatalf("%d records of another topic, had %d", n, before)
	}
	if p.Size()*4 > size {
		t.Errorf("%d bytes of %d are left", p.Size(), size)
	}
	l := p.Ledger()
	if l.Accepted != 4000 || l.Stored != 200 || l.Superseded != 3800 {
		t.Errorf("ledger %+v", l)
	}
	m := r.m.metrics.Compaction
	if testutil.ToFloat64(m.Removed.WithLabelValues("compacted")) != 3800 || testutil.ToFloat64(m.Passes) != 1 ||
		testutil.ToFloat64(m.Segments) < 3 || testutil.ToFloat64(m.Read) == 0 || testutil.ToFloat64(m.Written) == 0 || testutil.ToFloat64(m.Freed) == 0 ||
		testutil.ToFloat64(m.Dirty) != 1 || testutil.ToFloat64(m.Failures) != 0 {
		t.Errorf("metrics: %v removed, %v passes, %v segments", testutil.ToFloat64(m.Removed.WithLabelValues("compacted")), testutil.ToFloat64(m.Passes), testutil.ToFloat64(m.Segments))
	}
	r.reopen()
	p = r.partition("compacted", 0)
	r.wantContents(p, want...)
	if got := p.Ledger(); got != l {
		t.Errorf("ledger %+v, was %+v", got, l)
	}
	if k := p.log.Compaction(); k.Cleaned != 4000 {
		t.Errorf("cleaned to %d", k.Cleaned)
	}
	r.compact()
	if n := testutil.ToFloat64(r.m.metrics.Compaction.Passes); n != 0 {
		t.Errorf("%v passes with nothing to do", n)
	}
}

func TestTimesAreFoundInACompactedTopic(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	begin := r.now
	for i := range 10 {
		r.settle(r.put(p, "a", fmt.Sprint(i)))
		r.settle(r.put(p, fmt.Sprint("b", i), "v"))
		r.now = r.now.Add(time.Minute)
	}
	r.settle(r.put(p, "late", "1"))
	r.settle(r.put(p, "late", ""))
	last := r.now
	r.seal(other)
	r.shed(other)
	r.compact()
	for _, c := range []struct {
		ts   time.Time
		want int64
	}{{begin, 1}, {begin.Add(30 * time.Second), 3}, {begin.Add(9 * time.Minute), 18}, {last, 21}, {last.Add(time.Millisecond), -1}} {
		if off, _, _, err := p.OffsetForTime(c.ts.UnixMilli()); err != nil || off != c.want {
			t.Errorf("first at %v: offset %d, %v; want %d", c.ts.Sub(begin), off, err, c.want)
		}
	}
	if off, ts, err := p.MaxTime(); err != nil || off != 21 || ts != last.UnixMilli() {
		t.Errorf("latest: %d, %d, %v", off, ts, err)
	}
	r.now = r.now.Add(25 * time.Hour)
	r.settle(r.put(p, "b0", "new"))
	r.seal(other)
	r.compact() // of the tombstone at the end nothing but the batch may be left
	if off, _, err := p.MaxTime(); err != nil || off != 22 {
		t.Errorf("latest: %d, %v", off, err)
	}
}

func TestTombstoneIsReadForItsTimeAndThenGone(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(map[string]string{"delete.retention.ms": "60000"})
	gone := strings.Repeat("gone", 50)
	for i := range 100 {
		r.put(p, gone, fmt.Sprint(i))
	}
	r.put(p, gone, "")
	r.settle(r.put(p, "stays", "1"))
	r.seal(other)
	r.shed(other)
	r.compact()
	r.wantContents(p, "100:"+gone+"=-", "101:stays=1")
	r.now = r.now.Add(time.Minute - time.Millisecond)
	r.settle(r.put(p, "more", "1"))
	r.seal(other)
	r.shed(other)
	r.compact()
	r.wantContents(p, "100:"+gone+"=-", "101:stays=1", "102:more=1")
	r.now = r.now.Add(2 * time.Millisecond)
	r.settle(r.put(p, "more", "2"))
	r.seal(other)
	r.shed(other)
	r.compact()
	r.wantContents(p, "101:stays=1", "103:more=2")
}

func TestRecordsAreSafeForTheCompactionLag(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(map[string]string{"min.compaction.lag.ms": "60000"})
	r.put(p, "a", "1")
	r.settle(r.put(p, "a", "2"))
	r.seal(other)
	r.shed(other)
	r.compact()
	r.wantContents(p, "0:a=1", "1:a=2")
	r.now = r.now.Add(time.Minute)
	r.settle(r.put(p, "a", "3"))
	r.seal(other)
	r.shed(other)
	r.compact()
	r.wantContents(p, "1:a=2", "2:a=3")
}

func TestNothingOfTombstonesGoesWhileTheClockIsNotToBeBelieved(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(map[string]string{"delete.retention.ms": "0"})
	r.unset = true
	r.put(p, "a", "1")
	r.put(p, "a", "")
	r.settle(r.put(p, "b", "1"))
	r.seal(other)
	r.seal(other)
	for range 3 {
		r.now = r.now.Add(time.Hour)
		if err := r.m.Clean(t.Context(), Limits{}); err != nil {
			t.Fatal(err)
		}
		r.compact()
	}
	if got := r.contents(p); !slices.Contains(got, "1:a=-") {
		t.Fatalf("%s", got)
	}
	r.unset = false
	for range 3 {
		r.now, r.up = r.now.Add(time.Hour), r.up+time.Hour
		if err := r.m.Clean(t.Context(), Limits{}); err != nil {
			t.Fatal(err)
		}
		r.settle(r.put(p, "c", "1"))
		r.seal(other)
		r.shed(other)
		r.compact()
	}
	if got := r.contents(p); slices.Contains(got, "0:a=1") {
		t.Fatalf("%s", got)
	}
}

func TestRecordsOfAnAbortedTransactionGoAndThoseOfAnOpenOneStay(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(nil)
	add := func(b record.Batch) {
		t.Helper()
		a, err := p.AppendBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		r.settle(a.Commit)
	}
	of := func(producer int64, key, value string) record.Batch {
		var bl record.Builder
		bl.Append(r.now.UnixMilli(), []byte(key), []byte(value), nil)
		b := bl.Finish(0, -1, record.None, nil)
		b[22] |= 1 << 4 // transactional
		b.SetProducer(producer, 0, 0)
		return b
	}
	end := func(producer int64, commit bool) {
		add(record.NewMarker(producer, 0, record.Marker{Commit: commit}, r.now.UnixMilli()))
	}
	add(of(1, "a", "committed"))
	end(1, true)
	add(of(2, "a", "aborted"))
	end(2, false)
	add(of(3, "a", "open"))
	r.settle(r.put(p, "a", "behind"))
	r.settle(r.put(p, "a", "last"))
	r.seal(other)
	r.shed(other)
	r.compact()
	keys := func() (got []string) {
		for _, rec := range r.contents(p) {
			if at, rec, _ := strings.Cut(rec, ":"); rec[0] == 'a' {
				got = append(got, at+":"+rec)
			}
		}
		return got
	}
	if got := keys(); !slices.Equal(got, []string{"0:a=committed", "4:a=open", "5:a=behind", "6:a=last"}) {
		t.Fatalf("%q", got)
	}
	end(3, true)
	r.settle(r.put(p, "b", "1"))
	r.seal(other)
	r.shed(other)
	r.eager() // the producers' last batches stay, without their records
	r.compact()
	if got := keys(); !slices.Equal(got, []string{"6:a=last"}) {
		t.Fatalf("%q", got)
	}
	r.reopen()
	p = r.partition("compacted", 0)
	if k := p.log.Compaction(); k.Producers[2].Last != 2 || k.Stable != p.HighWatermark() {
		t.Fatalf("%+v", k)
	}
	if got := keys(); !slices.Equal(got, []string{"6:a=last"}) {
		t.Fatalf("%q", got)
	}
}

func TestTopicThatIsCompactedAndDeletedLosesWhatIsOldToo(t *testing.T) {
	r := newRig(t)
	p, other := r.compacted(map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "60000"})
	r.put(p, "a", "1")
	r.settle(r.put(p, "a", "2"))
	r.seal(other)
	r.now = r.now.Add(61 * time.Second)
	r.put(p, "b", "1")
	r.put(p, "b", "2")
	r.settle(r.put(p, "b", "3"))
	r.seal(other)
	r.shed(other)
	if err := r.m.Clean(t.Context(), Limits{}); err != nil {
		t.Fatal(err)
	}
	r.compact()
	r.wantContents(p, "4:b=3")
	if l := p.Ledger(); l.Expired != 2 || l.Superseded != 2 || l.Stored != 1 {
		t.Fatalf("%+v", l)
	}
}
