package quorum

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a quorum tells of itself.
type Metrics struct {
	proposals *prometheus.CounterVec
	seconds   prometheus.Histogram
	leader    prometheus.Gauge
	damaged   prometheus.Counter
}

// NewMetrics makes the collectors and registers them where reg is not nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		proposals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "culvert_quorum_proposals_total",
			Help: "Changes of the metadata that were proposed, by command and by outcome: changed, unchanged, refused, failed.",
		}, []string{"command", "outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "culvert_quorum_commit_seconds",
			Help:    "Time from the proposal of a change of the metadata until it was durable and applied.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8),
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_quorum_leader",
			Help: "1 while this node leads the quorum.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "culvert_quorum_damaged_files_total",
			Help: "Files of the metadata that were found damaged and set aside.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.proposals, m.seconds, m.leader, m.damaged)
	}
	return m
}
