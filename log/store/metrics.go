package store

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the store's counters. All bytes are what the store asked the file system to write, without the file
// system's own.
type Metrics struct {
	Commits       prometheus.Counter
	CommitSeconds prometheus.Histogram
	CommitBytes   prometheus.Histogram
	BatchBytes    prometheus.Counter
	JournalBytes  prometheus.Counter
	SegmentBytes  prometheus.Counter
	Absorptions   prometheus.Counter
	Failures      prometheus.Counter
	Segments      prometheus.Gauge
	DiskBytes     prometheus.Gauge
	Pending       prometheus.Gauge
}

// NewMetrics registers the store's metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Commits: prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_log_commits_total", Help: "Groups made durable."}),
		CommitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "culvert_log_commit_seconds",
			Help: "Time from the closing of a group to its durability.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16)}),
		CommitBytes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "culvert_log_commit_bytes",
			Help: "Bytes of batches in a group.", Buckets: prometheus.ExponentialBuckets(128, 4, 10)}),
		BatchBytes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_log_batch_bytes_total", Help: "Bytes of record batches made durable."}),
		JournalBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_log_journal_written_bytes_total", Help: "Bytes written to the journal."}),
		SegmentBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_log_segment_written_bytes_total", Help: "Bytes written to segments."}),
		Absorptions:  prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_log_segment_commits_total", Help: "Commits to segments."}),
		Failures:     prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_log_commit_failures_total", Help: "Groups that could not be made durable."}),
		Segments:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "culvert_log_segments", Help: "Segment files."}),
		DiskBytes:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "culvert_log_disk_bytes", Help: "Bytes of segment files and the journal."}),
		Pending:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "culvert_log_pending_bytes", Help: "Bytes of batches in the journal that are not in a segment yet."}),
	}
	reg.MustRegister(m.Commits, m.CommitSeconds, m.CommitBytes, m.BatchBytes, m.JournalBytes, m.SegmentBytes, m.Absorptions, m.Failures, m.Segments, m.DiskBytes, m.Pending)
	return m
}
