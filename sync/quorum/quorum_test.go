package quorum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/sync/meta"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, dir string) *Quorum {
	t.Helper()
	return openWith(t, Options{Dir: dir, NodeID: 1, Logger: quiet()})
}

func openWith(t *testing.T, o Options) *Quorum {
	t.Helper()
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, q) })
	return q
}

func shut(t *testing.T, q *Quorum) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

func propose(t *testing.T, q *Quorum, c meta.Command) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := q.Propose(ctx, c); err != nil {
		t.Fatalf("%s: %v", meta.CommandName(c), err)
	}
}

func register(t *testing.T, q *Quorum) {
	propose(t, q, &meta.RegisterBroker{ID: 1, Incarnation: "x"})
}

func create(name string) *meta.CreateTopic {
	return &meta.CreateTopic{Name: name, ID: NewTopicID(), Partitions: 1, ReplicationFactor: 1}
}

func encoded(t *testing.T, q *Quorum) string {
	t.Helper()
	b, err := q.State().Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStateSurvivesRestarts(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	cluster := q.State().ClusterID
	if err := meta.CheckClusterID(cluster); err != nil {
		t.Fatal(err)
	}
	register(t, q)
	for i := range 5 {
		propose(t, q, create(fmt.Sprint("t", i)))
		before := encoded(t, q)
		shut(t, q)
		q = open(t, dir)
		if after := encoded(t, q); after != before {
			t.Fatalf("before %s\nafter  %s", before, after)
		}
	}
	if q.State().ClusterID != cluster || len(q.Damage()) != 0 {
		t.Errorf("cluster id %s became %s, damage %v", cluster, q.State().ClusterID, q.Damage())
	}
}

// A quorum that is killed leaves its files as they are at that moment.
func TestWhatProposeReturnedForIsOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	register(t, q)
	for i := range 3 {
		propose(t, q, create(fmt.Sprint("t", i)))
		killed := filepath.Join(t.TempDir(), "killed")
		if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		again := open(t, killed)
		if got, want := encoded(t, again), encoded(t, q); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		shut(t, again)
	}
}

func TestRefusedAndIdleCommandsAreNotStored(t *testing.T) {
	q := open(t, t.TempDir())
	register(t, q)
	topic := create("a")
	propose(t, q, topic)
	last, _ := q.store.LastIndex()
	for range 3 {
		if _, err := q.Propose(t.Context(), create("a")); !errors.Is(err, meta.ErrTopicExists) {
			t.Errorf("got %v", err)
		}
		var ce *meta.ConfigError
		bad := create("b")
		bad.Configs = map[string]string{"nonsense": "1"}
		if _, err := q.Propose(t.Context(), bad); !errors.As(err, &ce) || ce.Key != "nonsense" {
			t.Errorf("got %v", err)
		}
		if r, err := q.Propose(t.Context(), topic); err != nil || r.Changed || r.Topic == nil {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	if now, _ := q.store.LastIndex(); now != last {
		t.Errorf("the log grew from %d to %d", last, now)
	}
}

func TestConcurrentProposalsAllHappenOnce(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	register(t, q)
	const workers, each = 8, 25
	var wg sync.WaitGroup
	var mu sync.Mutex
	firsts := map[int64]bool{}
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				r, err := q.Propose(t.Context(), &meta.AllocateProducerIDs{Count: 10})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if firsts[r.FirstProducerID] {
					t.Errorf("%d was given twice", r.FirstProducerID)
				}
				firsts[r.FirstProducerID] = true
				mu.Unlock()
				if i == 0 {
					_, err = q.Propose(t.Context(), create(fmt.Sprint("t", w)))
					if err != nil {
						t.Error(err)
					}
					if q.State().Topic(fmt.Sprint("t", w)) == nil {
						t.Error("Propose returned before the state had it")
					}
				}
			}
		})
	}
	wg.Wait()
	if n := q.State().NextProducerID; n != workers*each*10 {
		t.Errorf("next producer id %d", n)
	}
	if n := len(q.State().Topics); n != workers {
		t.Errorf("%d topics", n)
	}
}

func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	dir := t.TempDir()
	seen := map[int64]bool{}
	for range 3 {
		q := open(t, dir)
		ids := NewProducerIDs(q)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 4 {
			wg.Go(func() {
				for range ProducerIDBlock/3 + 1 {
					id, err := ids.Next(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if seen[id] {
						t.Errorf("%d was given twice", id)
					}
					seen[id] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		shut(t, q)
	}
	if len(seen) != 3*4*(ProducerIDBlock/3+1) {
		t.Errorf("%d ids", len(seen))
	}
}

func TestWatchersSeeEveryStateInOrder(t *testing.T) {
	q := open(t, t.TempDir())
	register(t, q)
	var last *meta.State
	topics := map[string]bool{}
	stop := q.Watch(func(old, new *meta.State) {
		switch {
		case last == nil && old.Version != 0:
			t.Errorf("the first call began with version %d", old.Version)
		case last != nil && old != last:
			t.Errorf("a gap between version %d and %d", last.Version, old.Version)
		case new.Version <= old.Version:
			t.Errorf("version %d after %d", new.Version, old.Version)
		}
		last = new
		for _, c := range meta.Diff(old, new) {
			if c.Kind == meta.TopicAdded {
				topics[c.Topic] = true
			}
		}
	})
	if last != q.State() {
		t.Fatal("the first call had not returned")
	}
	for i := range 20 {
		name := fmt.Sprint("t", i)
		propose(t, q, create(name))
		if !topics[name] {
			t.Fatalf("Propose returned before the watcher was told of %s", name)
		}
	}
	stop()
	propose(t, q, create("later"))
	if topics["later"] {
		t.Error("called after stop")
	}
}

func TestSnapshotAndLogGiveTheStateBack(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	register(t, q)
	for i := range 4 {
		propose(t, q, create(fmt.Sprint("t", i)))
		if err := q.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	propose(t, q, create("behind"))
	want := encoded(t, q)
	shut(t, q)
	names, err := (&snapshots{dir: dir}).list()
	if err != nil || len(names) != snapshotsKept {
		t.Fatalf("snapshots %v, %v", names, err)
	}
	for range 2 {
		q = open(t, dir)
		if got := encoded(t, q); got != want || len(q.Damage()) != 0 {
			t.Fatalf("got %s, want %s, damage %v", got, want, q.Damage())
		}
		shut(t, q)
	}
}

func TestLogIsCompactedAndTheNodeStillReadsIt(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range (trailingLogs + 200) / 8 {
				if _, err := q.Propose(t.Context(), &meta.AllocateProducerIDs{Count: 1}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := q.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	first, _ := q.store.FirstIndex()
	last, _ := q.store.LastIndex()
	if first <= 1 || last-first+1 > trailingLogs {
		t.Errorf("the log goes from %d to %d", first, last)
	}
	want := encoded(t, q)
	shut(t, q)
	if st, err := os.Stat(filepath.Join(dir, storeFile)); err != nil || st.Size() != storeReserve {
		t.Errorf("the log's file has %d bytes, %v", st.Size(), err)
	}
	if q = open(t, dir); encoded(t, q) != want || len(q.Damage()) != 0 {
		t.Errorf("damage %v", q.Damage())
	}
}

func TestOneProcessADirectory(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(Options{Dir: dir, NodeID: 1, Logger: quiet()}); !errors.Is(err, fsx.ErrLocked) {
		t.Errorf("got %v", err)
	}
}

func TestDirectoryOfAnotherNodeIsRefused(t *testing.T) {
	dir := t.TempDir()
	shut(t, open(t, dir))
	for range 2 {
		_, err := Open(Options{Dir: dir, NodeID: 2, Logger: quiet()})
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "1") {
			t.Errorf("got %v", err)
		}
		// Also when only the log says so.
		if err := os.Remove(filepath.Join(dir, identityFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if q := open(t, dir); len(q.Damage()) != 0 {
		t.Errorf("damage %v", q.Damage())
	}
}

func TestClosedQuorumRefuses(t *testing.T) {
	q := open(t, t.TempDir())
	shut(t, q)
	if _, err := q.Propose(t.Context(), create("a")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if q.State().ClusterID == "" {
		t.Error("the state is gone")
	}
}

// TestOpenElectsItselfQuickly bounds what a node's start waits for. The bound is wide: on this class of
// machine it takes some ten milliseconds, most of it syncs.
func TestOpenElectsItselfQuickly(t *testing.T) {
	dir := t.TempDir()
	for _, what := range []string{"first start", "restart", "restart"} {
		best := time.Hour
		for range 3 {
			began := time.Now()
			q := open(t, dir)
			propose(t, q, &meta.AllocateProducerIDs{Count: 1})
			best = min(best, time.Since(began))
			shut(t, q)
			if what == "first start" {
				dir = t.TempDir()
			}
		}
		t.Logf("%s: %v until the first proposal was stored", what, best)
		if best > 300*time.Millisecond {
			t.Errorf("%s took %v", what, best)
		}
	}
}

func TestTopicIDsAreUUIDs(t *testing.T) {
	seen := map[meta.TopicID]bool{}
	for range 1000 {
		id := NewTopicID()
		if id[6]>>4 != 4 || id[8]>>6 != 2 || id.String()[0] == '-' || seen[id] {
			t.Fatalf("id %s", id)
		}
		seen[id] = true
	}
}

func TestRaftIsHeardAtDebugLevelOnly(t *testing.T) {
	for level, want := range map[slog.Level]bool{slog.LevelInfo: false, slog.LevelDebug: true} {
		var out strings.Builder
		dir := t.TempDir()
		for range 2 {
			q := openWith(t, Options{Dir: dir, NodeID: 1, Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))})
			register(t, q)
			shut(t, q)
		}
		if got := strings.Contains(out.String(), "raft: "); got != want {
			t.Errorf("at level %v: %s", level, out.String())
		}
		if strings.Contains(out.String(), "!BADKEY") || strings.Contains(out.String(), "hclog") || !want && out.Len() > 0 {
			t.Errorf("at level %v: %s", level, out.String())
		}
	}
}

func TestProposalsAreCountedByTheirOutcome(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	var full switchable
	q := openWith(t, Options{Dir: t.TempDir(), NodeID: 1, Logger: quiet(), Metrics: m, Faults: faults{full.hit}})
	register(t, q)
	topic := create("a")
	propose(t, q, topic)
	propose(t, q, topic)
	_, _ = q.Propose(t.Context(), create("a"))
	full.set("quorum.log")
	_, _ = q.Propose(t.Context(), create("b"))
	for outcome, want := range map[string]float64{"changed": 1, "unchanged": 1, "refused": 1, "failed": 1} {
		if got := testutil.ToFloat64(m.proposals.WithLabelValues("create-topic", outcome)); got != want {
			t.Errorf("%s: %v", outcome, got)
		}
	}
}
