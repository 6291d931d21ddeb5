package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func TestBuilderWritesWhatTheNaiveEncoderWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(30).Draw(t, "records")
		var b Builder
		b.Reset(make([]byte, rapid.IntRange(0, 2000).Draw(t, "capacity")))
		for _, r := range records {
			before, size := b.Len(), b.SizeOf(r.ts, r.key, r.value, r.headers)
			b.Append(r.ts, r.key, r.value, r.headers)
			if b.Len() != before+size {
				t.Fatalf("SizeOf says %d, Append added %d", size, b.Len()-before)
			}
		}
		got := b.Finish(0, -1, None, nil)
		want := clientBatch(records, None, naive(records))
		if !bytes.Equal(got, want) {
			t.Fatalf("\n%x, want\n%x", []byte(got), []byte(want))
		}
		if err := got.Check(0); err != nil {
			t.Fatalf("Check: %v", err)
		}
		wantRecords(t, got, 0, records)
	})
}

func TestKmsgReadsWhatTheBuilderWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(20).Draw(t, "records")
		var bl Builder
		for _, r := range records {
			bl.Append(r.ts, r.key, r.value, r.headers)
		}
		offset := rapid.Int64Range(0, math.MaxInt64-100).Draw(t, "offset")
		b := bl.Finish(offset, 7, None, nil)
		var k kmsg.RecordBatch
		if err := k.ReadFrom(b); err != nil {
			t.Fatalf("%v", err)
		}
		if k.FirstOffset != offset || k.PartitionLeaderEpoch != 7 || k.Magic != 2 || k.Attributes != 0 ||
			int(k.LastOffsetDelta) != len(records)-1 || int(k.NumRecords) != len(records) || k.FirstTimestamp != records[0].ts ||
			k.ProducerID != -1 || k.ProducerEpoch != -1 || k.FirstSequence != -1 || uint32(k.CRC) != b.CRC() {
			t.Fatalf("%+v", k)
		}
		rest := k.Records
		for i, want := range records {
			length, n := binary.Varint(rest)
			size := n + int(length)
			var r kmsg.Record
			if err := r.ReadFrom(rest[:size]); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			rest = rest[size:]
			if int(r.OffsetDelta) != i || r.TimestampDelta64 != want.ts-records[0].ts || !sameBytes(r.Key, want.key) ||
				!sameBytes(r.Value, want.value) || len(r.Headers) != len(want.headers) {
				t.Fatalf("record %d is %+v, want %+v", i, r, want)
			}
			for j, h := range want.headers {
				if r.Headers[j].Key != string(h.Key) || !sameBytes(r.Headers[j].Value, h.Value) {
					t.Fatalf("record %d header %d is %+v, want %q", i, j, r.Headers[j], h)
				}
			}
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes after the last record", len(rest))
		}
	})
}

func TestBatchesOfKmsgPassCheckAndAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(20).Draw(t, "records")
		var payload []byte
		for i, want := range records {
			r := kmsg.Record{TimestampDelta64: want.ts - records[0].ts, OffsetDelta: int32(i), Key: want.key, Value: want.value}
			for _, h := range want.headers {
				r.Headers = append(r.Headers, kmsg.Header{Key: string(h.Key), Value: h.Value})
			}
			r.Length = int32(len(r.AppendTo(nil)) - 1) // the length 0 takes one byte
			payload = r.AppendTo(payload)
		}
		b := clientBatch(records, None, payload)
		if err := b.Check(0); err != nil {
			t.Fatalf("%v", err)
		}
		b.SetBaseOffset(1000)
		wantRecords(t, b, 1000, records)
	})
}

func TestCompressedBatchHoldsTheSameRecordsAndIsSmaller(t *testing.T) {
	for _, codec := range []Codec{Gzip, Snappy, LZ4, Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				records := drawRecords(40).Draw(t, "records")
				var bl Builder
				for _, r := range records {
					bl.Append(r.ts, r.key, r.value, r.headers)
				}
				size := bl.Len()
				dst := make([]byte, rapid.IntRange(0, 2*size).Draw(t, "dst"))
				b := bl.Finish(55, 3, codec, dst)
				if got := b.Attributes().Codec(); got != None && (got != codec || len(b) >= size) {
					t.Fatalf("%v, %d bytes of %d", got, len(b), size)
				} else if got == codec && cap(dst) >= len(b) && &b[0] != &dst[0] {
					t.Fatalf("has room for %d in dst of %d, but lies elsewhere", len(b), cap(dst))
				} else if got == None && len(b) != size {
					t.Fatalf("uncompressed, %d bytes of %d", len(b), size)
				}
				if err := b.Check(testLimit); err != nil {
					t.Fatalf("%v", err)
				}
				wantRecords(t, b, 55, records)
			})
		})
	}
}

func TestFinishCompressesWhatShrinksAndOnlyThat(t *testing.T) {
	for _, codec := range []Codec{Gzip, Snappy, LZ4, Zstd} {
		if got := build(readings(100), codec); got.Attributes().Codec() != codec {
			t.Errorf("%v: 100 readings are %v", codec, got.Attributes().Codec())
		}
		if got := build(readings(2), codec); got.Attributes().Codec() != None {
			t.Errorf("%v: tried with %d bytes", codec, len(got))
		}
		if got := build(noise(10, 300), codec); got.Attributes().Codec() != None {
			t.Errorf("%v: noise became %v", codec, got.Attributes().Codec())
		}
	}
}

func TestFinishOfAnEmptyBuilderIsNil(t *testing.T) {
	var b Builder
	if b.Finish(0, 0, LZ4, nil) != nil || b.Len() != HeaderSize || b.Count() != 0 {
		t.Fatal("not empty")
	}
	b.Reset(make([]byte, 10))
	if b.Finish(0, 0, None, nil) != nil || b.Len() != HeaderSize {
		t.Fatal("not empty")
	}
}

func TestResetBuilderStartsAnew(t *testing.T) {
	var b Builder
	for _, r := range readings(10) {
		b.Append(r.ts, r.key, r.value, r.headers)
	}
	b.Finish(9, 9, None, nil)
	b.Reset(b.Buffer())
	records := []model{{ts: 5, value: []byte("x")}, {ts: 3}}
	for _, r := range records {
		b.Append(r.ts, r.key, r.value, r.headers)
	}
	if b.Count() != 2 || b.MaxTimestamp() != 5 {
		t.Fatalf("%d records up to %d", b.Count(), b.MaxTimestamp())
	}
	if got, want := b.Finish(0, -1, None, nil), clientBatch(records, None, naive(records)); !bytes.Equal(got, want) {
		t.Fatalf("%x, want %x", []byte(got), []byte(want))
	}
}

// noise are n records with values of size random bytes.
func noise(n, size int) []model {
	r := rand.New(rand.NewPCG(1, 2))
	records := make([]model, n)
	for i := range records {
		v := make([]byte, size)
		for j := range v {
			v[j] = byte(r.Uint32())
		}
		records[i] = model{ts: int64(i), value: v}
	}
	return records
}
