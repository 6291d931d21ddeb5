package node

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// state produces n records of a kilobyte to a topic whose keys are few, and returns the last value of each.
func (r *running) state(topic string, n, seed int) map[string]string {
	r.t.Helper()
	cl := r.client(kgo.MaxBufferedRecords(200))
	defer cl.Close()
	latest := make(map[string]string)
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	for i := range n {
		key, value := fmt.Sprint("key", rnd.IntN(40)), make([]byte, 1000)
		for i := range value {
			value[i] = byte(rnd.Uint32())
		}
		value = fmt.Append(nil, i, " ", string(value))
		latest[key] = string(value)
		cl.Produce(r.t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				r.t.Errorf("produce: %v", err)
			}
		})
	}
	if err := cl.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return latest
}

// readAll consumes a topic of one partition from its start to its end, as a client does that follows offsets: what it says
// of each key, which keys it deletes, and how many records it took.
func (r *running) readAll(topic string) (says map[string]string, deleted []string, records int) {
	r.t.Helper()
	ends, err := kadm.NewClient(r.client()).ListEndOffsets(r.t.Context(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	cl := r.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	defer cl.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	says = make(map[string]string)
	for last := int64(-1); last < end.Offset-1; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			r.t.Fatalf("%s at %d of %d: %v", topic, last, end.Offset, err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			if rec.Offset <= last {
				r.t.Errorf("offset %d behind %d", rec.Offset, last)
			}
			last, records = rec.Offset, records+1
			if says[string(rec.Key)] = string(rec.Value); rec.Value == nil {
				delete(says, string(rec.Key))
				deleted = append(deleted, string(rec.Key))
			}
		})
	}
	return says, deleted, records
}

// retain publishes a retained message.
func (r *running) retain(topic string, values ...string) {
	r.t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.Addr("mqtt")).SetClientID("retainer").SetAutoReconnect(false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		r.t.Fatal("connect:", tok.Error())
	}
	defer c.Disconnect(100)
	for _, v := range values {
		if tok := c.Publish(topic, 1, true, v); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			r.t.Fatal("publish:", tok.Error())
		}
	}
}

// retained subscribes and returns the retained messages that come, when a last one is there.
func (r *running) retained(filter, last string) map[string]string {
	r.t.Helper()
	var mu sync.Mutex
	var once sync.Once
	got, done := make(map[string]string), make(chan struct{})
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.Addr("mqtt")).SetClientID("subscriber").SetAutoReconnect(false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		r.t.Fatal("connect:", tok.Error())
	}
	defer c.Disconnect(100)
	c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		if got[m.Topic()] = string(m.Payload()); m.Topic() == last {
			once.Do(func() { close(done) })
		}
	})
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		r.t.Fatalf("no retained message of %s", last)
	}
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(got)
}

func TestCompactedTopicsShrinkToTheLastOfEveryKey(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Log.SegmentBytes, c.Log.JournalBytes, c.Log.TrustClock = 1<<20, 1<<20, true
	r := start(t, c)
	adm := kadm.NewClient(r.client())
	policy, ratio, keep := "compact", "0", "100"
	if _, err := adm.CreateTopic(t.Context(), 1, 1, map[string]*string{
		"cleanup.policy": &policy, "min.cleanable.dirty.ratio": &ratio, "delete.retention.ms": &keep,
	}, "state"); err != nil {
		t.Fatal(err)
	}
	r.retain("lamp/1", "off", "on", "off", "on", "broken")
	r.retain("lamp/2", "on", "") // and taken back
	r.retain("lamp/3", "on")
	for at := range int64(20) {
		var offsets kadm.Offsets
		offsets.AddOffset("state", 0, at, -1)
		if err := adm.CommitAllOffsets(t.Context(), "group", offsets); err != nil {
			t.Fatal(err)
		}
	}
	latest := r.state("state", 5000, 1)
	for _, rec := range []*kgo.Record{{Key: []byte("removed"), Value: []byte("x")}, {Key: []byte("removed")}, {Key: []byte("last"), Value: []byte("x")}} {
		rec.Topic = "state"
		if res := r.client().ProduceSync(t.Context(), rec); res.FirstErr() != nil {
			t.Fatal(res.FirstErr())
		}
	}
	latest["last"] = "x"
	waitFor(t, "the log to be compacted", func() bool {
		says, deleted, records := r.readAll("state")
		if !maps.Equal(says, latest) || !slices.Contains(deleted, "removed") {
			t.Fatalf("%d keys, want %d; %q deleted", len(says), len(latest), deleted)
		}
		return records < 2500 // at the end there is always a segment that has not been sealed
	})
	maps.Copy(latest, r.state("state", 3000, 2))
	waitFor(t, "the tombstone's time to be over", func() bool {
		_, deleted, _ := r.readAll("state")
		if len(deleted) > 0 { // more segments are sealed, and what lay beside it goes
			maps.Copy(latest, r.state("state", 200, 3))
		}
		return len(deleted) == 0
	})
	check := func() {
		t.Helper()
		says, _, records := r.readAll("state")
		if !maps.Equal(says, latest) || records > 2600 {
			t.Fatalf("%d keys in %d records, want %d", len(says), records, len(latest))
		}
		group, err := adm.FetchOffsets(t.Context(), "group")
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := group.Lookup("state", 0); !ok || o.At != 19 {
			t.Fatalf("committed offset %+v", o)
		}
		if got := r.retained("lamp/+", "lamp/3"); !maps.Equal(got, map[string]string{"lamp/1": "broken", "lamp/3": "on"}) {
			t.Fatalf("retained: %v", got)
		}
	}
	waitFor(t, "committed offsets and retained messages to be compacted", func() bool {
		l := r.ledgers()
		return l["__consumer_offsets"].Superseded >= 19 && l["__mqtt_retained"].Superseded >= 5 && l["state"].Stored < 2500
	})
	check()
	if _, text := r.get("/metrics"); !strings.Contains(text, "culvert_compaction_passes_total") || !slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool {
		return strings.HasPrefix(l, `culvert_compaction_removed_records_total{topic="state"}`) && !strings.HasSuffix(l, " 0")
	}) {
		t.Fatal("the metrics do not tell of compaction")
	}
	before := r.ledgers()
	r.stop()
	r = start(t, c)
	adm = kadm.NewClient(r.client())
	if after := r.ledgers(); after["state"].Stored > before["state"].Stored || after["state"].Accepted != before["state"].Accepted {
		t.Fatalf("ledger %+v, was %+v", after["state"], before["state"])
	}
	check()
}
