package kafka

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the collectors of the native listener. Their labels are bounded: names of APIs and of error codes, both from
// the code.
type Metrics struct {
	requests      *prometheus.CounterVec   // api, error: the first error in the answer
	latency       *prometheus.HistogramVec // api
	bytesIn       prometheus.Counter
	bytesOut      prometheus.Counter
	records       prometheus.Counter
	batches       prometheus.Counter
	produceBytes  prometheus.Counter
	fetchBytes    prometheus.Counter
	connections   prometheus.Gauge
	accepted      prometheus.Counter
	refused       *prometheus.CounterVec // reason
	badFrames     *prometheus.CounterVec // reason
	panics        prometheus.Counter
	fetchSessions prometheus.Gauge

	byKey map[int16]apiMetrics
}

// apiMetrics are the collectors of one API, looked up once.
type apiMetrics struct {
	ok      prometheus.Counter
	latency prometheus.Observer
}

// NewMetrics makes the collectors and registers them.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "culvert_kafka_" + name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "culvert_kafka_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "culvert_kafka_" + name, Help: help})
	}
	m := &Metrics{
		requests: vec("requests_total", "Requests answered, by API and the first error in the answer.", "api", "error"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "culvert_kafka_request_seconds",
			Help:    "Time from a request having arrived to its answer being handed to the socket.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}, []string{"api"}),
		bytesIn:       counter("received_bytes_total", "Bytes of requests."),
		bytesOut:      counter("sent_bytes_total", "Bytes of answers."),
		records:       counter("produced_records_total", "Records that producers had appended, duplicates left out."),
		batches:       counter("produced_batches_total", "Record batches that producers had appended, duplicates left out."),
		produceBytes:  counter("produced_bytes_total", "Bytes of the record batches that producers had appended."),
		fetchBytes:    counter("fetched_bytes_total", "Bytes of record batches sent to consumers."),
		connections:   gauge("connections", "Connections of native clients."),
		accepted:      counter("accepted_connections_total", "Connections accepted."),
		refused:       vec("refused_connections_total", "Connections closed as soon as they were accepted.", "reason"),
		badFrames:     vec("bad_frames_total", "Frames that could not be served and cost their connection.", "reason"),
		panics:        counter("panics_total", "Requests that ended in a panic and cost their connection."),
		fetchSessions: gauge("fetch_sessions", "Incremental fetch sessions held for consumers."),
		byKey:         map[int16]apiMetrics{},
	}
	reg.MustRegister(m.requests, m.latency, m.bytesIn, m.bytesOut, m.records, m.batches, m.produceBytes, m.fetchBytes,
		m.connections, m.accepted, m.refused, m.badFrames, m.panics, m.fetchSessions)
	for i := range apis {
		a := &apis[i]
		m.byKey[a.key] = apiMetrics{ok: m.requests.WithLabelValues(a.name(), codeNone.String()), latency: m.latency.WithLabelValues(a.name())}
	}
	return m
}

// answered counts a request whose answer is on its way.
func (m *Metrics) answered(a *api, code errorCode, took time.Duration) {
	am := m.byKey[a.key]
	am.latency.Observe(took.Seconds())
	if code == codeNone {
		am.ok.Inc()
		return
	}
	m.requests.WithLabelValues(a.name(), code.String()).Inc()
}
