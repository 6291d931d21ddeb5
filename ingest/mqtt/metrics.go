package mqtt

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the server's counters. Counters of messages are added to once for a burst of packets.
type Metrics struct {
	Connections        prometheus.Gauge
	ConnectionsTotal   prometheus.Counter
	ConnectionsRefused *prometheus.CounterVec // by reason: full, connect code
	Disconnects        *prometheus.CounterVec // by reason
	Subscriptions      prometheus.Gauge
	Retained           prometheus.Gauge
	RetainedRefused    prometheus.Counter

	Received      *prometheus.CounterVec // PUBLISH packets by qos
	ReceivedBytes prometheus.Counter     // bytes read
	Acknowledged  prometheus.Counter     // PUBACKs written
	HeldBack      prometheus.Counter     // publishers held back because the log was full or away
	Wills         prometheus.Counter     // wills published
	Lost          prometheus.Counter     // wills that could not be stored

	Sent      *prometheus.CounterVec // PUBLISH packets by qos
	SentBytes prometheus.Counter     // bytes written
	CatchUps  prometheus.Counter     // times that a subscriber fell behind and read on from the log
	Gaps      prometheus.Counter     // records that a subscriber missed, because retention removed them or they could not be read
	TooLarge  prometheus.Counter     // records too large to be delivered
	Panics    prometheus.Counter

	received, sent [2]prometheus.Counter
}

// NewMetrics makes the metrics and registers them; reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "culvert", Subsystem: "mqtt", Name: name, Help: help})
		all = append(all, c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "culvert", Subsystem: "mqtt", Name: name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "culvert", Subsystem: "mqtt", Name: name, Help: help})
		all = append(all, g)
		return g
	}
	m := &Metrics{
		Connections:        gauge("connections", "Open MQTT connections."),
		ConnectionsTotal:   counter("connections_total", "MQTT connections accepted."),
		ConnectionsRefused: vec("connections_refused_total", "MQTT connections refused.", "reason"),
		Disconnects:        vec("disconnects_total", "MQTT connections ended.", "reason"),
		Subscriptions:      gauge("subscriptions", "MQTT subscriptions."),
		Retained:           gauge("retained_messages", "Retained MQTT messages."),
		RetainedRefused:    counter("retained_refused_total", "Messages not retained because the bound for retained messages was reached."),
		Received:           vec("messages_received_total", "MQTT PUBLISH packets received.", "qos"),
		ReceivedBytes:      counter("received_bytes_total", "Bytes received over MQTT connections."),
		Acknowledged:       counter("messages_acknowledged_total", "MQTT messages acknowledged with PUBACK, after they were durable."),
		HeldBack:           counter("held_back_total", "Times an MQTT publisher was held back because the log could not take more."),
		Wills:              counter("wills_total", "MQTT wills published."),
		Lost:               counter("wills_lost_total", "MQTT wills that could not be stored."),
		Sent:               vec("messages_sent_total", "MQTT PUBLISH packets sent to subscribers.", "qos"),
		SentBytes:          counter("sent_bytes_total", "Bytes sent over MQTT connections."),
		CatchUps:           counter("catch_ups_total", "Times an MQTT subscriber fell behind and read on from the log."),
		Gaps:               counter("missed_records_total", "Records that MQTT subscribers missed because the log no longer had them."),
		TooLarge:           counter("too_large_records_total", "Records too large to be delivered to MQTT subscribers."),
		Panics:             counter("panics_total", "Panics caught while serving MQTT."),
	}
	for qos, label := range []string{"0", "1"} {
		m.received[qos] = m.Received.WithLabelValues(label)
		m.sent[qos] = m.Sent.WithLabelValues(label)
	}
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}
