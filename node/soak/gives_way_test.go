//go:build soak

package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

const (
	topicTelemetry = "soak-telemetry"
	topicAlarms    = "soak-alarms"

	telemetryRate = 25 << 20 // bytes a second: more than a card takes
	minFree       = 16 << 20
)

// configureTopics creates topics with settings.
func configureTopics(t *testing.T, addr string, partitions int32, configs map[string]string, topics ...string) {
	t.Helper()
	set := map[string]*string{}
	for k, v := range configs {
		set[k] = &v
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	created, err := kadm.NewClient(newClient(t, addr)).CreateTopics(ctx, partitions, 1, set, topics...)
	if err := errors.Join(err, created.Error()); err != nil {
		t.Fatal(err)
	}
}

// A source produces without ever trying again: what a node refuses is an error.
type source struct {
	topic string
	acked atomic.Int64
	bytes atomic.Int64
	errs  chan error
}

// run produces records of a size, no more than rate bytes a second, until ctx is done.
func (s *source) run(ctx context.Context, addr string, size int, rate float64) {
	cl, err := kgo.NewClient(clientOpts(addr, kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(1000))...)
	if err != nil {
		s.fail(err)
		return
	}
	defer cl.Close()
	defer func() { s.fail(cl.Flush(context.WithoutCancel(ctx))) }()
	noise := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	begin, sent := time.Now(), 0.0
	for seq := 0; ctx.Err() == nil; {
		if ahead := sent/rate - time.Since(begin).Seconds(); ahead > 0 {
			pause := time.NewTimer(time.Duration(ahead * float64(time.Second)))
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
			continue
		}
		_, _ = random.Read(noise)
		value := fmt.Appendf(nil, "%d ", seq)
		value = append(value, noise[len(value):]...)
		cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: s.topic, Key: []byte("k"), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				s.fail(fmt.Errorf("%s: %w", s.topic, err))
				return
			}
			s.acked.Add(1)
			s.bytes.Add(int64(size))
		})
		seq++
		sent += float64(size)
	}
}

func (s *source) fail(err error) {
	if err != nil {
		select {
		case s.errs <- err:
		default:
		}
	}
}

// TestTelemetryGivesWayOnAFullCardAndAlarmsNeverDo fills a card several times over while the centre is away. Nobody is
// refused anything; the oldest telemetry goes, is counted as lost, and the node says so.
func TestTelemetryGivesWayOnAFullCardAndAlarmsNeverDo(t *testing.T) {
	dir := smallDisk(t)
	n := newNode(t)
	n.Data = filepath.Join(dir, "data")
	conf := config("")
	conf["log"] = fmt.Sprintf("journal_bytes = \"1MiB\"\nmin_free_bytes = %d\n", minFree)
	conf["http"] = "\n[upstream]\nbrokers = [\"127.0.0.1:1\"]\nsite = \"cabinet-1\"\n"
	serve(t, n, conf)
	configureTopics(t, n.Kafka, 1, nil, topicTelemetry, topicDevices)
	configureTopics(t, n.Kafka, 1, map[string]string{"culvert.priority": "9"}, topicAlarms)

	telemetry, alarms := &source{topic: topicTelemetry, errs: make(chan error, 1)}, &source{topic: topicAlarms, errs: make(chan error, 1)}
	devices := newLoad(2000).devices
	ctx, cancel := context.WithCancel(t.Context())
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() { telemetry.run(ctx, n.Kafka, 8<<10, telemetryRate) })
	working.Go(func() { alarms.run(ctx, n.Kafka, 500, 100_000) })
	for _, d := range devices {
		working.Go(func() {
			if err := d.Run(context.WithoutCancel(ctx), n.MQTT, stop); err != nil {
				telemetry.fail(fmt.Errorf("%s: %w", d.Name, err))
			}
		})
	}
	least := free(t, dir)
	for end := time.Now().Add(3 * time.Minute); telemetry.bytes.Load() < 3*diskBytes; time.Sleep(20 * time.Millisecond) {
		least = min(least, free(t, dir))
		select {
		case err := <-telemetry.errs:
			t.Fatalf("telemetry was refused after %d MiB, %d bytes free: %v", telemetry.bytes.Load()>>20, free(t, dir), err)
		case err := <-alarms.errs:
			t.Fatalf("an alarm was refused: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("only %d MiB of telemetry were taken", telemetry.bytes.Load()>>20)
		}
	}
	cancel()
	close(stop)
	working.Wait()
	t.Logf("%d MiB of telemetry in %d records, %d alarms; %d MiB were free at the least", telemetry.bytes.Load()>>20, telemetry.acked.Load(), alarms.acked.Load(), least>>20)
	for _, d := range devices {
		if d.Connections() != 1 {
			t.Errorf("%s was thrown out %d times", d.Name, d.Connections()-1)
		}
	}
	if least < minFree {
		t.Errorf("%d bytes were free at the least, %d are to be left", least, minFree)
	}

	before := ledgers(t, n)
	if a := before[topicAlarms]; a != (counts{Accepted: alarms.acked.Load(), Stored: alarms.acked.Load()}) {
		t.Errorf("alarms: %+v, %d were acknowledged", a, alarms.acked.Load())
	}
	tel := before[topicTelemetry]
	if tel.Accepted != telemetry.acked.Load() || tel.Lost == 0 || tel.Expired != 0 || tel.Stored*(8<<10) < diskBytes/4 {
		t.Errorf("telemetry: %+v, %d were acknowledged", tel, telemetry.acked.Load())
	}
	for topic, from := range map[string]int64{topicAlarms: 0, topicTelemetry: tel.Lost} {
		whole(t, n, topic, from, before[topic].Accepted)
	}
	lost := tel.Lost + before[topicDevices].Lost
	if out := status(t, n); !strings.Contains(out, fmt.Sprintf("%d records gone before they were forwarded", lost)) {
		t.Errorf("culvert status does not tell of %d lost records:\n%s", lost, out)
	}
	if out := status(t, n, "--ledger"); !strings.Contains(out, fmt.Sprint(tel.Lost)) {
		t.Errorf("the ledger does not tell of %d lost records:\n%s", tel.Lost, out)
	}

	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	startNode(t, n)
	if after := ledgers(t, n); !maps.Equal(after, before) {
		t.Errorf("ledgers after SIGKILL:\n%+v\nwere\n%+v", after, before)
	}
	whole(t, n, topicAlarms, 0, alarms.acked.Load())
}

// TestLogGivesWayToWhatElseFillsTheCard has something else take the space that the log had, below what is to be left free.
func TestLogGivesWayToWhatElseFillsTheCard(t *testing.T) {
	dir := smallDisk(t)
	n := newNode(t)
	n.Data = filepath.Join(dir, "data")
	conf := config("")
	conf["log"] = fmt.Sprintf("journal_bytes = \"1MiB\"\nmin_free_bytes = %d\n", minFree)
	conf["http"] = "\n[upstream]\nbrokers = [\"127.0.0.1:1\"]\nsite = \"cabinet-1\"\n"
	serve(t, n, conf)
	configureTopics(t, n.Kafka, 1, nil, topicTelemetry)
	configureTopics(t, n.Kafka, 1, map[string]string{"culvert.priority": "9"}, topicAlarms)
	produce := func(topic string, records, size int) {
		t.Helper()
		cl := newClient(t, n.Kafka, kgo.ProducerBatchCompression(kgo.NoCompression()))
		defer cl.Close()
		noise := make([]byte, size)
		random := rand.NewChaCha8([32]byte{})
		for range records {
			_, _ = random.Read(noise)
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Value: append([]byte(nil), noise...)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("%s: %v", topic, err)
				}
			})
		}
		if err := cl.Flush(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		produce(topicAlarms, 10, 500)
		produce(topicTelemetry, 640, 8<<10)
	}
	fill(t, dir, minFree/2)
	for end := time.Now().Add(20 * time.Second); free(t, dir) < minFree; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are free, %d are to be left\n%s", free(t, dir), minFree, status(t, n))
		}
	}
	produce(topicAlarms, 10, 500) // the client tries again while it is refused
	produce(topicTelemetry, 640, 8<<10)
	if _, err := n.Ready(t.Context(), readyTimeout); err != nil {
		t.Fatal(err)
	}
	l := ledgers(t, n)
	if a := l[topicAlarms]; a != (counts{Accepted: 90, Stored: 90}) {
		t.Errorf("alarms: %+v", a)
	}
	if tel := l[topicTelemetry]; tel.Accepted != 9*640 || tel.Lost == 0 {
		t.Errorf("telemetry: %+v", tel)
	}
}

// TestAlarmsAreTakenOnACardWithoutABlock fills the card to the last block, with a log of which nothing may give way: what is
// held in reserve for alarms takes them, and is held again when there is room.
func TestAlarmsAreTakenOnACardWithoutABlock(t *testing.T) {
	dir := smallDisk(t)
	n := newNode(t)
	n.Data = filepath.Join(dir, "data")
	conf := config("")
	conf["log"] = fmt.Sprintf("journal_bytes = \"1MiB\"\nmin_free_bytes = %d\nreserve_bytes = \"4MiB\"\n", minFree)
	serve(t, n, conf)
	configureTopics(t, n.Kafka, 1, keepsAll, topicProbe)
	configureTopics(t, n.Kafka, 1, map[string]string{"culvert.priority": "9"}, topicAlarms)
	held := func(want int64) {
		t.Helper()
		var s struct {
			Log struct {
				Reserve int64 `json:"reserve_bytes"`
			} `json:"log"`
		}
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			out, err := exec.CommandContext(t.Context(), n.Binary, "status", "--http", n.HTTP, "--output", "json").Output()
			if ended, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || ended.ExitCode() != 1) { // 1: a full disk
				t.Fatal(err)
			}
			if err := json.Unmarshal(out, &s); err != nil {
				t.Fatal(err)
			}
			if s.Log.Reserve == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d bytes are held in reserve, want %d", s.Log.Reserve, want)
			}
		}
	}
	held(4 << 20)
	refused := &source{topic: topicProbe, errs: make(chan error, 1)}
	alarms := &source{topic: topicAlarms, errs: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() { refused.run(ctx, n.Kafka, 8<<10, 1<<20) })
	working.Go(func() { alarms.run(ctx, n.Kafka, 1000, 200_000) })
	pause(t, time.Second)
	filler := fill(t, dir, 0)
	select {
	case err := <-refused.errs:
		if !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("refused with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("what is no alarm is taken without a block left")
	}
	before := alarms.acked.Load()
	pause(t, 5*time.Second)
	select {
	case err := <-alarms.errs:
		t.Errorf("an alarm was refused: %v", err)
	default:
	}
	if taken := alarms.acked.Load() - before; taken < 500 {
		t.Errorf("%d alarms were taken in 5 s", taken)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	held(4 << 20) // while alarms arrive
	cancel()
	working.Wait()
	if a := ledgers(t, n)[topicAlarms]; a != (counts{Accepted: alarms.acked.Load(), Stored: alarms.acked.Load()}) {
		t.Errorf("alarms: %+v, %d were acknowledged", a, alarms.acked.Load())
	}
	whole(t, n, topicAlarms, 0, alarms.acked.Load())
}

// counts are a topic's ledger in the status.
type counts struct {
	Accepted   int64 `json:"accepted_records"`
	Stored     int64 `json:"stored_records"`
	Expired    int64 `json:"expired_records"`
	Lost       int64 `json:"lost_records"`
	Superseded int64 `json:"superseded_records"`
	Damaged    int64 `json:"damaged_records"`
}

// ledgers returns the ledgers of all topics but internal ones, each of which must add up.
func ledgers(t *testing.T, n *rig.Node) map[string]counts {
	t.Helper()
	var s struct {
		Ready    bool     `json:"ready"`
		NotReady []string `json:"not_ready"`
		Topics   []struct {
			Name     string `json:"name"`
			Internal bool   `json:"internal"`
			Ledger   counts `json:"ledger"`
		} `json:"topics"`
	}
	if err := json.Unmarshal([]byte(status(t, n, "--output", "json")), &s); err != nil {
		t.Fatal(err)
	}
	if !s.Ready {
		t.Errorf("the node is not ready: %v", s.NotReady)
	}
	all := map[string]counts{}
	for _, topic := range s.Topics {
		l := topic.Ledger
		if sum := l.Stored + l.Expired + l.Lost + l.Superseded + l.Damaged; sum != l.Accepted {
			t.Errorf("the ledger of %s does not add up: %+v", topic.Name, l)
		}
		if !topic.Internal {
			all[topic.Name] = l
		}
	}
	return all
}

// whole reads a topic of one partition and checks that it has every record from one offset to another.
func whole(t *testing.T, n *rig.Node, topic string, from, to int64) {
	t.Helper()
	next := from
	err := read(within(t, time.Minute), n.Kafka, topic, map[int32]int64{0: from}, map[int32]int64{0: to}, func(r *kgo.Record) error {
		var seq int64
		if _, err := fmt.Sscan(string(r.Value[:min(20, len(r.Value))]), &seq); err != nil || seq != r.Offset || r.Offset != next {
			return fmt.Errorf("offset %d holds record %d, want %d: %w", r.Offset, seq, next, err)
		}
		next++
		return nil
	})
	if err != nil || next != to {
		t.Errorf("%s from %d to %d: read up to %d, %v", topic, from, to, next, err)
	}
}

// status is what `culvert status` prints.
func status(t *testing.T, n *rig.Node, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), n.Binary, append([]string{"status", "--http", n.HTTP}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("culvert status: %v\n%s", err, out)
	}
	return string(out)
}
