package replica

import (
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

// fullDisk has no space while it is true.
type fullDisk struct{ atomic.Bool }

func (f *fullDisk) Before(step, path string) error {
	if f.Load() && (step == "store.space" || step == "segment.commit" || step == "segment.create" || step == "segment.rewrite") {
		return &os.PathError{Op: step, Path: path, Err: unix.ENOSPC}
	}
	return nil
}

// openFull opens the rig's store and manager on a disk that can be full.
func (r *rig) openFull(f *fullDisk) {
	r.t.Helper()
	var err error
	r.st, err = store.Open(store.Options{
		Dir: r.dir, SegmentBytes: 1 << 20, DirectBytes: 16 << 10, MinFreeBytes: 1, Faults: f,
		Logger: slog.New(slog.DiscardHandler), Metrics: store.NewMetrics(prometheus.NewRegistry()),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.manage()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestFullDiskKeepsNoPartitionFromBeingServedAndDropsNone(t *testing.T) {
	r := newRig(t)
	r.apply(&meta.CreateTopic{Name: "kept", ID: topicID(1), Partitions: 1, ReplicationFactor: 1},
		&meta.CreateTopic{Name: "deleted", ID: topicID(3), Partitions: 1, ReplicationFactor: 1})
	r.fill(r.partition("kept", 0), 5, 10)
	r.fill(r.partition("deleted", 0), 5, 10)
	r.close()
	disk := &fullDisk{}
	r.openFull(disk)
	disk.Store(true)
	r.close()
	r.openFull(disk) // full from the start
	for _, c := range []meta.Command{
		&meta.CreateTopic{Name: "new", ID: topicID(2), Partitions: 1, ReplicationFactor: 1}, &meta.DeleteTopic{Name: "deleted"},
	} {
		next, _, err := r.state.Apply(c)
		if err != nil {
			t.Fatal(err)
		}
		r.state = next
	}
	if err := r.m.Reconcile(r.state); !errors.Is(err, store.ErrFull) {
		t.Fatalf("reconcile on a full disk: %v, want ErrFull", err)
	}
	if err := r.m.DropOrphans(); err != nil {
		t.Fatalf("what is deleted frees space: %v", err)
	}
	if p := r.partition("kept", 0); p.HighWatermark() != 5 {
		t.Fatalf("high watermark %d, want 5", p.HighWatermark())
	}
	if _, err := r.m.Partition("new", 0); err == nil {
		t.Fatal("a partition without a log is served")
	}
	disk.Store(false)
	waitFor(t, "the store to recover", func() bool { return r.st.Refused() == nil })
	if err := r.m.Reconcile(r.state); err != nil {
		t.Fatal(err)
	}
	r.fill(r.partition("new", 0), 1, 10)
	r.fill(r.partition("kept", 0), 1, 10)
	if n := len(r.st.States()); n > 3 {
		t.Fatalf("%d partitions in the log", n)
	}
}

func TestRetentionEmptiesAFullDisk(t *testing.T) {
	r := newRig(t)
	r.apply(
		&meta.CreateTopic{Name: "short", ID: topicID(1), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"retention.ms": "1000"}},
		&meta.CreateTopic{Name: "compacted", ID: topicID(2), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"cleanup.policy": "compact"}})
	r.close()
	disk := &fullDisk{}
	r.openFull(disk)
	if err := r.m.Reconcile(r.state); err != nil {
		t.Fatal(err)
	}
	short, compacted := r.partition("short", 0), r.partition("compacted", 0)
	for i := range 20 {
		r.fill(short, 3, 60<<10)
		if i < 5 { // the oldest segment keeps something, and cannot be rewritten while the disk is full
			r.fill(compacted, 1, 1000)
		}
	}
	disk.Store(true)
	for _, _, err := short.Append(r.now.UnixMilli(), nil, make([]byte, 60<<10), nil); !errors.Is(err, store.ErrFull); _, _, err = short.Append(r.now.UnixMilli(), nil, make([]byte, 60<<10), nil) {
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, "appends to be refused", func() bool { return r.st.Refused() != nil })
	}
	before := r.st.Stats()
	r.now = r.now.Add(time.Hour)
	if err := r.m.Clean(r.t.Context(), Limits{}); err != nil && !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	if st := r.st.Stats(); short.StartOffset() == 0 || st.Segments >= before.Segments {
		t.Fatalf("start %d, %d of %d segments", short.StartOffset(), st.Segments, before.Segments)
	}
	disk.Store(false)
	waitFor(t, "the store to recover", func() bool { return r.st.Refused() == nil })
	start, end := short.StartOffset(), short.HighWatermark()
	r.close()
	r.open()
	if err := r.m.Reconcile(r.state); err != nil {
		t.Fatal(err)
	}
	if p := r.partition("short", 0); p.StartOffset() != start || p.HighWatermark() != end {
		t.Fatalf("after a restart %d to %d, want %d to %d", p.StartOffset(), p.HighWatermark(), start, end)
	}
	if s, err := r.partition("compacted", 0).Read(0, 1); err != nil || len(s.Batches) != 1 {
		t.Fatal(err)
	} else {
		s.Release()
	}
}
