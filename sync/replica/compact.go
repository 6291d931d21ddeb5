package replica

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/log/compact"
	"github.com/culvert-mq/culvert/log/record"
	"github.com/culvert-mq/culvert/log/store"
)

const (
	// compactShare is the share of the time that compaction may work while records are being appended.
	compactShare = 0.1
	// appendsAgo is for how long after the last append compaction takes them to go on.
	appendsAgo = 100 * time.Millisecond
	// scanBytes is how much compaction reads at a time.
	scanBytes = 1 << 20
)

// CompactionMetrics count what compaction does.
type CompactionMetrics struct {
	Passes   prometheus.Counter
	Failures prometheus.Counter
	Seconds  prometheus.Counter
	Read     prometheus.Counter
	Written  prometheus.Counter
	Freed    prometheus.Counter
	Segments prometheus.Counter
	Removed  *prometheus.CounterVec // records, by topic
	Dirty    prometheus.Gauge
}

func newCompactionMetrics(reg prometheus.Registerer) CompactionMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_compaction_" + name, Help: help})
	}
	m := CompactionMetrics{
		Passes:   counter("passes_total", "Passes of compaction that found something to do."),
		Failures: counter("failures_total", "Passes of compaction that ended with an error."),
		Seconds:  counter("seconds_total", "Time that passes of compaction took, the time they gave way included."),
		Read:     counter("read_bytes_total", "Bytes of record batches that compaction looked at."),
		Written:  counter("written_bytes_total", "Bytes of the segments that compaction wrote anew."),
		Freed:    counter("freed_bytes_total", "Bytes by which segments became smaller through compaction."),
		Segments: counter("segments_total", "Segments that compaction wrote anew."),
		Removed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_compaction_removed_records_total",
			Help: "Records that compaction removed, by topic: superseded ones, tombstones past their time, aborted ones and transaction markers."}, []string{"topic"}),
		Dirty: prometheus.NewGauge(prometheus.GaugeOpts{Name: "culvert_compaction_dirty_ratio",
			Help: "Largest share of a compacted partition that has not been compacted yet, when compaction last looked."}),
	}
	reg.MustRegister(m.Passes, m.Failures, m.Seconds, m.Read, m.Written, m.Freed, m.Segments, m.Removed, m.Dirty)
	return m
}

// compactable is the log as compaction sees it. It is used by the goroutine that compacts.
type compactable struct {
	*store.Store
	m       *Manager
	parts   map[uint32]*Partition // that are compacted, by the store's id
	copying atomic.Bool           // a segment is being written anew, for which others have to wait
}

// Scan implements compact.Store.
func (c *compactable) Scan(id uint32, from, to int64, fn func(b record.Batch) error) error {
	l := c.Log(id)
	if l == nil {
		return nil // the partition has been deleted
	}
	for from < to {
		s, err := l.Read(from, to, scanBytes)
		if errors.Is(err, store.ErrDropped) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(s.Batches) == 0 {
			s.Release()
			return nil
		}
		for _, b := range s.Batches {
			if err = fn(b); err != nil {
				break
			}
			from = b.NextOffset()
		}
		s.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// Segments implements compact.Store: what is in force of each, by the partitions' starts. What is left of a run that is
// dead in part counts by offsets.
func (c *compactable) Segments() []store.SegmentInfo {
	starts := make(map[uint32]int64)
	for _, p := range c.m.All() {
		starts[p.log.ID()] = p.StartOffset()
	}
	all := c.Store.Segments()
	for _, s := range all {
		maps.DeleteFunc(s.Runs, func(id uint32, r store.Run) bool {
			start, ok := starts[id]
			return !ok || r.Next <= start
		})
		for id, r := range s.Runs {
			if start := starts[id]; start > r.Base {
				r.Bytes = int64(float64(r.Bytes) * (float64(r.Next-start) / float64(r.Next-r.Base)))
				s.Runs[id] = r
			}
		}
	}
	return all
}

// Rewrite implements compact.Store.
func (c *compactable) Rewrite(number uint64, keep func(id uint32, b record.Batch) (record.Batch, error), pace func(bytes int64) error) (freed int64, err error) {
	c.copying.Store(true)
	defer c.copying.Store(false)
	return c.Store.Rewrite(number, keep, pace)
}

// SetCleaned implements compact.Store.
func (c *compactable) SetCleaned(id uint32, offset int64) error {
	return c.parts[id].log.SetCleaned(offset)
}

// compactor compacts what is to be compacted of a manager's partitions. It is used by one goroutine.
type compactor struct {
	m       *Manager
	log     *compactable
	cleaner *compact.Cleaner
	pacer   compact.Pacer

	appended int64     // bytes, when they were last looked at
	at       time.Time // when they last grew
}

func newCompactor(m *Manager, memory, rate int64) *compactor {
	c := &compactor{m: m, log: &compactable{Store: m.st, m: m}}
	c.cleaner = compact.New(compact.Options{Store: c.log, Memory: memory, Logger: m.log})
	c.pacer = compact.Pacer{Rate: rate, Share: compactShare, Busy: c.busy, Hurry: func() bool { return m.hurry.Load() > 0 }}
	return c
}

// busy reports whether records are being appended.
func (c *compactor) busy() bool {
	if n := c.m.st.BatchBytes(); n != c.appended {
		c.appended, c.at = n, time.Now()
	}
	return time.Since(c.at) < appendsAgo
}

// run compacts whenever it is woken, until ctx ends.
func (c *compactor) run(ctx context.Context, wake <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		if err := c.compact(ctx); err != nil && ctx.Err() == nil {
			c.m.log.Error("compaction failed", "err", err)
		}
	}
}

// Compact compacts the topics that are to be compacted, as far as that is due now. Maintain does it by itself; it must not
// be called at once with Maintain.
func (m *Manager) Compact(ctx context.Context) error { return m.compactor.compact(ctx) }

func (c *compactor) compact(ctx context.Context) error {
	for {
		parts := c.partitions()
		if len(parts) == 0 {
			c.m.metrics.Compaction.Dirty.Set(0)
			return nil
		}
		begin := time.Now()
		c.appended, c.at = c.m.st.BatchBytes(), begin // until it is known better, others need the machine
		c.pacer.Begin()
		res, err := c.cleaner.Pass(ctx, parts, compact.Conditions{
			Now: c.m.now(), Timed: c.m.Held() == "", Pace: func(n int64) error { return c.pacer.Spend(ctx, n) },
		})
		c.report(res, err, time.Since(begin))
		if errors.Is(err, store.ErrFull) {
			return nil // it needs room for a segment beside the old one: what makes room goes first
		}
		if err != nil || !res.More {
			return err
		}
	}
}

// partitions returns what is compacted, and tells the log of it.
func (c *compactor) partitions() []compact.Partition {
	c.log.parts = make(map[uint32]*Partition)
	var all []compact.Partition
	for _, p := range c.m.All() {
		t := p.Config()
		if !t.Compact {
			continue
		}
		k := p.log.Compaction()
		in := compact.Partition{
			ID: p.log.ID(), Topic: p.topic, Index: p.index,
			Start: p.log.Start(), Cleaned: k.Cleaned, Stable: min(k.Stable, p.LastStableOffset()),
			Aborted: k.Aborted, Producers: make(map[int64]compact.Producer, len(k.Producers)),
			MinDirtyRatio: t.MinCleanableDirtyRatio, MinLag: compact.Milliseconds(t.MinCompactionLagMs),
			MaxLag: compact.Milliseconds(t.MaxCompactionLagMs), DeleteRetention: compact.Milliseconds(t.DeleteRetentionMs),
		}
		for id, l := range k.Producers {
			in.Producers[id] = compact.Producer(l)
		}
		c.log.parts[in.ID] = p
		all = append(all, in)
	}
	return all
}

// report counts what a pass did, and logs it where that was something.
func (c *compactor) report(r compact.Result, err error, took time.Duration) {
	m := &c.m.metrics.Compaction
	m.Dirty.Set(r.Dirty)
	if err != nil && !errors.Is(err, context.Canceled) {
		m.Failures.Inc()
	}
	if r.Partitions == 0 {
		return
	}
	m.Passes.Inc()
	m.Seconds.Add(took.Seconds())
	m.Read.Add(float64(r.Read))
	m.Written.Add(float64(r.Written))
	m.Freed.Add(float64(r.Freed))
	m.Segments.Add(float64(r.Segments))
	records := int64(0)
	for id, n := range r.Removed {
		records += n
		if n > 0 {
			m.Removed.WithLabelValues(c.log.parts[id].topic).Add(float64(n))
		}
	}
	if r.Segments > 0 {
		c.m.log.Info("log compacted", "partitions", r.Partitions, "segments", r.Segments, "records", records,
			"read", r.Read, "written", r.Written, "freed", r.Freed, "seconds", took.Seconds())
	}
}
