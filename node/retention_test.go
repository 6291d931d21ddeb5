package node

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/config"
)

// nobody is an address where nothing listens.
const nobody = "127.0.0.1:1"

// smallLog keeps little, and forwards to a centre.
func smallLog(dir, centre string) *config.Config {
	c := testConfig(dir)
	c.Log.SegmentBytes, c.Log.JournalBytes, c.Log.MaxBytes = 1<<20, 1<<20, 10<<20
	c.Upstream.Brokers, c.Upstream.Site = []string{centre}, "cabinet-1"
	c.Upstream.Exclude = []string{"local"}
	return c
}

// fill produces n records of 10 kB that do not compress.
func (r *running) fill(topic string, n int) {
	r.t.Helper()
	cl := r.client(kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100))
	defer cl.Close()
	value := make([]byte, 10_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(value)
	for range n {
		cl.Produce(r.t.Context(), &kgo.Record{Topic: topic, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				r.t.Errorf("produce to %s: %v", topic, err)
			}
		})
	}
	if err := cl.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// ledgers returns the ledgers of all topics, each of which must add up.
func (r *running) ledgers() map[string]admin.Ledger {
	r.t.Helper()
	all := make(map[string]admin.Ledger)
	for _, topic := range r.Status().Topics {
		l := topic.Ledger
		if sum := l.Stored + l.Expired + l.Lost + l.Superseded + l.Damaged; sum != l.Accepted {
			r.t.Fatalf("the ledger of %s does not add up: %+v", topic.Name, l)
		}
		all[topic.Name] = l
	}
	return all
}

// settled returns the ledgers once retention has had its way.
func (r *running) settled() map[string]admin.Ledger {
	r.t.Helper()
	last, since := r.ledgers(), time.Now()
	waitFor(r.t, "retention to be done", func() bool {
		if now := r.ledgers(); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		return time.Since(since) > 1500*time.Millisecond // the limits are looked at every second
	})
	return last
}

func TestLedgerAddsUpWhileTheCentreIsAwayAndAfterItIsBack(t *testing.T) {
	dir := t.TempDir()
	r := start(t, smallLog(dir, nobody))
	adm := kadm.NewClient(r.client())
	nine := "9"
	for topic, configs := range map[string]map[string]*string{"telemetry": nil, "local": nil, "alarms": {"culvert.priority": &nine}} {
		if _, err := adm.CreateTopic(t.Context(), 1, 1, configs, topic); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		r.fill("alarms", 25)
		r.fill("telemetry", 500)
		r.fill("local", 100)
	}
	l := r.settled()
	if used := r.Status().Log.DiskBytes; used > 10<<20 {
		t.Fatalf("the log takes %d bytes", used)
	}
	if a := l["alarms"]; a != (admin.Ledger{Accepted: 100, Stored: 100}) {
		t.Fatalf("alarms %+v", a)
	}
	if tel := l["telemetry"]; tel.Accepted != 2000 || tel.Lost == 0 || tel.Expired != 0 || tel.Forwarded != 0 {
		t.Fatalf("telemetry %+v", tel)
	}
	if loc := l["local"]; loc.Accepted != 400 || loc.Lost != 0 || loc.Expired == 0 {
		t.Fatalf("a topic that is not forwarded %+v", loc)
	}
	s := r.Status()
	if s.Log.Lost != l["telemetry"].Lost || s.Log.Refusing != "" {
		t.Fatalf("status of the log %+v", s.Log)
	}
	_, metrics := r.get("/metrics")
	for _, want := range []string{
		fmt.Sprintf(`culvert_topic_records{state="lost",topic="telemetry"} %d`, l["telemetry"].Lost),
		fmt.Sprintf(`culvert_log_lost_records_total{reason="disk",topic="telemetry"} %d`, l["telemetry"].Lost),
		`culvert_topic_records{state="stored",topic="alarms"} 100`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("metrics have no %s", want)
		}
	}
	// A client gives up what it does not want: 10 alarms that nobody has forwarded.
	if res, err := adm.DeleteRecords(t.Context(), kadm.Offsets{"alarms": {0: {Topic: "alarms", At: 10}}}); err != nil || res["alarms"][0].Err != nil {
		t.Fatal(res, err)
	}
	l = r.ledgers()
	if a := l["alarms"]; a != (admin.Ledger{Accepted: 100, Stored: 90, Lost: 10}) {
		t.Fatalf("alarms after some were deleted %+v", a)
	}
	r.stop()
	r = start(t, smallLog(dir, nobody))
	for topic, got := range r.ledgers() {
		if got != l[topic] && !strings.HasPrefix(topic, "__") { // the positions are written at every stop
			t.Errorf("%s after a restart: %+v, was %+v", topic, got, l[topic])
		}
	}
	r.stop()

	centre := start(t, testConfig(t.TempDir()))
	r = start(t, smallLog(dir, centre.Addr("kafka")))
	waitFor(t, "everything to be forwarded", func() bool { s := r.Status(); return s.Upstream.Lag == 0 && s.Upstream.Confirmed > 0 })
	for _, topic := range []string{"telemetry", "alarms"} {
		got := r.ledgers()[topic]
		if got.Lost != l[topic].Lost || got.Forwarded != got.Accepted-got.Lost {
			t.Errorf("%s, forwarded: %+v, was %+v", topic, got, l[topic])
		}
		if n := centre.ledgers()["cabinet-1."+topic].Accepted; n != got.Forwarded {
			t.Errorf("the centre has %d records of %s, %d were forwarded", n, topic, got.Forwarded)
		}
	}
	// What has been forwarded is not lost when it goes.
	lost := r.ledgers()["telemetry"].Lost
	r.fill("telemetry", 100)
	waitFor(t, "those to be forwarded", func() bool { return r.Status().Upstream.Lag == 0 })
	if _, err := kadm.NewClient(r.client()).DeleteRecords(t.Context(), kadm.Offsets{"telemetry": {0: {Topic: "telemetry", At: -1}}}); err != nil {
		t.Fatal(err)
	}
	if got := r.ledgers()["telemetry"]; got.Lost != lost || got.Expired != got.Accepted-lost || got.Stored != 0 {
		t.Errorf("after the forwarded ones were deleted: %+v", got)
	}
}

func TestSegmentsAreSmallWhereTheLogIs(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Log.MaxBytes, c.Log.ReserveBytes = 128<<20, 16<<20
	r := start(t, c)
	if l := r.limits(c); l.SegmentBytes != 8<<20 || l.Reserve != 8<<20 {
		t.Errorf("segments of %d bytes and a reserve of %d in a log of %v", l.SegmentBytes, l.Reserve, c.Log.MaxBytes)
	}
	c = testConfig(t.TempDir())
	c.Log.MaxBytes, c.Log.SegmentBytes = 4<<20, 1<<20
	if got := start(t, c).limits(c).SegmentBytes; got != 1<<20 {
		t.Errorf("segments of %d bytes in a log of %v", got, c.Log.MaxBytes)
	}
	c = testConfig(t.TempDir())
	c.Log.MaxBytes = 1 << 40
	if room, err := logRoom(c); err != nil || room <= 0 || room > 1<<40 {
		t.Errorf("room for %d bytes, %v", room, err)
	}
}

func TestClockIsTrustedWhereTheConfigurationSaysSo(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Log.TrustClock = true
	r := start(t, c)
	if !r.synchronised() {
		t.Error("log.trust_clock is not heeded")
	}
	if a, b := r.uptime(), r.uptime(); a <= 0 || b < a {
		t.Errorf("up for %v, then %v", a, b)
	}
}
