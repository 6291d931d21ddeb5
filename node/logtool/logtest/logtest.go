package logtest

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/log/partition"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

// Partitions of the log, in the order in which they are made. Scratch is dropped again.
const (
	Telemetry0 = iota
	Telemetry1
	Alarms
	Scratch
)

// Begin is when the log was made.
func Begin() time.Time { return time.UnixMilli(1_790_000_000_000).UTC() }

// Sizes of the log, bytes.
const (
	SegmentBytes = 64 << 10
	JournalBytes = 96 << 10
	DirectBytes  = 4 << 10
)

// Options are those of the log's store.
func Options(dir string) store.Options {
	now := Begin()
	return store.Options{
		Dir: dir, SegmentBytes: SegmentBytes, JournalBytes: JournalBytes, DirectBytes: DirectBytes, AbsorbBytes: 1 << 30, AbsorbInterval: time.Hour,
		Now:    func() time.Time { now = now.Add(time.Minute); return now },
		Logger: slog.New(slog.DiscardHandler), Metrics: store.NewMetrics(prometheus.NewRegistry()),
	}
}

// Writer writes to a log.
type Writer struct {
	Store      *store.Store
	partitions []*partition.Partition
	ts         int64
}

// New makes the topics of a log that is empty.
func New(opt store.Options) (*Writer, error) {
	st, err := store.Open(opt)
	if err != nil {
		return nil, err
	}
	w := &Writer{Store: st, ts: Begin().UnixMilli()}
	set := &partition.Settings{Codec: record.None}
	for i, topic := range []string{"telemetry", "telemetry", "alarms", "scratch"} {
		states, err := st.CreatePartitions([]store.PartitionInfo{{Topic: topic, TopicID: [16]byte{byte(len(topic)), 1}, Index: int32(i % 2 * (1 - i/2))}})
		if err != nil {
			return nil, err
		}
		w.partitions = append(w.partitions, partition.New(st, set, states[0], func() {}))
	}
	return w, nil
}

// Reopen opens a log that is there; its partitions are those that it has, in the order of their ids.
func Reopen(opt store.Options) (*Writer, error) {
	st, err := store.Open(opt)
	if err != nil {
		return nil, err
	}
	w := &Writer{Store: st, ts: Begin().UnixMilli()}
	set := &partition.Settings{Codec: record.None}
	for _, state := range st.States() {
		w.partitions = append(w.partitions, partition.New(st, set, state, func() {}))
	}
	return w, nil
}

// Partitions returns how many partitions there are.
func (w *Writer) Partitions() int { return len(w.partitions) }

// Partition returns one of the partitions.
func (w *Writer) Partition(i int) *partition.Partition { return w.partitions[i] }

// Append appends n records, one batch, each with a value of size bytes, and returns when they are durable.
func (w *Writer) Append(i, n, size int) error {
	var b record.Builder
	for range n {
		w.ts += 1000
		value := fmt.Appendf(nil, `{"n":%d,"pad":"`, w.ts/1000%1000)
		for len(value) < size-2 {
			value = append(value, 'x')
		}
		b.Append(w.ts, fmt.Appendf(nil, "lamp-%d", w.ts/1000%7), append(value, `"}`...), []record.Header{{Key: []byte("unit"), Value: []byte("Cel")}})
	}
	a, err := w.partitions[i].AppendBatch(slices.Clone(b.Finish(0, 0, record.None, nil)))
	if err != nil {
		return err
	}
	return wait(a.Commit)
}

// Produce appends a batch of an idempotent producer, and returns when it is durable.
func (w *Writer) Produce(i int, producer int64, sequence int32, n int) error {
	var b record.Builder
	for k := range n {
		b.Append(w.ts+int64(k), nil, fmt.Appendf(nil, "produced %d", k), nil)
	}
	batch := slices.Clone(b.Finish(0, 0, record.LZ4, nil))
	batch.SetProducer(producer, 0, sequence)
	a, err := w.partitions[i].AppendBatch(batch)
	if err != nil {
		return err
	}
	return wait(a.Commit)
}

func wait(g *store.Group) error {
	<-g.Done()
	return g.Err()
}

// Write makes a log in a directory: five segments and more, of which the oldest was rewritten, with records that expired, a
// topic that was dropped, leader epochs, a producer; and, unless it was closed, groups in the journal that are in no segment.
func Write(dir string, closed bool) error {
	build, err := os.MkdirTemp(filepath.Dir(dir), "log-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(build) }() // the test's own directory goes anyway
	w, err := New(Options(build))
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { return w.fill(0, 6) },
		func() error { return w.Store.DropPartitions(w.partitions[Scratch].ID()) },
		func() error {
			return w.Store.SetStart(w.partitions[Telemetry0].ID(), 5, store.Gone{Expired: 4, Lost: 1})
		},
		func() error { w.partitions[Alarms].SetEpoch(2); return w.fill(6, 12) },
		func() error { return w.Produce(Telemetry1, 4711, 0, 3) },
		func() error {
			_, err := w.Store.Rewrite(1, func(_ uint32, b record.Batch) (record.Batch, error) { return b, nil }, nil)
			return err
		},
		func() error { return w.Append(Telemetry0, 2, 100) },
		func() error { return w.Append(Alarms, 1, 50) },
		func() error { return w.Append(Telemetry0, 1, 100) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	if closed {
		if err := w.Store.Close(); err != nil {
			return err
		}
		return Copy(build, dir)
	}
	if err := Copy(build, dir); err != nil {
		return err
	}
	return w.Store.Close()
}

// fill appends to all partitions.
func (w *Writer) fill(from, to int) error {
	for i := from; i < to; i++ {
		for p, size := range []int{6000, 900, 5000, 4500} {
			if p == Scratch && i >= 3 {
				continue
			}
			if err := w.Append(p, 1+i%3, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// Copy copies the files of a log, which is what is left of one whose process is killed; the lock is not taken over.
func Copy(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err == nil && f.Name() != "LOCK" {
			err = os.WriteFile(filepath.Join(to, f.Name()), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
