package upstream

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what a forwarder counts and measures. Topics are those of this side. Counters lag behind by up to
// Config.StoreInterval.
type Metrics struct {
	sentRecords, sentBytes           *prometheus.CounterVec // topic
	confirmedRecords, confirmedBytes *prometheus.CounterVec // topic
	lostRecords                      *prometheus.CounterVec // topic, cause
	refusedRecords                   *prometheus.CounterVec // topic
	lagRecords, behindSeconds        *prometheus.GaugeVec   // topic
	errors                           *prometheus.CounterVec // reason
	connects                         *prometheus.CounterVec // result
	stores                           *prometheus.CounterVec // result
	state                            *prometheus.GaugeVec   // state
	heldPartitions, inflightBytes    prometheus.Gauge
}

// NewMetrics makes the metrics and registers them. It panics when reg has some of them already.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "culvert", Subsystem: "upstream", Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "culvert", Subsystem: "upstream", Name: name, Help: help}, labels)
		reg.MustRegister(v)
		return v
	}
	return &Metrics{
		sentRecords:      counter("sent_records_total", "Records handed to the producer, repeated ones included.", "topic"),
		sentBytes:        counter("sent_bytes_total", "Bytes of keys and values handed to the producer, repeated ones included.", "topic"),
		confirmedRecords: counter("confirmed_records_total", "Records that the centre has confirmed.", "topic"),
		confirmedBytes:   counter("confirmed_bytes_total", "Bytes of keys and values that the centre has confirmed.", "topic"),
		lostRecords: counter("lost_records_total",
			"Offsets that could not be forwarded: gone before they were sent (retention), or not readable (damaged).", "topic", "cause"),
		refusedRecords: counter("refused_records_total", "Records that the centre refuses for what they are, and that were passed over.", "topic"),
		lagRecords:     gauge("lag_records", "Records that the centre has not confirmed yet.", "topic"),
		behindSeconds:  gauge("behind_seconds", "Age of the oldest record that the centre has not confirmed yet, 0 if there is none.", "topic"),
		errors:         counter("errors_total", "Failures to send or to prepare sending, by the protocol's name of the error.", "reason"),
		connects:       counter("connects_total", "Connections to brokers of the centre, by result.", "result"),
		stores:         counter("position_stores_total", "Times that positions were stored, by result.", "result"),
		state:          gauge("state", "1 for the state that forwarding is in, 0 for the others.", "state"),
		heldPartitions: gauge("held_partitions", "Partitions that wait because of an error.").WithLabelValues(),
		inflightBytes:  gauge("inflight_bytes", "Memory taken by records on their way.").WithLabelValues(),
	}
}

// add counts what a partition did since it was asked last.
func (m *Metrics) add(topic string, c counts) {
	for _, x := range []struct {
		v *prometheus.CounterVec
		n int64
	}{
		{m.sentRecords, c.sentRecords},
		{m.sentBytes, c.sentBytes},
		{m.confirmedRecords, c.confirmedRecords},
		{m.confirmedBytes, c.confirmedBytes},
		{m.refusedRecords, c.refused},
	} {
		if x.n != 0 {
			x.v.WithLabelValues(topic).Add(float64(x.n))
		}
	}
	if c.lost != 0 {
		m.lostRecords.WithLabelValues(topic, "retention").Add(float64(c.lost))
	}
	if c.damaged != 0 {
		m.lostRecords.WithLabelValues(topic, "damaged").Add(float64(c.damaged))
	}
}

// forget drops the gauges of a topic that is no longer forwarded.
func (m *Metrics) forget(topic string) {
	m.lagRecords.DeleteLabelValues(topic)
	m.behindSeconds.DeleteLabelValues(topic)
}

// observe sets the gauges.
func (m *Metrics) observe(s Status) {
	for _, state := range States {
		v := 0.0
		if state == s.State {
			v = 1
		}
		m.state.WithLabelValues(string(state)).Set(v)
	}
	m.heldPartitions.Set(float64(s.Held))
	m.inflightBytes.Set(float64(s.InflightBytes))
	lag, behind := map[string]int64{}, map[string]float64{}
	for _, p := range s.Partitions {
		lag[p.Topic] += p.Lag
		behind[p.Topic] = max(behind[p.Topic], p.BehindSeconds)
	}
	for topic, n := range lag {
		m.lagRecords.WithLabelValues(topic).Set(float64(n))
		m.behindSeconds.WithLabelValues(topic).Set(behind[topic])
	}
}
