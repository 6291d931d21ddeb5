//go:build soak

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

const (
	topicDevices    = "soak-devices"
	topicPlain      = "soak-plain"
	topicIdempotent = "soak-idempotent"
	partitions      = 4
)

var topics = []string{topicDevices, topicPlain, topicIdempotent}

// config is what every soak node has in common: small segments, so that sealing, absorbing and the
// journal's wrap all happen within seconds.
func config(commit string) rig.Config {
	return rig.Config{
		"node":   "log_level = \"info\"\n",
		"log":    "segment_bytes = \"2MiB\"\njournal_bytes = \"1MiB\"\nretention = \"unlimited\"\n",
		"commit": commit,
		"mqtt":   "[[mqtt.route]]\nfilter = \"soak/{device}/v\"\ntopic = \"" + topicDevices + "\"\nkey = \"{device}\"\n",
	}
}

// A load is everything that writes to a node, and what was acknowledged to it.
type load struct {
	devices   []*rig.Device
	producers []*producer
	ledgers   map[string]*Ledger

	stopped chan struct{}
	wg      sync.WaitGroup
	mu      sync.Mutex
	failed  []error // guarded by mu
}

// newLoad returns eight devices, two plain and three idempotent producers that together write about rate
// records a second.
func newLoad(rate float64) *load {
	l := &load{ledgers: map[string]*Ledger{}, stopped: make(chan struct{})}
	for i := range 8 {
		name := fmt.Sprintf("device-%d", i)
		l.devices = append(l.devices, &rig.Device{
			Name: name, Topic: "soak/" + name + "/v", Window: int64(10 << (i % 4)), Rate: rate / 16,
			Payload: func(dst []byte, conn, seq int64) []byte {
				return Entry{Kind: Device, Source: name, Conn: conn, Seq: seq}.Append(dst, 100+int(seq%7)*30)
			},
		})
	}
	l.producers = []*producer{
		newProducer("plain-a", topicPlain, Plain, rate/10, 200, kgo.NoCompression(), 0, 1, 2, 3),
		newProducer("plain-b", topicPlain, Plain, rate/10, 90, kgo.Lz4Compression(), 1, 2),
		newProducer("once-a", topicIdempotent, Idempotent, rate/10, 120, kgo.NoCompression(), 0, 1, 2, 3),
		newProducer("once-b", topicIdempotent, Idempotent, rate/10, 300, kgo.ZstdCompression(), 0),
		newProducer("once-c", topicIdempotent, Idempotent, rate/10, 1500, kgo.NoCompression(), 2, 3),
	}
	for _, topic := range topics {
		l.ledgers[topic] = NewLedger(l.first)
	}
	return l
}

func (l *load) first(source string, conn int64) (int64, bool) {
	for _, d := range l.devices {
		if d.Name == source {
			return d.First(conn)
		}
	}
	return 0, false
}

// start sets everything going against the node's addresses.
func (l *load) start(ctx context.Context, n *rig.Node) {
	for _, d := range l.devices {
		l.wg.Go(func() { l.fail(d.Run(ctx, n.MQTT, l.stopped)) })
	}
	for _, p := range l.producers {
		l.wg.Go(func() { l.fail(p.run(ctx, n.Kafka, l.stopped)) })
	}
}

func (l *load) fail(err error) {
	if err != nil {
		l.mu.Lock()
		l.failed = append(l.failed, err)
		l.mu.Unlock()
	}
}

// failure returns what went wrong for the clients so far.
func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.failed...)
}

// stop ends the load and waits until the node, which must be up, has acknowledged everything.
func (l *load) stop() error {
	close(l.stopped)
	l.wg.Wait()
	if err := l.failure(); err != nil {
		return err
	}
	sent, acked := l.sent(), l.acked()
	for source := range sent {
		if sent[source] != acked[source] {
			return fmt.Errorf("%s: sent %d, acknowledged %d", source, sent[source], acked[source])
		}
	}
	return nil
}

// acked returns for every source how many of its records were acknowledged: all with a lower sequence.
func (l *load) acked() map[string]int64 {
	all := map[string]int64{}
	for _, d := range l.devices {
		all[d.Name] = d.Acked()
	}
	for _, p := range l.producers {
		for i := range p.partitions {
			all[p.source(i)] = p.acked[i].Load()
		}
	}
	return all
}

func (l *load) sent() map[string]int64 {
	all := map[string]int64{}
	for _, d := range l.devices {
		all[d.Name] = d.Sent()
	}
	for _, p := range l.producers {
		for i := range p.partitions {
			all[p.source(i)] = p.sent[i].Load()
		}
	}
	return all
}

// verify reads on where the last call ended and checks that everything acknowledged by now is there.
func (l *load) verify(ctx context.Context, n *rig.Node) error {
	acked := l.acked() // before the ends are asked for: all of it lies below them
	for _, topic := range topics {
		if err := l.ledgers[topic].advance(ctx, n.Kafka, topic); err != nil {
			return err
		}
	}
	return l.holds(l.ledgers, acked)
}

// holds checks that the ledgers have all that was acknowledged.
func (l *load) holds(ledgers map[string]*Ledger, acked map[string]int64) error {
	var errs []error
	for source, n := range acked {
		highest := int64(-1)
		for _, ledger := range ledgers {
			highest = max(highest, ledger.Highest(source))
		}
		if highest+1 < n {
			errs = append(errs, fmt.Errorf("%w: %s: %d records were acknowledged, the log has %d", ErrLedger, source, n, highest+1))
		}
	}
	return errors.Join(errs...)
}

// raiseFloors tells the ledgers what was acknowledged before a kill that lies two starts back.
func (l *load) raiseFloors(acked map[string]int64) {
	for source, n := range acked {
		l.ledgers[topicPlain].SetFloor(source, n)
	}
}

// verifyAll reads everything from the first offset on, into new ledgers, and compares it with what was
// read on the way.
func (l *load) verifyAll(ctx context.Context, n *rig.Node) error {
	acked := l.acked()
	fresh := map[string]*Ledger{}
	for _, topic := range topics {
		fresh[topic] = NewLedger(l.first)
		if err := fresh[topic].advance(ctx, n.Kafka, topic); err != nil {
			return fmt.Errorf("from the start: %w", err)
		}
		if d := l.ledgers[topic].Diff(fresh[topic]); d != "" {
			return fmt.Errorf("%w: %s changed after it was read: %s", ErrLedger, topic, d)
		}
	}
	return l.holds(fresh, acked)
}

// exactlyOnce checks, when all that was sent is acknowledged, that the idempotent producers' records are
// there once each: not one more than was sent.
func (l *load) exactlyOnce() error {
	var sent int64
	for source, n := range l.sent() {
		if strings.HasPrefix(source, "once-") {
			sent += n
		}
	}
	if got := l.ledgers[topicIdempotent].Records(); got != sent {
		return fmt.Errorf("%w: idempotent producers sent %d records, the log has %d", ErrLedger, sent, got)
	}
	return nil
}

// report describes what went through.
func (l *load) report(t *testing.T) {
	t.Helper()
	var records, doubled, connections int64
	for _, topic := range topics {
		ledger := l.ledgers[topic]
		t.Logf("%-16s %9d records, %6d of them stored again after a lost acknowledgement", topic, ledger.Records(), ledger.Doubled())
		records, doubled = records+ledger.Records(), doubled+ledger.Doubled()
	}
	for _, d := range l.devices {
		connections += int64(d.Connections())
	}
	t.Logf("%d records in all, %d acknowledged, %d doubled, %d MQTT connections", records, sum(l.acked()), doubled, connections)
}

func sum(m map[string]int64) int64 {
	var n int64
	for _, k := range slices.Sorted(maps.Keys(m)) {
		n += m[k]
	}
	return n
}

// within returns a context of the test that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
