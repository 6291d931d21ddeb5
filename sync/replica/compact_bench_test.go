package replica

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
	"github.com/culvert-mq/culvert/sync/meta"
)

var compactBytes = flag.Int64("compact.bytes", 256<<20, "size of the topic that the benchmark of compaction compacts, bytes")

// stateBatch is a batch of a hundred records of a kilobyte, their keys out of a number of keys.
func stateBatch(rnd *rand.ChaCha8, keys int) record.Batch {
	var bl record.Builder
	value := make([]byte, 1000)
	for range 100 {
		_, _ = rnd.Read(value)
		bl.Append(time.Now().UnixMilli(), fmt.Append(nil, "key-", rnd.Uint64()%uint64(keys)), value, nil)
	}
	return slices.Clone(bl.Finish(0, -1, record.None, nil))
}

// BenchmarkIngestBesideCompaction tells what it costs those who append, each batch durable before the next one of its
// producer, that a topic of which nine records in ten are superseded is compacted. It is meant for -benchtime 1x.
func BenchmarkIngestBesideCompaction(b *testing.B) {
	now := time.Now
	st, err := store.Open(store.Options{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler), Metrics: store.NewMetrics(prometheus.NewRegistry())})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	d, err := meta.NewDefaults(1, nil)
	if err != nil {
		b.Fatal(err)
	}
	m := New(Options{Store: st, Defaults: d, Codec: record.LZ4, Now: now, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())})
	state := meta.Empty()
	for _, c := range []meta.Command{
		&meta.SetClusterID{ID: "AAAAAAAAAAAAAAAAAAAAAA"}, &meta.RegisterBroker{ID: 1, Incarnation: "x"},
		&meta.CreateTopic{Name: "state", ID: topicID(1), Partitions: 1, ReplicationFactor: 1, Configs: map[string]string{"cleanup.policy": "compact"}},
		&meta.CreateTopic{Name: "in", ID: topicID(2), Partitions: 1, ReplicationFactor: 1},
	} {
		if state, _, err = state.Apply(c); err != nil {
			b.Fatal(err)
		}
	}
	if err := m.Reconcile(state); err != nil {
		b.Fatal(err)
	}
	topic, in := mustFind(b, m, "state"), mustFind(b, m, "in")
	rnd := rand.NewChaCha8([32]byte{})
	var last *store.Group
	for n := int64(0); n < *compactBytes; n += 100_000 {
		a, err := topic.AppendBatch(stateBatch(rnd, int(*compactBytes/10_000)))
		if err != nil {
			b.Fatal(err)
		}
		last = a.Commit
	}
	<-last.Done()
	for range 700 { // so that the segments are sealed
		ingest(b, in)
	}
	b.ResetTimer()
	for b.Loop() {
		besideCompaction(b, m, in)
	}
}

// window is for how long compaction is held up, and let go on, in turn.
const window = time.Second

// paceWindow lets a window pass and returns what was counted in it.
func paceWindow(counter *atomic.Int64) float64 {
	n := counter.Load()
	time.Sleep(window)
	return float64(counter.Load() - n)
}

// besideCompaction appends until compaction has come to its end, and reports what was appended while it went on and while
// it was held up, in windows that alternate, so that what else goes on in the machine falls on both.
func besideCompaction(b *testing.B, m *Manager, in *Partition) {
	var gate sync.Mutex // held while compaction is
	m.compactor.pacer.Hurry = func() bool {
		if !gate.TryLock() {
			gate.Lock()
			m.compactor.pacer.Begin() // the time behind the gate was no work
		}
		gate.Unlock()
		return false
	}
	gate.Lock()
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(b.Context())
	go func() { done <- m.Compact(ctx) }()
	var appended atomic.Int64
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				appended.Add(ingest(b, in))
			}
		})
	}
	var alone, beside, windows float64
	for ended := false; !ended && windows < 60 && !b.Failed(); windows++ {
		alone += paceWindow(&appended)
		gate.Unlock()
		beside += paceWindow(&appended)
		gate.Lock()
		if err := in.AdvanceStart(in.HighWatermark()); err != nil {
			b.Error(err)
		}
		if !m.compactor.log.copying.Load() {
			if _, err := m.st.Reclaim(); err != nil {
				b.Error(err)
			}
		}
		select {
		case err := <-done:
			if err != nil {
				b.Error(err)
			}
			ended = true
		default:
		}
	}
	gate.Unlock()
	stop()
	load.Wait()
	r := m.metrics.Compaction
	b.ReportMetric(alone/windows/1e6, "alone-MB/s")
	b.ReportMetric(beside/windows/1e6, "beside-MB/s")
	b.ReportMetric(100*(1-beside/alone), "cost-%")
	b.ReportMetric(testutil.ToFloat64(r.Read)/windows/1e6, "compacted-MB/s")
	b.ReportMetric(testutil.ToFloat64(r.Freed)/1e6, "freed-MB")
}

func mustFind(b *testing.B, m *Manager, topic string) *Partition {
	p, err := m.Partition(topic, 0)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// ingest appends a batch of a hundred kilobytes and waits until it is durable.
func ingest(b *testing.B, p *Partition) int64 {
	var bl record.Builder
	bl.Append(0, nil, make([]byte, 100_000), nil)
	a, err := p.AppendBatch(slices.Clone(bl.Finish(0, -1, record.None, nil)))
	if err != nil {
		b.Error(err)
		return 0
	}
	if <-a.Commit.Done(); a.Commit.Err() != nil {
		b.Error(a.Commit.Err())
	}
	return 100_000
}
