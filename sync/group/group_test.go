package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/culvert-mq/culvert/log/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLog is an offsets topic in memory.
type memLog struct {
	mu     sync.Mutex
	n      int
	exists bool
	parts  []Partition
	fail   error
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

type memCommit struct{ err error }

func (memCommit) Done() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}
func (c memCommit) Err() error { return c.err }

func (p *memPartition) AppendBatch(b record.Batch) (int64, Commit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.fail != nil {
		return 0, memCommit{p.log.fail}, nil
	}
	b.SetBaseOffset(p.end)
	p.batches = append(p.batches, b)
	p.end = b.NextOffset()
	return b.BaseOffset(), memCommit{}, nil
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

type clock struct{ now time.Time }

func open(t interface {
	Helper()
	Fatal(...any)
}, l *memLog, c *clock) *Coordinator {
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
	l, c := &memLog{n: 3}, &clock{time.UnixMilli(1000)}
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
	l, c := &memLog{n: 1}, &clock{}
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
	g := open(t, &memLog{n: 1}, &clock{})
	if err := g.Commit(t.Context(), "g", 1, []Offset{at("a", 0, 5)}); !errors.Is(err, ErrIllegalGeneration) {
		t.Fatal(err)
	}
}

func TestOffsetsExpireExceptThoseOfInternalGroups(t *testing.T) {
	l, c := &memLog{n: 2}, &clock{time.UnixMilli(0)}
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
	l, c := &memLog{n: 1}, &clock{time.UnixMilli(5)}
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
	for _, c := range []struct { // from Java: Math.abs(s.hashCode()) % 50
		group string
		want  int32
	}{{"", 0}, {"a", 97 % 50}, {"ab", 3105 % 50}, {"console-consumer-1", PartitionFor("console-consumer-1", 50)}} {
		if got := PartitionFor(c.group, 50); got != c.want || got < 0 {
			t.Errorf("group %q: %d, want %d", c.group, got, c.want)
		}
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
		l, c := &memLog{n: rapid.IntRange(1, 3).Draw(rt, "partitions")}, &clock{time.UnixMilli(0)}
		g := open(rt, l, c)
		want := map[string]map[TopicPartition]Offset{}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				name := rapid.SampledFrom([]string{"g", "h", "__i"}).Draw(rt, "group")
				o := at(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "topic"), rapid.Int32Range(0, 2).Draw(rt, "partition"), rapid.Int64Range(0, 99).Draw(rt, "offset"))
				if err := g.Commit(context.Background(), name, -1, []Offset{o}); err != nil {
					rt.Fatal(err)
				}
				if want[name] == nil {
					want[name] = map[TopicPartition]Offset{}
				}
				want[name][o.TopicPartition] = o
			},
			"drop": func(rt *rapid.T) {
				if err := g.DropTopic(context.Background(), "a"); err != nil {
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

func TestConcurrentCommitsKeepTheNewestRecord(t *testing.T) {
	l, c := &memLog{n: 1}, &clock{time.UnixMilli(0)}
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
