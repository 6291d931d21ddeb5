//go:build soak

package soak

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

// damagedRecords are written before the damage: about a dozen segments of 1 MiB.
const damagedRecords = 12000

// A file with a number for a name is a segment.
func segments(t *testing.T, data string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".seg") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// rewrite changes a file's bytes.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, change(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A sealed segment that is cut, flipped in a bit or gone is set aside and told; the node serves all the
// other records, unchanged and under their own offsets, and takes new ones behind them.
func TestDamagedSegmentIsSetAsideAndTheRestServed(t *testing.T) {
	whole := newNode(t)
	conf := config("absorb_interval = \"20ms\"\ncompression = \"none\"\n")
	conf["log"] = "segment_bytes = \"1MiB\"\njournal_bytes = \"1MiB\"\nretention = \"unlimited\"\n"
	serve(t, whole, conf)
	createTopics(t, whole.Kafka, partitions, topicPlain)
	cl := newClient(t, whole.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(100_000),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	writeNumbered(t, cl, 0, damagedRecords)
	if _, err := whole.Stop(stopTimeout); err != nil {
		t.Fatal(err)
	}
	names := segments(t, whole.Data)
	if len(names) < 6 {
		t.Fatalf("only %d segments: %v", len(names), names)
	}

	flip := func(at func(n int) int) func([]byte) []byte {
		return func(b []byte) []byte { b[at(len(b))] ^= 0x10; return b }
	}
	for _, c := range []struct {
		name   string
		change func([]byte) []byte // nil removes the file
		told   bool                // the log must name the file
	}{
		{"cut in half", func(b []byte) []byte { return b[:len(b)/2] }, true},
		{"cut by one page", func(b []byte) []byte { return b[:len(b)-4096] }, false}, // perhaps a free page
		{"empty", func([]byte) []byte { return nil }, true},
		{"overwritten with zeros", func(b []byte) []byte { clear(b); return b }, true},
		{"a bit in the first meta page", flip(func(int) int { return 40 }), false}, // there is a second
		{"a bit in both meta pages", func(b []byte) []byte { b[40] ^= 1; b[4096+40] ^= 1; return b }, true},
		{"a bit in a quarter", flip(func(n int) int { return n / 4 }), false}, // perhaps where nothing is
		{"a bit in the middle", flip(func(n int) int { return n / 2 }), false},
		{"a bit in three quarters", flip(func(n int) int { return n * 3 / 4 }), false},
		{"a bit in every 50,000 bytes", func(b []byte) []byte {
			for i := 25000; i < len(b); i += 50000 {
				b[i] ^= 2
			}
			return b
		}, true},
		{"missing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			if err := os.CopyFS(n.Data, os.DirFS(whole.Data)); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(filepath.Join(n.Data, "LOCK"))
			victim := segments(t, n.Data)[len(names)/2]
			if c.change == nil {
				if err := os.Remove(victim); err != nil {
					t.Fatal(err)
				}
			} else {
				rewrite(t, victim, c.change)
			}
			serve(t, n, conf)
			lost := readNumbered(t, n, damagedRecords)
			t.Logf("%d of %d records are lost", lost, damagedRecords)
			segment := damagedRecords / len(names) * 2 // generously
			if lost > segment {
				t.Errorf("%d records are lost with one of %d segments", lost, len(names))
			}
			if told := strings.Contains(n.Log(), filepath.Base(victim)); (c.told || lost > 0) && c.change != nil && !told {
				t.Errorf("%d records are lost, the log does not name %s:\n%s", lost, filepath.Base(victim), n.Log())
			}
			checkGoesOn(t, n, segment)
		})
	}
}

// writeNumbered produces records from..to-1, 1,000 bytes each, in turn over the partitions.
func writeNumbered(t *testing.T, cl *kgo.Client, from, to int) {
	t.Helper()
	ctx := within(t, time.Minute)
	for at := from; at < to; at += 400 {
		var batch []*kgo.Record
		for i := at; i < min(at+400, to); i++ {
			p := int32(i % partitions)
			e := Entry{Kind: Plain, Source: fmt.Sprintf("numbered-%d", p), Seq: int64(i / partitions)}
			batch = append(batch, &kgo.Record{Topic: topicPlain, Partition: p, Value: e.Append(nil, 1000)})
		}
		if err := cl.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// readNumbered reads all there is of total records and returns how many are missing; those that are there must have
// their own offsets, in order.
func readNumbered(t *testing.T, n *rig.Node, total int) (lost int) {
	t.Helper()
	ctx := within(t, 30*time.Second)
	cl := newClient(t, n.Kafka)
	to, err := ends(ctx, cl, topicPlain)
	if err != nil {
		t.Fatal(err)
	}
	next := map[int32]int64{}
	err = read(ctx, n.Kafka, topicPlain, nil, to, func(r *kgo.Record) error {
		e, err := ParseEntry(r.Value)
		if err != nil {
			return err
		}
		if e.Seq != r.Offset || e.Source != fmt.Sprintf("numbered-%d", r.Partition) {
			return fmt.Errorf("offset %d of partition %d holds record %d of %s", r.Offset, r.Partition, e.Seq, e.Source)
		}
		if r.Offset < next[r.Partition] {
			return fmt.Errorf("offset %d follows %d", r.Offset, next[r.Partition]-1)
		}
		if gap := r.Offset - next[r.Partition]; gap > 0 {
			lost += int(gap)
		}
		next[r.Partition] = r.Offset + 1
		return nil
	})
	if err != nil {
		t.Fatal(errors.Join(err, errors.New(n.Log())))
	}
	for p := range int32(partitions) {
		if end := int64(total / partitions); next[p] != end || to[p] != end {
			t.Errorf("partition %d: read up to %d, ends at %d, was %d long", p, next[p], to[p], end)
		}
	}
	return lost
}

// checkGoesOn produces behind the damage, restarts, and reads again. What was served of the damaged segment
// until its damage was met may be gone then: up to a segment.
func checkGoesOn(t *testing.T, n *rig.Node, segment int) {
	t.Helper()
	cl := newClient(t, n.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx := within(t, 30*time.Second)
	before, err := ends(ctx, cl, topicPlain)
	if err != nil {
		t.Fatal(err)
	}
	for p, end := range maps.All(before) {
		res := cl.ProduceSync(ctx, &kgo.Record{Topic: topicPlain, Partition: p, Value: Entry{Kind: Plain, Source: "behind", Seq: end}.Append(nil, 0)})
		if r, err := res.First(); err != nil || r.Offset != end {
			t.Fatalf("partition %d: produced behind offset %d: %v", p, end, err)
		}
	}
	if _, err := n.Stop(stopTimeout); err != nil {
		t.Fatal(err)
	}
	startNode(t, n)
	got := 0
	after := maps.Clone(before)
	for p := range after {
		after[p]++
	}
	if err := read(ctx, n.Kafka, topicPlain, nil, after, func(*kgo.Record) error { got++; return nil }); err != nil {
		t.Fatal(err)
	}
	if want := damagedRecords + partitions; got > want || got < want-segment {
		t.Errorf("after a restart there are %d records of %d, a segment holds %d at most", got, want, segment)
	}
}
