package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

// quickMQTT is a small load for addr.
func quickMQTT(addr string) MQTTOptions {
	o := DefaultMQTTOptions()
	o.Addr, o.Connections, o.Warmup, o.Patience = addr, 4, 0, 5*time.Second
	return o
}

func TestRunMQTTSendsExactlyTheCountAndSeesEveryAcknowledgement(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		s := startSink(t, nil)
		o := quickMQTT(s.Addr())
		o.Count, o.Workers, o.QoS, o.Window = 100_003, 2, qos, 100
		r, err := RunMQTT(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if r.Sent != o.Count || r.Acked != o.Count || !r.Ok() || s.Messages() != o.Count || r.PerSecond <= 0 {
			t.Errorf("QoS %d: %d at the broker, report %+v", qos, s.Messages(), r)
		}
		if qos == 1 && (r.Latency.Count != o.Count || r.Latency.P50 <= 0 || r.Latency.Max < r.Latency.P99) {
			t.Errorf("latency %+v", r.Latency)
		}
	}
}

func TestRunMQTTKeepsTheRate(t *testing.T) {
	s := startSink(t, nil)
	o := quickMQTT(s.Addr())
	o.Rate, o.Duration, o.Workers, o.Coalesce = 2000, 500*time.Millisecond, 2, 100*time.Microsecond
	r, err := RunMQTT(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 1000 || r.Acked != 1000 || r.Latency.Count != 1000 || !r.Ok() {
		t.Errorf("%d messages sent in half a second at 2000/s: %+v", r.Sent, r)
	}
}

func TestRunMQTTMeasuresABrokerThatStallsToTheEnd(t *testing.T) {
	var n atomic.Int64
	s := startSink(t, func(int64, mqttc.Message) bool {
		if n.Add(1) == 100 {
			<-time.After(500 * time.Millisecond)
		}
		return true
	})
	o := quickMQTT(s.Addr())
	o.Connections, o.Window, o.Rate, o.Duration = 1, 1, 1000, 300*time.Millisecond
	r, err := RunMQTT(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// The stall begins about 100 ms into the 300 ms and outlasts them: the messages of the last 200 ms waited 300 to 500 ms.
	if r.Sent != 300 || r.Latency.Count != 300 || r.Latency.P50 < 250_000 || r.Latency.Max < 450_000 {
		t.Errorf("%+v, %+v", r, r.Latency)
	}
}

func TestRunMQTTSendsPacketsLargerThanABurst(t *testing.T) {
	s := startSink(t, nil)
	o := quickMQTT(s.Addr())
	o.Size, o.Count, o.Window = 500_000, 40, 10
	r, err := RunMQTT(t.Context(), o)
	if err != nil || !r.Ok() || s.Messages() != 40 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestRunMQTTReportsConnectionsThatBreakAndWhatIsUnacknowledged(t *testing.T) {
	var n atomic.Int64
	s := startSink(t, func(int64, mqttc.Message) bool { return n.Add(1) != 1000 })
	o := quickMQTT(s.Addr())
	o.Count = 10_000
	r, err := RunMQTT(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != 1 || r.Failure == "" || r.Unacked == 0 || r.Ok() {
		t.Errorf("%+v", r)
	}
}

func TestRunMQTTGivesUpOnABrokerThatFallsSilent(t *testing.T) {
	release := make(chan struct{})
	s := startSink(t, func(int64, mqttc.Message) bool { <-release; return true })
	defer close(release)
	o := quickMQTT(s.Addr())
	o.Count, o.Patience = 1000, 200*time.Millisecond
	r, err := RunMQTT(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Unacked != 80 || r.Ok() {
		t.Errorf("%+v", r)
	}
}

func TestRunMQTTEndsWithItsContext(t *testing.T) {
	s := startSink(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := RunMQTT(ctx, quickMQTT(s.Addr())); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestRunMQTTRefusesContradictions(t *testing.T) {
	for name, change := range map[string]func(*MQTTOptions){
		"no connections":           func(o *MQTTOptions) { o.Connections = 0 },
		"window past packet ids":   func(o *MQTTOptions) { o.Window = 65_536 },
		"QoS 2":                    func(o *MQTTOptions) { o.QoS = 2 },
		"negative size":            func(o *MQTTOptions) { o.Size = -1 },
		"unknown filler":           func(o *MQTTOptions) { o.Fill = "zeros" },
		"no end":                   func(o *MQTTOptions) { o.Duration = 0 },
		"negative rate":            func(o *MQTTOptions) { o.Rate = -1 },
		"more workers than links":  func(o *MQTTOptions) { o.Workers = 100 },
		"a check without a header": func(o *MQTTOptions) { o.Size, o.Check.Subscribe = 10, true },
		"no topic":                 func(o *MQTTOptions) { o.Topics = "" },
		"wildcard in topic":        func(o *MQTTOptions) { o.Topics = "a/#" },
		"unknown part of a topic":  func(o *MQTTOptions) { o.Topics = "a/{x}" },
		"topics that are the same": func(o *MQTTOptions) { o.Topics, o.TopicsPerConnection = "a/{c}", 2 },
	} {
		o := DefaultMQTTOptions()
		change(&o)
		if _, err := RunMQTT(t.Context(), o); !errors.Is(err, ErrOptions) && !errors.Is(err, ErrTopicPattern) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTopicPatternFilterMatchesItsTopics(t *testing.T) {
	for pattern, want := range map[string]string{
		"bench/{c}/{t}": "bench/+/+", "city/lamp-{c}/temp": "city/+/temp", "fixed": "fixed",
	} {
		if got := topicPattern(pattern).filter(); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

// BenchmarkSink tells what the load generator can do at most on this machine: both ends in one process.
func BenchmarkSink(b *testing.B) {
	s := startSink(b, nil)
	o := quickMQTT(s.Addr())
	o.Connections, o.Window, o.Count = 50, 100, int64(max(b.N, 50))
	b.ResetTimer()
	r, err := RunMQTT(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(r.PerSecond, "msg/s")
}
