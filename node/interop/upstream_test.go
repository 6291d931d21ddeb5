//go:build interop

package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/admin"
	"github.com/culvert-mq/culvert/node/soak/rig"
)

const devices = 10

// edgeConfig is the configuration of a node that forwards to a centre.
func edgeConfig(centre, site string) rig.Config {
	return with(rig.Config{"log": "num_partitions = 3\n"}, fmt.Sprintf(`
[[mqtt.route]]
filter  = "city/{place}/{device}/{measure}"
topic   = "telemetry"
key     = "{device}"
headers = { place = "{place}", measure = "{measure}" }

[upstream]
brokers     = [%q]
site        = %q
max_backoff = "1s"
`, centre, site))
}

// fleet is a number of devices that publish numbered readings at QoS 1.
type fleet struct {
	devices []*rig.Device
	stop    chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// publish starts a fleet: so many readings of each device, or without an end when limit is 0, at a rate for each.
func publish(ctx context.Context, addr string, limit int64, rate float64) *fleet {
	f := &fleet{stop: make(chan struct{})}
	for i := range devices {
		d := &rig.Device{Name: fmt.Sprintf("dev-%d", i), Topic: fmt.Sprintf("city/quay/dev-%d/temp", i), Window: 50, Limit: limit, Rate: rate,
			Payload: func(dst []byte, conn, seq int64) []byte { return fmt.Appendf(dst, "%d %d", conn, seq) }}
		f.devices = append(f.devices, d)
		f.wg.Go(func() {
			if err := d.Run(ctx, addr, f.stop); err != nil {
				f.mu.Lock()
				f.errs = append(f.errs, fmt.Errorf("%s: %w", d.Name, err))
				f.mu.Unlock()
			}
		})
	}
	return f
}

func (f *fleet) acked() (n int64) {
	for _, d := range f.devices {
		n += d.Acked()
	}
	return n
}

// end lets the devices finish what they have sent, and waits for them.
func (f *fleet) end(t *testing.T) {
	t.Helper()
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	f.wait(t)
}

func (f *fleet) wait(t *testing.T) {
	t.Helper()
	f.wg.Wait()
	if err := errors.Join(f.errs...); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, n *rig.Node) *admin.Status {
	t.Helper()
	s, err := admin.FetchStatus(t.Context(), n.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	if s.Upstream == nil {
		t.Fatal("the status tells nothing of upstream")
	}
	return s
}

// forwarded waits until the centre has confirmed everything.
func forwarded(t *testing.T, n *rig.Node) {
	t.Helper()
	wait(t, 2*time.Minute, func() error {
		s := status(t, n)
		records := int64(0)
		for _, tp := range s.Topics {
			if tp.Name == "telemetry" {
				records = tp.Records()
			}
		}
		if s.Upstream.Lag != 0 || records == 0 || s.Upstream.State != "streaming" && s.Upstream.State != "catching-up" {
			return fmt.Errorf("%d records, upstream %+v", records, s.Upstream)
		}
		if s.Upstream.Lost != 0 || s.Upstream.Refused != 0 {
			t.Fatalf("lost or refused: %+v", s.Upstream)
		}
		return nil
	})
}

// byKey lists the records of every key in order; a key must be in one partition.
func byKey(t *testing.T, all map[int32][]*kgo.Record) map[string][]*kgo.Record {
	t.Helper()
	keys, in := map[string][]*kgo.Record{}, map[string]int32{}
	for p, records := range all {
		for _, r := range records {
			k := string(r.Key)
			if at, ok := in[k]; ok && at != p {
				t.Fatalf("%s is in partitions %d and %d", k, at, p)
			}
			in[k] = p
			keys[k] = append(keys[k], r)
		}
	}
	return keys
}

func describe(r *kgo.Record) string {
	var h strings.Builder
	for _, x := range r.Headers {
		fmt.Fprintf(&h, " %s=%q", x.Key, x.Value)
	}
	return fmt.Sprintf("%q %q %d%s", r.Key, r.Value, r.Timestamp.UnixMilli(), h.String())
}

// compare makes sure that the centre has what the edge has: per key the same records, with their headers and timestamps,
// in the same order. Runs of them may come again, each run in order; it returns how many records did.
func compare(t *testing.T, edge *rig.Node, centre, topic string) (records, again int) {
	t.Helper()
	here, there := byKey(t, readAll(t, edge.Kafka, "telemetry")), byKey(t, readAll(t, centre, topic))
	if len(here) != devices || len(there) != devices {
		t.Fatalf("%d keys here, %d at the centre", len(here), len(there))
	}
	for key, want := range here {
		index := map[string]int{}
		for i, r := range want {
			index[describe(r)] = i
		}
		if len(index) != len(want) {
			t.Fatalf("%s: records of the edge cannot be told apart", key)
		}
		next := 0
		for _, r := range there[key] {
			i, ok := index[describe(r)]
			switch {
			case !ok:
				t.Fatalf("%s: the centre has what the edge has not: %s", key, describe(r))
			case i > next:
				t.Fatalf("%s: %s comes before %s", key, describe(r), describe(want[next]))
			}
			next = i + 1
		}
		again += len(there[key]) - len(want)
		if next != len(want) {
			t.Fatalf("%s: %d of %d records have arrived", key, next, len(want))
		}
		records += len(want)
	}
	return records, again
}

// arrivedAcknowledged makes sure that every reading that was acknowledged to its device is in the edge's log, in order.
func arrivedAcknowledged(t *testing.T, edge *rig.Node, f *fleet) {
	t.Helper()
	keys := byKey(t, readAll(t, edge.Kafka, "telemetry"))
	for _, d := range f.devices {
		next := int64(0)
		for _, r := range keys[d.Name] {
			var conn, seq int64
			if _, err := fmt.Sscan(string(r.Value), &conn, &seq); err != nil {
				t.Fatalf("%s: %q: %v", d.Name, r.Value, err)
			}
			if seq > next {
				t.Fatalf("%s: %d follows %d", d.Name, seq, next-1)
			}
			next = max(next, seq+1)
		}
		if next < d.Acked() {
			t.Fatalf("%s: %d readings are stored, %d were acknowledged", d.Name, next, d.Acked())
		}
	}
}

func TestWhatDevicesPublishReachesKafkaOnceAndInOrder(t *testing.T) {
	onlyCulvert(t)
	k, site := sharedKafka(t), topic(t)
	edge := start(t, edgeConfig(k.addr, site))
	f := publish(t.Context(), edge.MQTT, 1000, 0)
	f.wait(t)
	forwarded(t, edge)
	records, again := compare(t, edge, k.addr, site+".telemetry")
	if records != 1000*devices || again != 0 {
		t.Errorf("%d records, %d of them again", records, again)
	}
	// Kafka's own tools count the same.
	out := k.java.class(offsetShell, "--bootstrap-server", k.addr, "--topic", site+".telemetry").run(t)
	sum := 0
	for line := range strings.Lines(out) {
		var n int
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ':')+1:], &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += n
	}
	if sum != 1000*devices {
		t.Errorf("Kafka counts %d: %s", sum, out)
	}
	out = k.java.class(consoleConsumer, "--bootstrap-server", k.addr, "--topic", site+".telemetry", "--from-beginning", "--max-messages", "10000",
		"--timeout-ms", "20000", "--formatter-property", "print.key=true", "--formatter-property", "print.headers=true").run(t)
	if n := strings.Count(out, "measure:temp"); n != 1000*devices {
		t.Errorf("Java's consumer reads %d records with their headers", n)
	}
	// A restart in order sends nothing again.
	if _, err := edge.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := begin(edge); err != nil {
		t.Fatal(err)
	}
	forwarded(t, edge)
	if records, again := compare(t, edge, k.addr, site+".telemetry"); records != 1000*devices || again != 0 {
		t.Errorf("after a restart %d records, %d of them again", records, again)
	}
}

func TestWhatDevicesPublishReachesAnotherCulvert(t *testing.T) {
	onlyCulvert(t)
	centre := start(t, rig.Config{"log": "num_partitions = 4\n"})
	edge := start(t, edgeConfig(centre.Kafka, "north"))
	publish(t.Context(), edge.MQTT, 1000, 0).wait(t)
	forwarded(t, edge)
	if records, again := compare(t, edge, centre.Kafka, "north.telemetry"); records != 1000*devices || again != 0 {
		t.Errorf("%d records, %d of them again", records, again)
	}
}

func TestDevicesAreServedWhileKafkaIsKilledAndRestarted(t *testing.T) {
	onlyCulvert(t)
	k := startKafka(t)
	edge := start(t, edgeConfig(k.addr, "north"))
	f := publish(t.Context(), edge.MQTT, 0, 100)
	wait(t, time.Minute, func() error {
		if s := status(t, edge); s.Upstream.Confirmed < 1000 {
			return fmt.Errorf("%+v", s.Upstream)
		}
		return nil
	})
	k.kill()
	before := f.acked()
	wait(t, time.Minute, func() error {
		s := status(t, edge)
		if s.Upstream.State != "down" || s.Upstream.Lag < 1000 || f.acked() < before+2000 {
			return fmt.Errorf("%d acknowledged since, %+v", f.acked()-before, s.Upstream)
		}
		return nil
	})
	if err := k.start(); err != nil {
		t.Fatal(err)
	}
	wait(t, time.Minute, func() error {
		if s := status(t, edge); s.Upstream.State != "streaming" {
			return fmt.Errorf("%+v", s.Upstream)
		}
		return nil
	})
	f.end(t)
	forwarded(t, edge)
	arrivedAcknowledged(t, edge, f)
	// The idempotent producer sends again what was not confirmed, and Kafka knows what it had.
	if records, again := compare(t, edge, k.addr, "north.telemetry"); again != 0 {
		t.Errorf("%d of %d records came again", again, records)
	}
}

func TestNothingIsLostOnTheWayToKafkaWhenTheNodeIsKilled(t *testing.T) {
	onlyCulvert(t)
	k, site := sharedKafka(t), topic(t)
	edge := start(t, edgeConfig(k.addr, site))
	f := publish(t.Context(), edge.MQTT, 0, 100)
	const kills, rate, life = 4, 100 * devices, 2500 * time.Millisecond
	for range kills {
		began := time.Now()
		wait(t, time.Minute, func() error {
			if s := status(t, edge); s.Upstream.Confirmed < 3*rate/2 || time.Since(began) < life {
				return fmt.Errorf("%+v", s.Upstream)
			}
			return nil
		})

		if err := edge.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := begin(edge); err != nil {
			t.Fatal(err)
		}
	}
	f.end(t)
	forwarded(t, edge)
	arrivedAcknowledged(t, edge, f)
	records, again := compare(t, edge, k.addr, site+".telemetry")
	t.Logf("%d records reached the centre, %d of them more than once after %d kills", records, again, kills)
	// Positions are stored every second: what was confirmed since, and what was on its way, comes again. Three times that
	// for a slow machine.
	if most := 3 * kills * rate; again > most {
		t.Errorf("%d records came again, %d may", again, most)
	}
}

// A record that Kafka does not take holds nobody up, and nobody who shared a batch with it is missing.
func TestRecordThatKafkaRefusesIsPassedOverAndReported(t *testing.T) {
	onlyCulvert(t)
	k, site := sharedKafka(t), topic(t)
	most := "2000"
	if _, err := adminOf(t, k.addr).CreateTopic(t.Context(), 2, 1, map[string]*string{"max.message.bytes": &most}, site+".photos"); err != nil {
		t.Fatal(err)
	}
	edge := start(t, edgeConfig(k.addr, site))
	cl := client(t, edge.Kafka, kgo.DefaultProduceTopic("photos"), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0))
	big := make([]byte, 5000)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	for i := range 600 {
		r := &kgo.Record{Key: fmt.Appendf(nil, "k%d", i%6), Value: fmt.Appendf(nil, "%d", i/6)}
		if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if i == 100 || i == 400 {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Key: []byte("big"), Value: big}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait(t, time.Minute, func() error {
		if u := status(t, edge).Upstream; u.Lag != 0 || u.Refused != 2 || u.Lost != 0 {
			return fmt.Errorf("%+v", u)
		}
		return nil
	})
	there := byKey(t, readAll(t, k.addr, site+".photos"))
	if len(there) != 6 {
		t.Errorf("%d keys at the centre", len(there))
	}
	for key, records := range there {
		var last []string // copies
		for _, r := range records {
			last = slices.DeleteFunc(last, func(v string) bool { return v == string(r.Value) })
			last = append(last, string(r.Value))
		}
		for i, v := range last {
			if v != fmt.Sprint(i) {
				t.Fatalf("%s: value %d is %s", key, i, v)
			}
		}
		if len(last) != 100 {
			t.Errorf("%s: %d of 100 values", key, len(last))
		}
	}
}
