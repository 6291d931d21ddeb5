package replica

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-mq/culvert/log/store"
)

// Metrics count what retention took.
type Metrics struct {
	Expired      *prometheus.CounterVec // records, by topic and reason
	ExpiredBytes *prometheus.CounterVec
}

// Reasons for which records go.
const (
	reasonRetention = "retention"
	reasonDisk      = "disk"
	reasonClient    = "client"
)

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		Expired: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_log_expired_records_total",
			Help: "Offsets that retention removed, by topic and reason (retention: the topic's own; disk: the store's size limit; client: DeleteRecords)."}, []string{"topic", "reason"}),
		ExpiredBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_log_expired_bytes_total",
			Help: "Bytes of record batches that retention removed, by topic and reason."}, []string{"topic", "reason"}),
	}
	reg.MustRegister(m.Expired, m.ExpiredBytes)
	return m
}

// Maintain applies retention and gives space back, every interval and whenever a segment was sealed, until ctx ends. The
// store stays below maxBytes on disk where retention can see to that (0: no limit).
func (m *Manager) Maintain(ctx context.Context, interval time.Duration, maxBytes int64) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-m.st.Sealed():
		}
		if err := m.Clean(maxBytes); err != nil {
			m.log.Error("retention failed", "err", err)
		}
	}
}

// Clean applies retention once: each topic's own, then the store's limit, oldest segment first. Topics that are only
// compacted keep everything.
func (m *Manager) Clean(maxBytes int64) error {
	var errs []error
	now := m.now()
	gone := make(expired)
	defer m.report(gone)
	for _, p := range m.All() {
		records, bytes, err := p.retain(now)
		errs = append(errs, err)
		gone.add(p.topic, reasonRetention, records, bytes)
	}
	_, err := m.st.Reclaim()
	for maxBytes > 0 && (err == nil || errors.Is(err, store.ErrFull)) { // a full disk is what this is for
		st := m.st.Stats()
		if st.SegmentBytes+st.JournalBytes <= maxBytes {
			break
		}
		moved, e := m.dropOldest(gone)
		errs = append(errs, e)
		if !moved {
			break
		}
		_, err = m.st.Reclaim()
	}
	return errors.Join(append(errs, err)...)
}

// startsAtOnce is how many start offsets are moved at a time: they become durable together.
const startsAtOnce = 64

// dropOldest moves the start of every partition that may lose records past the oldest segment that has any of them.
func (m *Manager) dropOldest(gone expired) (moved bool, err error) {
	may := make(map[uint32]*Partition)
	for _, p := range m.All() {
		if p.Config().Delete {
			may[p.log.ID()] = p
		}
	}
	var g errgroup.Group
	g.SetLimit(startsAtOnce)
	for id, run := range m.st.Oldest(func(id uint32) bool { return may[id] != nil }) {
		p := may[id]
		if p.log.Start() >= run.Next {
			continue
		}
		moved = true
		gone.add(p.topic, reasonDisk, run.Next-run.Base, run.Bytes)
		g.Go(func() error { return p.AdvanceStart(run.Next) })
	}
	err = g.Wait()
	return moved && err == nil, err
}

// expired is what one pass of retention took.
type expired map[expiry]amount

type expiry struct{ topic, reason string }

type amount struct{ records, bytes int64 }

func (e expired) add(topic, reason string, records, bytes int64) {
	if records > 0 {
		a := e[expiry{topic, reason}]
		e[expiry{topic, reason}] = amount{a.records + records, a.bytes + bytes}
	}
}

func (m *Manager) report(gone expired) {
	for e, a := range gone {
		m.metrics.Expired.WithLabelValues(e.topic, e.reason).Add(float64(a.records))
		m.metrics.ExpiredBytes.WithLabelValues(e.topic, e.reason).Add(float64(a.bytes))
		m.log.Info("records expired", "topic", e.topic, "records", a.records, "bytes", a.bytes, "reason", e.reason)
	}
}
