package replica

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-mq/culvert/log/store"
)

// Metrics count what retention, clients and compaction took.
type Metrics struct {
	Expired      *prometheus.CounterVec // records, by topic and reason
	Lost         *prometheus.CounterVec
	LostTotal    prometheus.Counter // of all topics
	RemovedBytes *prometheus.CounterVec

	Compaction CompactionMetrics
}

// Reasons for which records go.
const (
	reasonRetention = "retention"
	reasonDisk      = "disk"
	reasonClient    = "client"
)

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const reasons = ", by topic and reason (retention: the topic's own; disk: the limits of the log and the device; client: a client asked for it)."
	m := &Metrics{
		Expired: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_log_expired_records_total",
			Help: "Records that were removed, without those that were lost" + reasons}, []string{"topic", "reason"}),
		Lost: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_log_lost_records_total",
			Help: "Records that were removed before they were forwarded upstream" + reasons}, []string{"topic", "reason"}),
		LostTotal: prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_lost_records_total",
			Help: "Records of all topics that were removed before they were forwarded upstream, since the start: there from the first moment, so that an alert sees the first loss."}),
		RemovedBytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_log_expired_bytes_total",
			Help: "Bytes of record batches that retention removed" + reasons}, []string{"topic", "reason"}),
	}
	reg.MustRegister(m.Expired, m.Lost, m.LostTotal, m.RemovedBytes)
	m.Compaction = newCompactionMetrics(reg)
	return m
}

// tally is what went in one pass.
type tally map[departure]amount

type departure struct{ topic, reason string }

type amount struct {
	store.Gone
	bytes int64
}

func (t tally) add(topic, reason string, gone store.Gone, bytes int64) {
	if gone.Expired+gone.Lost == 0 {
		return
	}
	a := t[departure{topic, reason}]
	a.Expired += gone.Expired
	a.Lost += gone.Lost
	a.bytes += bytes
	t[departure{topic, reason}] = a
}

// tellEvery is how often what goes is logged, a line for each topic and reason: a log that is full sheds records with
// every segment.
const tellEvery = time.Minute

// report counts what went, and logs it: at once when nothing has been told for a while, else with what follows.
func (m *Manager) report(t tally) {
	for d, a := range t {
		m.metrics.Expired.WithLabelValues(d.topic, d.reason).Add(float64(a.Expired))
		m.metrics.Lost.WithLabelValues(d.topic, d.reason).Add(float64(a.Lost))
		m.metrics.LostTotal.Add(float64(a.Lost))
		m.metrics.RemovedBytes.WithLabelValues(d.topic, d.reason).Add(float64(a.bytes))
	}
	m.toldMu.Lock()
	defer m.toldMu.Unlock()
	for d, a := range t {
		m.untold.add(d.topic, d.reason, a.Gone, a.bytes)
	}
	now := m.uptime()
	if len(m.untold) == 0 || m.told && now-m.toldAt < tellEvery {
		return
	}
	m.told, m.toldAt = true, now
	for d, a := range m.untold {
		if a.Lost > 0 {
			m.log.Warn("records lost: they had to go before they were forwarded", "topic", d.topic, "lost", a.Lost, "expired", a.Expired, "bytes", a.bytes, "reason", d.reason)
		} else {
			m.log.Info("records expired", "topic", d.topic, "records", a.Expired, "bytes", a.bytes, "reason", d.reason)
		}
	}
	clear(m.untold)
}
