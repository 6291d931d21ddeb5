package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/sync/meta"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLog is an offsets topic in memory.
type memLog struct {
	mu     sync.Mutex
	n      int
	exists bool
	parts  []Partition
	fail   error
	hold   chan struct{} // commits are durable when it is closed, at once when it is nil
	unread int           // reads that fail
}

func (l *memLog) Partitions(_ context.Context, create bool) ([]Partition, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.exists && !create {
		return nil, nil
	}
	for len(l.parts) < l.n {
		l.parts = append(l.parts, &memPartition{log: l})
	}
	l.exists = true
	return l.parts, nil
}

type memPartition struct {
	log     *memLog
	mu      sync.Mutex
	batches []record.Batch
	start   int64
	end     int64
}

type memCommit struct {
	done chan struct{}
	err  error
}

func (c memCommit) Done() <-chan struct{} { return c.done }
func (c memCommit) Err() error            { return c.err }

func (l *memLog) commit() Commit {
	c := memCommit{l.hold, l.fail}
	if c.done == nil {
		c.done = make(chan struct{})
		close(c.done)
	}
	return c
}

func (p *memPartition) AppendBatch(b record.Batch) (int64, Commit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.fail != nil {
		return 0, p.log.commit(), nil
	}
	b.SetBaseOffset(p.end)
	p.batches = append(p.batches, b)
	p.end = b.NextOffset()
	return b.BaseOffset(), p.log.commit(), nil
}

func (p *memPartition) StartOffset() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start
}

func (p *memPartition) HighWatermark() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

func (p *memPartition) Read(from int64, _ int) ([]record.Batch, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.unread > 0 {
		p.log.unread--
		return nil, nil, errors.New("the disk does not answer")
	}
	i := slices.IndexFunc(p.batches, func(b record.Batch) bool { return b.NextOffset() > from })
	if i < 0 {
		return nil, func() {}, nil
	}
	return p.batches[i:min(len(p.batches), i+3)], func() {}, nil
}

func (p *memPartition) AdvanceStart(offset int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = max(p.start, offset)
	p.batches = slices.DeleteFunc(p.batches, func(b record.Batch) bool { return b.NextOffset() <= offset })
	return nil
}

type testClock struct{ now time.Time }

// noon is a time that a clock can show.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func open(t interface {
	Helper()
	Fatal(...any)
}, l *memLog, c *testClock) *Coordinator {
	t.Helper()
	g, err := Open(context.Background(), Options{
		Log: l, Retention: func() time.Duration { return time.Hour }, Now: func() time.Time { return c.now }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func at(topic string, partition int32, offset int64) Offset {
	return Offset{TopicPartition{topic, partition}, offset, 3, "m"}
}

func TestCommittedOffsetsAreThereAfterARestart(t *testing.T) {
	l, c := &memLog{n: 3}, &testClock{noon}
	g := open(t, l, c)
	if got := g.Fetch("g"); len(got) != 0 || l.exists {
		t.Fatal("fetching must not create the topic")
	}
	if err := errors.Join(
		g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, 5), at("b", 1, 7)}),
		g.Commit(t.Context(), "h", -1, []Offset{at("a", 0, 1)}),
		g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, 6)})); err != nil {
		t.Fatal(err)
	}
	want := []Offset{at("a", 0, 6), at("b", 1, 7)}
	for _, g := range []*Coordinator{g, open(t, l, c)} {
		if got := g.Fetch("g"); !slices.Equal(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

func TestFailedCommitIsNotApplied(t *testing.T) {
	l, c := &memLog{n: 1}, &testClock{}
	g := open(t, l, c)
	if err := g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, 5)}); err != nil {
		t.Fatal(err)
	}
	l.fail = errors.New("disk full")
	if err := g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, 6)}); !errors.Is(err, l.fail) {
		t.Fatal(err)
	}
	if got := g.Fetch("g"); got[0].Offset != 5 {
		t.Fatalf("got %+v", got)
	}
}

func TestGenerationOfAGroupNobodyJoinedIsRefused(t *testing.T) {
	g := open(t, &memLog{n: 1}, &testClock{noon})
	if err := g.Commit(t.Context(), "g", 1, []Offset{at("a", 0, 5)}); !errors.Is(err, ErrIllegalGeneration) || errors.Is(err, ErrUnknownMember) {
		t.Fatal(err)
	}
	if err := g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, 5)}); err != nil {
		t.Fatal(err)
	}
	if err := g.Commit(t.Context(), "g", 1, []Offset{at("a", 0, 6)}); !errors.Is(err, ErrUnknownMember) {
		t.Fatal(err)
	}
	if got := g.Fetch("g"); got[0].Offset != 5 {
		t.Fatalf("got %+v", got)
	}
}

func TestOffsetsExpireExceptThoseOfInternalGroups(t *testing.T) {
	l, c := &memLog{n: 2}, &testClock{noon}
	g := open(t, l, c)
	commit := func(group string, o Offset) {
		t.Helper()
		if err := g.Commit(t.Context(), group, -1, []Offset{o}); err != nil {
			t.Fatal(err)
		}
	}
	commit("g", at("old", 0, 1))
	commit("__node", at("old", 0, 1))
	c.now = c.now.Add(50 * time.Minute)
	commit("g", at("new", 0, 1))
	c.now = c.now.Add(20 * time.Minute)
	if err := g.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, g := range []*Coordinator{g, open(t, l, c)} {
		if got := g.Fetch("g"); len(got) != 1 || got[0].Topic != "new" || len(g.Fetch("__node")) != 1 {
			t.Fatalf("left %+v, %+v", got, g.Fetch("__node"))
		}
	}
	if err := g.DropTopic(t.Context(), "new"); err != nil || len(g.Fetch("g")) != 0 {
		t.Fatal("offsets of a dropped topic stay:", err)
	}
}

func TestLogOfOffsetsStaysSmall(t *testing.T) {
	l, c := &memLog{n: 1}, &testClock{noon}
	g := open(t, l, c)
	const partitions = 1500
	all := make([]Offset, partitions)
	for round := range 3 * rewriteRecords / partitions {
		for i := range all {
			all[i] = at("t", int32(i), int64(round))
		}
		if err := g.Commit(t.Context(), "g", -1, all); err != nil {
			t.Fatal(err)
		}
	}
	p := l.parts[0].(*memPartition)
	if n := p.end - p.start; n >= rewriteRecords+2*partitions {
		t.Fatalf("%d records are kept for %d offsets", n, partitions)
	}
	for _, g := range []*Coordinator{g, open(t, l, c)} {
		if got := g.Fetch("g"); !slices.Equal(got, all) {
			t.Fatal("offsets changed")
		}
	}
}

func TestGroupsBelongToThePartitionKafkaWouldChoose(t *testing.T) {
	for _, c := range []struct {
		group string
		hash  int64 // String.hashCode, by the book
	}{
		{"", 0}, {"a", 97}, {"ab", 3105}, {"hello", 99162322},
		{"The quick brown fox jumps over the lazy dog", -609428141},
		{"polygenelubricants", -1 << 31}, // the one without an absolute value: Kafka takes 0
	} {
		for _, n := range []int64{1, 7, 50} {
			want := max(c.hash, -c.hash) % n
			if c.hash == -1<<31 {
				want = 0
			}
			if got := PartitionFor(c.group, int(n)); int64(got) != want {
				t.Errorf("group %q of %d: %d, want %d", c.group, n, got, want)
			}
		}
	}
	if PartitionFor("\U0001F6A6", 1000) != int32((0xD83D*31+0xDEA6)%1000) {
		t.Error("a character beyond 16 bits counts as two in Java")
	}
}

func TestOtherRecordsOfTheTopicArePassedOver(t *testing.T) {
	s := newOffsets()
	k := kmsg.GroupMetadataKey{Version: 2, Group: "g"}
	if err := s.apply(4, k.AppendTo(nil), []byte("x")); !errors.Is(err, errNotOffset) || s.next != 5 {
		t.Fatal(err, s.next)
	}
}

func TestOffsetsAreWhatTheNewestCommitSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l, c := &memLog{n: rapid.IntRange(1, 3).Draw(rt, "partitions")}, &testClock{noon}
		g := open(rt, l, c)
		want := map[string]map[TopicPartition]Offset{}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				name := rapid.SampledFrom([]string{"g", "h", "__i"}).Draw(rt, "group")
				o := at(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "topic"), rapid.Int32Range(0, 2).Draw(rt, "partition"), rapid.Int64Range(0, 99).Draw(rt, "offset"))
				if err := g.Commit(t.Context(), name, -1, []Offset{o}); err != nil {
					rt.Fatal(err)
				}
				if want[name] == nil {
					want[name] = map[TopicPartition]Offset{}
				}
				want[name][o.TopicPartition] = o
			},
			"drop": func(rt *rapid.T) {
				if err := g.DropTopic(t.Context(), "a"); err != nil {
					rt.Fatal(err)
				}
				for _, m := range want {
					delete(m, TopicPartition{"a", 0})
					delete(m, TopicPartition{"a", 1})
					delete(m, TopicPartition{"a", 2})
				}
			},
			"restart": func(rt *rapid.T) { g = open(rt, l, c) },
			"": func(rt *rapid.T) {
				for name, m := range want {
					got := g.Fetch(name)
					if len(got) != len(m) {
						rt.Fatalf("group %s: %+v, want %+v", name, got, m)
					}
					for _, o := range got {
						if m[o.TopicPartition] != o {
							rt.Fatalf("group %s: %+v, want %+v", name, o, m[o.TopicPartition])
						}
					}
				}
			},
		})
	})
}

func TestCommitThatNobodyWaitsForCountsOnceItIsDurable(t *testing.T) {
	l, c := &memLog{n: 1}, &testClock{noon}
	g := open(t, l, c)
	l.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Commit(ctx, "g", -1, []Offset{at("a", 0, 5)}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := g.Fetch("g"); len(got) != 0 {
		t.Fatalf("it is not durable: %+v", got)
	}
	close(l.hold)
	for _, g := range []*Coordinator{g, open(t, l, c)} {
		if got := g.Fetch("g"); len(got) != 1 || got[0].Offset != 5 {
			t.Fatalf("got %+v", got)
		}
	}
}

func TestLateCommitDoesNotUndoANewerOne(t *testing.T) {
	l, c := &memLog{n: 1}, &testClock{noon}
	g := open(t, l, c)
	hold := make(chan struct{})
	l.hold = hold
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = g.Commit(ctx, "g", -1, []Offset{at("a", 0, 5)})
	l.hold = nil
	if err := g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, 6)}); err != nil {
		t.Fatal(err)
	}
	close(hold)
	if got := g.Fetch("g"); len(got) != 1 || got[0].Offset != 6 {
		t.Fatalf("got %+v", got)
	}
	if err := g.DropTopic(t.Context(), "a"); err != nil || len(g.Fetch("g")) != 0 || len(open(t, l, c).Fetch("g")) != 0 {
		t.Fatal(err, g.Fetch("g"))
	}
}

func TestOffsetsInMemoryAreBounded(t *testing.T) {
	l, c := &memLog{n: 2}, &testClock{noon}
	g := open(t, l, c)
	const limit = 64 << 10
	g.opt.MaxBytes = limit
	var err error
	n := 0
	for ; err == nil; n++ {
		err = g.Commit(t.Context(), fmt.Sprint("g", n), -1, []Offset{at("a", 0, 5)})
	}
	if !errors.Is(err, ErrTooMany) || n < limit/400 || n > limit/100 {
		t.Fatal(n, err)
	}
	for i := range n - 1 { // what is there can go on
		if err := g.Commit(t.Context(), fmt.Sprint("g", i), -1, []Offset{at("a", 0, 6)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.DropTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for _, s := range g.shards {
		if s.state.bytes != 0 || s.state.count != 0 {
			t.Fatalf("%d bytes are counted for nothing", s.state.bytes)
		}
	}
}

func TestNamesThatNoRecordCanHoldAreRefused(t *testing.T) {
	l := &memLog{n: 1}
	g := open(t, l, &testClock{noon})
	long := at("a", 0, 1)
	long.Metadata = strings.Repeat("m", maxText+1)
	for _, err := range []error{
		g.Commit(t.Context(), strings.Repeat("g", MaxGroupName+1), -1, []Offset{at("a", 0, 1)}),
		g.Commit(t.Context(), "g", -1, []Offset{at(strings.Repeat("t", meta.MaxTopicName+1), 0, 1)}),
		g.Commit(t.Context(), "g", -1, []Offset{long}),
	} {
		if !errors.Is(err, meta.ErrInvalidRequest) {
			t.Error(err)
		}
	}
	if l.exists {
		t.Error("the topic was created for nothing")
	}
	long.Metadata = long.Metadata[:maxText]
	if err := g.Commit(t.Context(), strings.Repeat("g", MaxGroupName), -1, []Offset{long}); err != nil {
		t.Error(err)
	}
}

// A partition that could not be read must not leave the groups on another number of partitions.
func TestReadingThatFailedIsTriedAgainAsAWhole(t *testing.T) {
	l, c := &memLog{n: 3}, &testClock{noon}
	g := open(t, l, c)
	var groups []string
	for i := range 12 {
		groups = append(groups, fmt.Sprint("g", i))
		if err := g.Commit(t.Context(), groups[i], -1, []Offset{at("a", 0, 5)}); err != nil {
			t.Fatal(err)
		}
	}
	l.exists = false // as if it had appeared after the start
	g = open(t, l, c)
	l.unread = 1
	if err := g.Commit(t.Context(), "x", -1, []Offset{at("a", 0, 5)}); err == nil {
		t.Fatal("the disk did not answer")
	}
	for _, name := range groups {
		if err := g.Commit(t.Context(), name, -1, []Offset{at("b", 0, 6)}); err != nil {
			t.Fatal(err)
		}
		if got := g.Fetch(name); len(got) != 2 {
			t.Fatalf("group %s: %+v", name, got)
		}
	}
}

func TestRetentionDoesNotTrustAClockThatJumped(t *testing.T) {
	const retention = time.Hour
	committed := func(at time.Time) *offsets {
		s := newOffsets()
		s.set("g", stored{Offset: Offset{TopicPartition: TopicPartition{"t", 0}}, committed: at.UnixMilli()})
		return s
	}
	day := 24 * time.Hour
	boot := time.Unix(100, 0)
	for _, c := range []struct {
		name      string
		committed time.Time
		clock     clock
		now       time.Time
		expires   bool
	}{
		{"younger than the retention", noon, clock{opened: noon}, noon.Add(retention), false},
		{"older", noon, clock{opened: noon}, noon.Add(retention + 1e6), true},
		{"older, node restarted", noon, clock{opened: noon.Add(day)}, noon.Add(day + 1e6), true},
		{"clock not set yet", boot, clock{opened: boot}, boot.Add(day), false},
		{"clock went back before the offset", noon, clock{opened: boot}, boot.Add(day), false},
		{"committed before the clock was set", boot, clock{opened: boot, stepped: noon}, noon.Add(retention), false},
		{"the retention has passed since", boot, clock{opened: boot, stepped: noon}, noon.Add(retention + 1e6), true},
		{"committed by a clock that was never set, node restarted", boot, clock{opened: noon}, noon.Add(retention), false},
		{"the retention has passed since that", boot, clock{opened: noon}, noon.Add(retention + 1e6), true},
	} {
		if got := len(committed(c.committed).expired(c.now, c.clock, retention)) == 1; got != c.expires {
			t.Errorf("%s: expires %v", c.name, got)
		}
	}
	c := clock{opened: noon, last: noon}
	c.step(noon.Add(1), maxStep)
	if !c.stepped.IsZero() {
		t.Error("a small correction is no step")
	}
	for _, by := range []time.Duration{maxStep + 1, -maxStep - 1} {
		c.step(noon.Add(2), by)
		if c.stepped != noon.Add(2) {
			t.Error("a step was not noticed")
		}
	}
	c = clock{last: time.Now()}
	c.see(time.Now().Round(0).Add(day).Round(0)) // without a monotonic reading time has just passed
	c.see(time.Now())
	if !c.stepped.IsZero() {
		t.Error("passing time is no step")
	}
}

func TestConcurrentCommitsKeepTheNewestRecord(t *testing.T) {
	l, c := &memLog{n: 1}, &testClock{noon}
	g := open(t, l, c)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				if err := g.Commit(t.Context(), "g", -1, []Offset{at("a", 0, int64(i*1000+j))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if a, b := g.Fetch("g"), open(t, l, c).Fetch("g"); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatalf("in memory %v, in the log %v", a, b)
	}
}

func FuzzRecords(f *testing.F) {
	k, v := encodeOffset("g", at("t", 1, 2), time.UnixMilli(3))
	f.Add(k, v)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		s := newOffsets()
		_ = s.apply(0, key, value)
		_ = s.apply(1, key, nil)
		if s.count != 0 {
			t.Fatal("deleted offsets are counted")
		}
	})
}
