package record

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func TestMarkerThatWasBuiltIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Marker{rapid.Bool().Draw(t, "commit"), rapid.Int32().Draw(t, "epoch")}
		id, epoch := rapid.Int64Min(0).Draw(t, "id"), rapid.Int16Min(0).Draw(t, "producer epoch")
		ts := rapid.Int64().Draw(t, "ts")
		b := NewMarker(id, epoch, want, ts)
		if got, ok := b.Marker(); !ok || got != want {
			t.Fatalf("%+v, %v, want %+v", got, ok, want)
		}
		a := b.Attributes()
		if !a.Control() || !a.Transactional() || a.Codec() != None || b.ProducerID() != id || b.ProducerEpoch() != epoch ||
			b.BaseSequence() != -1 || b.Count() != 1 || b.LastOffsetDelta() != 0 || b.MaxTimestamp() != ts || !b.VerifyCRC() {
			t.Fatalf("header % x", []byte(b))
		}
	})
}

// The bytes of the format's text (KIP-98; EndTransactionMarker of Apache Kafka): an abort by a coordinator of epoch 5.
func TestMarkerHasTheBytesOfTheFormat(t *testing.T) {
	b := NewMarker(9, 2, Marker{CoordinatorEpoch: 5}, 1000)
	record := "20" + // length 16
		"00" + "00" + "00" + // attributes, timestamp delta, offset delta
		"08" + "0000" + "0000" + // key: version 0, type 0
		"0c" + "0000" + "00000005" + // value: version 0, coordinator epoch
		"00"
	if got := hex.EncodeToString(b[HeaderSize:]); got != record {
		t.Fatalf("%s, want %s", got, record)
	}
	if a := int16(b.Attributes()); a != 0x30 {
		t.Fatalf("attributes %#x", a)
	}
}

func TestFranzGoReadsAMarkerAsTheEndOfAnAbortedTransaction(t *testing.T) {
	var bl Builder
	bl.Append(1000, []byte("k"), []byte("v"), nil)
	data := slices.Clone(bl.Finish(0, 0, None, nil))
	data.setAttributes(attrTransactional)
	data.SetProducer(9, 0, 0)
	for _, commit := range []bool{false, true} {
		marker := NewMarker(9, 0, Marker{Commit: commit, CoordinatorEpoch: 1}, 1000)
		marker.SetBaseOffset(1)
		later := slices.Clone(data)
		later.SetBaseOffset(2)
		p, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{IsolationLevel: kgo.ReadCommitted()},
			&kmsg.FetchResponseTopicPartition{
				RecordBatches:       slices.Concat(data, marker, later),
				AbortedTransactions: []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 9, FirstOffset: 0}},
			}, kgo.DefaultDecompressor(), nil)
		// A commit does not end what the list says was aborted: it is of an earlier transaction.
		if want := map[bool]int{false: 1, true: 0}[commit]; p.Err != nil || next != 3 || len(p.Records) != want {
			t.Errorf("commit %v: %d records, next %d, %v; want %d records", commit, len(p.Records), next, p.Err, want)
		}
	}
}

func TestBatchesThatAreNoMarkerAreNotTakenForOne(t *testing.T) {
	good := NewMarker(9, 2, Marker{Commit: true, CoordinatorEpoch: 5}, 1000)
	change := func(fn func(b Batch)) Batch {
		b := slices.Clone(good)
		fn(b)
		return b
	}
	for name, b := range map[string]Batch{
		"nothing":        nil,
		"cut short":      good[:HeaderSize-1],
		"no record":      good[:HeaderSize],
		"half a record":  good[:HeaderSize+8],
		"users' records": change(func(b Batch) { b.setAttributes(attrTransactional) }),
		"emptied":        change(func(b Batch) { binary.BigEndian.PutUint32(b[posCount:], 0) }),
		"negative count": change(func(b Batch) { binary.BigEndian.PutUint32(b[posCount:], 1<<31) }),
		"leader change":  change(func(b Batch) { b[HeaderSize+8] = 2 }),
		"no such codec":  change(func(b Batch) { b.setAttributes(attrControl | 7) }),
		"key of version": change(func(b Batch) { b[HeaderSize+5] = 0x80 }),
		"short value":    change(func(b Batch) { b[HeaderSize+9] = 8 }),
		"negative key":   change(func(b Batch) { b[HeaderSize+4] = 1 }),
	} {
		if m, ok := b.Marker(); ok {
			t.Errorf("%s: %+v", name, m)
		}
	}
	later := change(func(b Batch) { b[HeaderSize+6], b[HeaderSize+11] = 3, 3 })
	if m, ok := later.Marker(); !ok || m != (Marker{true, 5}) {
		t.Errorf("versions 3: %+v, %v", m, ok)
	}
}

func FuzzMarker(f *testing.F) {
	f.Add([]byte(NewMarker(1, 2, Marker{Commit: true, CoordinatorEpoch: 3}, 4)))
	f.Add([]byte(NewMarker(1, 2, Marker{}, 4)[:HeaderSize+3]))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := Batch(data)
		m, ok := b.Marker()
		if len(data) < HeaderSize {
			return
		}
		b = slices.Clone(b)
		b.setAttributes(b.Attributes()&attrCodecMask | attrControl) // the interesting part is behind this bit
		b.Marker()
		if ok && m == (Marker{}) && len(data) < HeaderSize+16 {
			t.Fatalf("a marker in %d bytes", len(data))
		}
	})
}
