package replica

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a manager on a store of its own, with metadata that are changed by commands.
type rig struct {
	t     *testing.T
	dir   string
	st    *store.Store
	m     *Manager
	state *meta.State
	now   time.Time
	up    time.Duration // since the boot
	unset bool          // nobody has set the clock
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), state: meta.Empty(), now: noon}
	r.open()
	t.Cleanup(func() { r.close() })
	r.apply(&meta.SetClusterID{ID: "AAAAAAAAAAAAAAAAAAAAAA"}, &meta.RegisterBroker{ID: 1, Incarnation: "x"})
	return r
}

func (r *rig) open() {
	r.t.Helper()
	var err error
	r.st, err = store.Open(store.Options{
		Dir: r.dir, SegmentBytes: 1 << 20, DirectBytes: 16 << 10, Logger: slog.New(slog.DiscardHandler), Metrics: store.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.manage()
}

// manage makes a manager of the rig's store.
func (r *rig) manage() {
	r.t.Helper()
	d, err := meta.NewDefaults(1, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.m = New(Options{
		Store: r.st, Defaults: d, Codec: record.LZ4, Now: func() time.Time { return r.now }, Logger: slog.New(slog.DiscardHandler),
		Metrics: NewMetrics(prometheus.NewRegistry()),
		Uptime:  func() time.Duration { return r.up }, Synchronised: func() bool { return !r.unset },
	})
}

// reopen closes the store and opens it again, with the partitions that the metadata say.
func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
	r.apply()
}

func (r *rig) close() {
	if err := r.st.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) apply(commands ...meta.Command) {
	r.t.Helper()
	for _, c := range commands {
		next, _, err := r.state.Apply(c)
		if err != nil {
			r.t.Fatal(err)
		}
		r.state = next
	}
	if err := r.m.Reconcile(r.state); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) partition(topic string, index int32) *Partition {
	r.t.Helper()
	p, err := r.m.Partition(topic, index)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) fill(p *Partition, n, size int) {
	r.t.Helper()
	value := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(value)
	for range n {
		_, g, err := p.Append(r.now.UnixMilli(), nil, value, nil)
		if err != nil {
			r.t.Fatal(err)
		}
		<-g.Done()
		if g.Err() != nil {
			r.t.Fatal(g.Err())
		}
	}
}

func topicID(b byte) meta.TopicID { return meta.TopicID{b} }

func TestPartitionsFollowTheMetadata(t *testing.T) {
	r := newRig(t)
	r.apply(&meta.CreateTopic{Name: "t", ID: topicID(1), Partitions: 2, ReplicationFactor: 1})
	p := r.partition("t", 1)
	r.fill(p, 3, 10)
	r.apply(&meta.CreatePartitions{Name: "t", Count: 3})
	if r.partition("t", 1) != p || p.Partitions() != 3 || len(r.m.All()) != 3 {
		t.Fatal("growing a topic must keep its partitions")
	}
	if q, err := r.m.ByID(topicID(1), 1); q != p || err != nil {
		t.Fatal("found by id:", q, err)
	}
	if _, err := r.m.Partition("t", 3); !errors.Is(err, ErrUnknownTopicOrPartition) {
		t.Fatal(err)
	}
	ch := make(chan struct{}, 1)
	defer p.Watch(ch)()
	r.apply(&meta.DeleteTopic{Name: "t"})
	<-ch
	if _, _, err := p.Append(0, nil, nil, nil); !errors.Is(err, ErrGone) || !p.Gone() {
		t.Fatal("append to a deleted partition:", err)
	}
	if _, err := r.m.Partition("t", 1); !errors.Is(err, ErrUnknownTopicOrPartition) {
		t.Fatal(err)
	}
	r.apply(&meta.CreateTopic{Name: "t", ID: topicID(2), Partitions: 1, ReplicationFactor: 1})
	if p := r.partition("t", 0); p.HighWatermark() != 0 {
		t.Fatal("a topic created again begins anew")
	}
}

func TestRecordsAreThereAfterARestartAndOrphansAreTold(t *testing.T) {
	r := newRig(t)
	r.apply(
		&meta.CreateTopic{Name: "kept", ID: topicID(1), Partitions: 1, ReplicationFactor: 1},
		&meta.CreateTopic{Name: "lost", ID: topicID(2), Partitions: 2, ReplicationFactor: 1})
	r.fill(r.partition("kept", 0), 5, 10)
	before := r.state
	r.close()
	r.open()
	gone, _, err := before.Apply(&meta.DeleteTopic{Name: "lost"})
	if err != nil {
		t.Fatal(err)
	}
	r.state = gone
	r.apply()
	if p := r.partition("kept", 0); p.HighWatermark() != 5 {
		t.Fatalf("high watermark %d, want 5", p.HighWatermark())
	}
	if o := r.m.Orphans(); len(o) != 1 || o[0] != (Orphan{"lost", topicID(2), 2}) {
		t.Fatalf("orphans %+v", o)
	}
	if err := r.m.DropOrphans(); err != nil || len(r.m.Orphans()) != 0 {
		t.Fatal(err)
	}
}

func TestReadersAreWokenWhenRecordsAreDurable(t *testing.T) {
	r := newRig(t)
	r.apply(&meta.CreateTopic{Name: "t", ID: topicID(1), Partitions: 1, ReplicationFactor: 1})
	p := r.partition("t", 0)
	one, all := make(chan struct{}, 1), make(chan struct{}, 1)
	stop := p.Watch(one)
	defer r.m.Watch(all)()
	r.fill(p, 1, 10)
	<-one
	<-all
	if p.HighWatermark() != 1 {
		t.Fatal("woken before the high watermark moved")
	}
	stop()
	r.fill(p, 1, 10)
	select {
	case <-one:
		t.Fatal("woken after stop")
	default:
	}
}

func TestLogAppendTimeIsTheLeaders(t *testing.T) {
	r := newRig(t)
	r.apply(&meta.CreateTopic{Name: "t", ID: topicID(1), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"message.timestamp.type": "LogAppendTime"}})
	var b record.Builder
	b.Append(5, nil, []byte("v"), nil)
	a, err := r.partition("t", 0).AppendBatch(bytes.Clone(b.Finish(0, -1, record.None, nil)))
	if err != nil || a.LogAppendTime != r.now.UnixMilli() {
		t.Fatalf("%+v, %v", a, err)
	}
	<-a.Commit.Done()
	s, err := r.partition("t", 0).Read(0, 1<<20)
	if err != nil || s.Batches[0].MaxTimestamp() != r.now.UnixMilli() || !s.Batches[0].VerifyCRC() {
		t.Fatalf("%+v, %v", s, err)
	}
	s.Release()
}

func TestRetentionByTopicAndByTheStoresLimit(t *testing.T) {
	r := newRig(t)
	r.apply(
		&meta.CreateTopic{Name: "short", ID: topicID(1), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"retention.ms": "1000"}},
		&meta.CreateTopic{Name: "long", ID: topicID(2), Partitions: 1, ReplicationFactor: 1},
		&meta.CreateTopic{Name: "compacted", ID: topicID(3), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"cleanup.policy": "compact"}})
	short, long, compacted := r.partition("short", 0), r.partition("long", 0), r.partition("compacted", 0)
	for range 10 {
		r.fill(short, 3, 60<<10)
		r.fill(long, 3, 60<<10)
		r.fill(compacted, 1, 1000)
	}
	r.now = r.now.Add(time.Hour)
	if err := r.m.Clean(r.t.Context(), Limits{}); err != nil {
		t.Fatal(err)
	}
	if short.StartOffset() == 0 || long.StartOffset() != 0 || compacted.StartOffset() != 0 {
		t.Fatalf("starts %d, %d, %d", short.StartOffset(), long.StartOffset(), compacted.StartOffset())
	}
	if n := testutil.ToFloat64(r.m.metrics.Expired.WithLabelValues("short", reasonRetention)); int64(n) != short.StartOffset() {
		t.Fatalf("counted %v of %d", n, short.StartOffset())
	}
	st := r.st.Stats()
	limit := (st.SegmentBytes + st.JournalBytes) * 9 / 10
	if err := r.m.Clean(r.t.Context(), Limits{MaxBytes: limit}); err != nil {
		t.Fatal(err)
	}
	st = r.st.Stats()
	if st.SegmentBytes+st.JournalBytes > limit || long.StartOffset() == 0 || compacted.StartOffset() != 0 {
		t.Fatalf("%d bytes of %d, starts %d, %d", st.SegmentBytes+st.JournalBytes, limit, long.StartOffset(), compacted.StartOffset())
	}
	for at := int64(0); at < compacted.HighWatermark(); {
		s, err := compacted.Read(at, 1<<20)
		if err != nil || len(s.Batches) == 0 || s.Batches[0].BaseOffset() > at {
			t.Fatalf("compacted topic at %d: %v", at, err)
		}
		at = s.Batches[len(s.Batches)-1].NextOffset()
		s.Release()
	}
}
