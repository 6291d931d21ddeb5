package replica

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Ledger counts a partition's records since it was created, across restarts: Accepted is Stored, Expired, Lost, Superseded
// and Damaged together.
type Ledger struct {
	Accepted   int64 // given an offset and made durable
	Stored     int64 // still there
	Forwarded  int64 // of all accepted: the centre has answered for them; 0 where Forwards is false
	Expired    int64 // removed when they had been forwarded, or were not to be
	Lost       int64 // removed before they were forwarded
	Superseded int64 // removed by compaction
	Damaged    int64 // cannot be read any more
	Forwards   bool  // the partition is forwarded to the centre
}

// Add adds what another ledger counts.
func (l *Ledger) Add(o Ledger) {
	l.Accepted += o.Accepted
	l.Stored += o.Stored
	l.Forwarded += o.Forwarded
	l.Expired += o.Expired
	l.Lost += o.Lost
	l.Superseded += o.Superseded
	l.Damaged += o.Damaged
	l.Forwards = l.Forwards || o.Forwards
}

// Ledger returns the partition's ledger.
func (p *Partition) Ledger() Ledger {
	n, err := p.records.Ledger()
	if err != nil { // what is stored cannot be counted at present: it is what has not left
		n.Stored, n.Superseded = n.Accepted-n.Expired-n.Lost-n.Damaged, 0
	}
	l := Ledger{Accepted: n.Accepted, Stored: n.Stored, Expired: n.Expired, Lost: n.Lost, Superseded: n.Superseded, Damaged: n.Damaged}
	var at int64
	if at, l.Forwards = p.Position(); l.Forwards {
		l.Forwarded = max(0, min(max(at, p.StartOffset()), p.log.End())-l.Lost)
	}
	return l
}

// ledgers is the metric of all ledgers.
type ledgers struct {
	m       *Manager
	records *prometheus.Desc
}

// Collector returns the ledgers of all topics as a metric.
func (m *Manager) Collector() prometheus.Collector {
	return ledgers{m, prometheus.NewDesc("culvert_topic_records",
		"Records of a topic since it was created, by what became of them: accepted is stored, expired, lost, superseded and damaged together; forwarded are in one of those, too.",
		[]string{"topic", "state"}, nil)}
}

// Describe implements prometheus.Collector.
func (l ledgers) Describe(ch chan<- *prometheus.Desc) { ch <- l.records }

// Collect implements prometheus.Collector.
func (l ledgers) Collect(ch chan<- prometheus.Metric) {
	topics := make(map[string]Ledger)
	for _, p := range l.m.All() {
		t := topics[p.topic]
		t.Add(p.Ledger())
		topics[p.topic] = t
	}
	for topic, t := range topics {
		send := func(state string, n int64) {
			ch <- prometheus.MustNewConstMetric(l.records, prometheus.GaugeValue, float64(n), topic, state)
		}
		send("accepted", t.Accepted)
		send("stored", t.Stored)
		send("expired", t.Expired)
		send("lost", t.Lost)
		send("superseded", t.Superseded)
		send("damaged", t.Damaged)
		if t.Forwards {
			send("forwarded", t.Forwarded)
		}
	}
}
