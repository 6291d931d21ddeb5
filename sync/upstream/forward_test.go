package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/log/record"
)

const t0 = int64(1_760_000_000_000)

// fill appends n records to the partitions, in batches, with keys k0...k(keys-1) that each stay in one partition, and
// values that count up per key.
func fill(parts []*memPartition, keys, n int, codec record.Codec) {
	var batches = make([][]rec, len(parts))
	for i := range n {
		k := i % keys
		p := k % len(parts)
		batches[p] = append(batches[p], rec{key: fmt.Sprintf("k%d", k), value: fmt.Sprintf("%d", i/keys), ts: t0 + int64(i)})
		if len(batches[p]) == 50 {
			parts[p].append(codec, batches[p]...)
			batches[p] = nil
		}
	}
	for p, b := range batches {
		if len(b) > 0 {
			parts[p].append(codec, b...)
		}
	}
}

// checkOrder makes sure that each key's values count up from 0 without a gap to per, and returns how many came again.
// With strict, none may.
func checkOrder(t *testing.T, got []*kgo.Record, keys, per int, strict bool) (again int) {
	t.Helper()
	last := map[string]int{}
	part := map[string]int32{}
	for _, r := range got {
		k := string(r.Key)
		var v int
		if _, err := fmt.Sscan(string(r.Value), &v); err != nil {
			t.Fatalf("%s: value %q", k, r.Value)
		}
		next, seen := last[k]
		if p, ok := part[k]; ok && p != r.Partition {
			t.Fatalf("%s is in partitions %d and %d", k, p, r.Partition)
		}
		part[k] = r.Partition
		switch {
		case v == next:
			last[k] = v + 1
		case seen && v < next && !strict:
			again++
			last[k] = v + 1 // a run that is repeated must be repeated in order
		default:
			t.Fatalf("%s: %d after %d", k, v, next-1)
		}
	}
	for k := range keys {
		if n := last[fmt.Sprintf("k%d", k)]; n != per {
			t.Fatalf("k%d: %d of %d values", k, n, per)
		}
	}
	return again
}

// checkLastCopies makes sure that each key's values, where only the last copy of each counts, count up from 0 to per.
func checkLastCopies(t *testing.T, got []*kgo.Record, keys, per int) {
	t.Helper()
	seen := map[string]bool{}
	var last []*kgo.Record
	for _, r := range slices.Backward(got) {
		if id := string(r.Key) + "=" + string(r.Value); !seen[id] {
			seen[id] = true
			last = append(last, r)
		}
	}
	slices.Reverse(last)
	checkOrder(t, last, keys, per, true)
}

func TestRecordsArriveAsTheyAre(t *testing.T) {
	r := newRig(t, newCentre(t))
	p := r.source.topic("air", 1)[0]
	var want []rec
	for i, codec := range []record.Codec{record.None, record.Gzip, record.Snappy, record.LZ4, record.Zstd} {
		batch := []rec{
			{key: fmt.Sprint("lamp-", i), value: strings.Repeat("21.5", 40), ts: t0 + int64(i), headers: []record.Header{
				{Key: []byte("content-type"), Value: []byte("text")}, {Key: []byte("null")}, {Key: []byte("empty"), Value: []byte{}},
				{Key: []byte("content-type"), Value: []byte("again")}}},
			{key: "tomb", ts: t0 - 5000},
			{key: "epoch", value: "x", ts: 0},
		}
		p.append(codec, batch...)
		want = append(want, batch...)
	}
	r.cfg.Create.Partitions = 1
	r.start()
	r.caughtUp()
	got := r.consume("north.air")
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if string(g.Key) != w.key || string(g.Value) != w.value || (g.Value == nil) != (w.value == "") || g.Timestamp.UnixMilli() != w.ts {
			t.Fatalf("record %d: %q=%q at %d, want %+v", i, g.Key, g.Value, g.Timestamp.UnixMilli(), w)
		}
		if len(g.Headers) != len(w.headers) {
			t.Fatalf("record %d: headers %v", i, g.Headers)
		}
		for j, h := range g.Headers {
			if h.Key != string(w.headers[j].Key) || string(h.Value) != string(w.headers[j].Value) || (h.Value == nil) != (w.headers[j].Value == nil) {
				t.Fatalf("record %d: header %d is %q=%q", i, j, h.Key, h.Value)
			}
		}
	}
}

// The partition of a key is what Java's default partitioner makes it: (murmur2(key) & 0x7fffffff) mod n, with the
// hashes that Kafka's own tests expect.
func TestKeysLeadToThePartitionsThatJavaChooses(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.Create.Partitions = 7
	p := r.source.topic("air", 1)[0]
	hashes := map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	}
	for k := range hashes {
		p.append(record.None, rec{key: k, value: "v"})
	}
	r.start()
	r.caughtUp()
	for _, g := range r.consume("north.air") {
		if want := (hashes[string(g.Key)] & 0x7fffffff) % 7; g.Partition != want {
			t.Errorf("%s is in partition %d, want %d", g.Key, g.Partition, want)
		}
	}
}

func TestAllPartitionsOfTheChosenTopicsAreForwardedOnce(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.Topics = []string{"air*", "noise"}
	r.cfg.Exclude = []string{"air.raw"}
	for _, topic := range []string{"air", "air.city", "noise"} {
		fill(r.source.topic(topic, 3), 12, 3000, record.LZ4)
	}
	for _, topic := range []string{"air.raw", "water", "__consumer_offsets"} {
		fill(r.source.topic(topic, 1), 4, 100, record.None)
	}
	r.start()
	r.caughtUp()
	for _, topic := range []string{"air", "air.city", "noise"} {
		checkOrder(t, r.consume("north."+topic), 12, 250, true)
	}
	for _, topic := range []string{"air.raw", "water", "__consumer_offsets"} {
		if r.centre.TopicInfo("north."+topic) != nil {
			t.Errorf("%s is forwarded", topic)
		}
	}
	if s := r.w.Status(); s.Confirmed != 9000 || s.State != StateStreaming || s.Held != 0 || s.Lost != 0 {
		t.Errorf("status %+v", s)
	}
	r.stop()
	if n := testutil.ToFloat64(r.w.metrics.confirmedRecords.WithLabelValues("air")); n != 3000 {
		t.Errorf("metrics count %v confirmed records", n)
	}
	if s := r.w.Status(); s.State != StateStopped {
		t.Errorf("state %s after the end", s.State)
	}
}

func TestOrderHoldsAndNothingIsDoubledUnderRetries(t *testing.T) {
	g := newGate()
	r := newRig(t, newCentre(t, kfake.NumBrokers(3), g.option()))
	parts := r.source.topic("air", 2)
	r.cfg.MaxBatchBytes = 2000
	for _, err := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.LeaderNotAvailable} {
		n := 0
		r.centre.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: 5, When: func(kmsg.Request) bool {
			n++
			return n%7 == 0
		}})
	}
	r.start()
	fill(parts, 8, 8000, record.LZ4)
	for range 5 {
		eventually(t, func() string {
			if r.w.Status().Confirmed == 0 {
				return "nothing is confirmed"
			}
			return ""
		})
		g.cutOnce()
		r.centre.ShufflePartitionLeaders()
	}
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 1000, true)
}

func TestCentreAwayIsWaitedForAndReported(t *testing.T) {
	g := newGate()
	r := newRig(t, newCentre(t, g.option()))
	parts := r.source.topic("air", 2)
	r.cfg.MaxInflightBytes = 64 << 10
	fill(parts, 8, 800, record.LZ4)
	r.start()
	r.caughtUp()
	g.set(true)
	more := newFiller(parts, 8, 100)
	more.add(4000)
	eventually(t, func() string {
		s := r.w.Status()
		if s.State != StateDown || s.DownSince == nil || s.LastError == "" || s.Lag != 4000 || s.BehindSeconds <= 0 {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	eventually(t, func() string {
		if v := testutil.ToFloat64(r.w.metrics.state.WithLabelValues(string(StateDown))); v != 1 {
			return "the metric does not tell"
		}
		return ""
	})
	g.set(false)
	more.add(400)
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 650, true)
	if s := r.w.Status(); s.State != StateStreaming && s.State != StateCatchingUp {
		t.Errorf("state %s", s.State)
	}
}

// filler continues what fill began.
type filler struct {
	parts []*memPartition
	keys  int
	next  int
}

func newFiller(parts []*memPartition, keys, from int) *filler { return &filler{parts, keys, from} }

// add appends n records, a multiple of the number of keys.
func (f *filler) add(n int) {
	batches := make([][]rec, len(f.parts))
	for i := range n {
		k := i % f.keys
		batches[k%len(f.parts)] = append(batches[k%len(f.parts)],
			rec{key: fmt.Sprintf("k%d", k), value: fmt.Sprint(f.next + i/f.keys), ts: t0 + int64(i)})
	}
	f.next += n / f.keys
	for p, b := range batches {
		for chunk := range slices.Chunk(b, 20) {
			f.parts[p].append(record.LZ4, chunk...)
		}
	}
}

func TestCentreThatRestartsIsSentTheRest(t *testing.T) {
	dir := t.TempDir()
	centre := newCentre(t, kfake.DataDir(dir), kfake.SyncWrites())
	r := newRig(t, centre)
	var port int
	if _, err := fmt.Sscanf(centre.ListenAddrs()[0], "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	parts := r.source.topic("air", 2)
	f := newFiller(parts, 8, 0)
	f.add(800)
	r.start()
	r.caughtUp()
	centre.Close()
	f.add(1600)
	r.centre = newCentre(t, kfake.DataDir(dir), kfake.Ports(port))
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 8, 300, true)
}

func TestStoppingWaitsForWhatIsOnItsWay(t *testing.T) {
	r := newRig(t, newCentre(t))
	r.cfg.Linger = 300 * time.Millisecond
	f := newFiller(r.source.topic("air", 1), 4, 0)
	f.add(400)
	r.start()
	eventually(t, func() string {
		if r.w.budget.used.Load() == 0 {
			return "nothing is on its way"
		}
		return ""
	})
	r.stop()
	if s := r.w.Status(); s.Confirmed == 0 || s.Confirmed != s.Partitions[0].Position {
		t.Errorf("status %+v", s)
	}
	if at := r.pos.snapshot()[idOf(r.source.Partitions()[0])]; at != r.w.Status().Partitions[0].Position {
		t.Errorf("stored %d", at)
	}
	f.add(400)
	r.start()
	r.caughtUp()
	checkOrder(t, r.consume("north.air"), 4, 200, true)
}

func TestStoppingIsQuickWhileTheCentreIsAway(t *testing.T) {
	g := newGate()
	g.set(true)
	r := newRig(t, newCentre(t, g.option()))
	r.cfg.DrainTimeout = time.Minute
	newFiller(r.source.topic("air", 1), 4, 0).add(400)
	r.start()
	eventually(t, func() string {
		if s := r.w.Status(); s.State != StateConnecting || s.LastError == "" {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	start := time.Now()
	r.stop()
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
}
