package record

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// placed is a record of the model with its offset.
type placed struct {
	model
	offset int64
}

// sequenceOf is what a producer's batch of the tests begins with.
const (
	testProducer = 77
	testSequence = math.MaxInt32 - 2
)

// drawStored draws a batch as it lies in the log, and what it holds.
func drawStored(t *rapid.T) (Batch, []placed) {
	records := drawRecords(30).Draw(t, "records")
	var bl Builder
	for _, r := range records {
		bl.Append(r.ts, r.key, r.value, r.headers)
	}
	base := rapid.Int64Range(0, 1<<40).Draw(t, "base")
	b := slices.Clone(bl.Finish(base, 5, Codec(rapid.IntRange(0, 4).Draw(t, "codec")), nil))
	if rapid.Bool().Draw(t, "transactional") {
		b.setAttributes(b.Attributes() | attrTransactional)
	}
	b.SetProducer(testProducer, 3, testSequence)
	if rapid.Bool().Draw(t, "appended") {
		b.SetLogAppendTime(1_700_000_555_555)
		for i := range records {
			records[i].ts = 1_700_000_555_555
		}
	}
	all := make([]placed, len(records))
	for i, r := range records {
		all[i] = placed{r, base + int64(i)}
	}
	return b, all
}

// wantPlaced reads b and fails unless it holds just these records at their offsets.
func wantPlaced(t fatal, b Batch, want []placed) {
	t.Helper()
	var r Reader
	defer r.Close()
	if err := r.Reset(b, testLimit); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	for i, w := range want {
		if !r.Next() {
			t.Fatalf("ends before record %d of %d: %v", i, len(want), r.Err())
		}
		got := r.Record()
		if got.Offset != w.offset || got.Timestamp != w.ts || !sameBytes(got.Key, w.key) || !sameBytes(got.Value, w.value) ||
			!slices.EqualFunc(got.Headers, w.headers, func(a, b Header) bool { return bytes.Equal(a.Key, b.Key) && sameBytes(a.Value, b.Value) }) {
			t.Fatalf("record %d is %+v, want %+v", i, got, w)
		}
	}
	if r.Next() || r.Err() != nil {
		t.Fatalf("after the last record: %v", r.Err())
	}
}

// wantHeaderOf fails unless out says of itself what b does, but for its records.
func wantHeaderOf(t fatal, out, b Batch) {
	t.Helper()
	if rest, behind, err := Split(out); err != nil || len(behind) != 0 || len(rest) != len(out) || !out.VerifyCRC() {
		t.Fatalf("no whole batch: %v", err)
	}
	mask := ^(attrCodecMask | attrDeleteHorizon)
	if out.BaseOffset() != b.BaseOffset() || out.LastOffset() != b.LastOffset() || out.NextOffset() != b.NextOffset() ||
		out.LeaderEpoch() != b.LeaderEpoch() || out.ProducerID() != b.ProducerID() || out.ProducerEpoch() != b.ProducerEpoch() ||
		out.BaseSequence() != b.BaseSequence() || out.LastSequence() != b.LastSequence() ||
		out.Attributes()&mask != b.Attributes()&mask {
		t.Fatalf("header % x, was % x", []byte(out[:HeaderSize]), []byte(b[:HeaderSize]))
	}
}

func TestFilterKeepsWhatItIsAskedToAndWhereItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, have := drawStored(t)
		for round := range 3 {
			mask := rapid.SliceOfN(rapid.IntRange(0, 3), len(have), len(have)).Draw(t, "mask")
			horizon := rapid.SampledFrom([]int64{-1, -1, 0, 1_700_000_000_123, math.MaxInt64}).Draw(t, "horizon")
			var want []placed
			for i, r := range have {
				if mask[i] > 0 {
					want = append(want, r)
				}
			}
			before, asked := slices.Clone(b), 0
			out, kept, err := Filter(b, func(r *Record) bool {
				if w := have[asked]; r.Offset != w.offset || r.Timestamp != w.ts || !sameBytes(r.Key, w.key) || !sameBytes(r.Value, w.value) {
					t.Fatalf("asked about %+v, want %+v", r, w)
				}
				asked++
				return mask[asked-1] > 0
			}, horizon, testLimit)
			if err != nil || kept != len(want) || asked != len(have) {
				t.Fatalf("round %d: %d of %d kept, %d asked, %v", round, kept, len(want), asked, err)
			}
			if !bytes.Equal(b, before) {
				t.Fatalf("the batch itself was changed")
			}
			if kept == 0 {
				if out != nil {
					t.Fatalf("%d bytes of no records", len(out))
				}
				return
			}
			same := kept == len(have) && (horizon < 0 || horizon == b.DeleteHorizon())
			if same != (&out[0] == &b[0]) {
				t.Fatalf("nothing to do %v, but the same batch %v", same, &out[0] == &b[0])
			}
			wantHeaderOf(t, out, b)
			wantPlaced(t, out, want)
			newest := int64(math.MinInt64)
			for _, r := range want {
				newest = max(newest, r.ts)
			}
			wantHorizon := b.DeleteHorizon()
			if horizon >= 0 {
				wantHorizon = horizon
			}
			if got := out.Attributes().Codec(); out.Count() != int32(kept) || out.MaxTimestamp() != newest ||
				out.DeleteHorizon() != wantHorizon || out.HasDeleteHorizon() != (wantHorizon >= 0) ||
				got != None && got != b.Attributes().Codec() {
				t.Fatalf("count %d, max timestamp %d, horizon %d, codec %v; want %d, %d, %d, %v", out.Count(), out.MaxTimestamp(),
					out.DeleteHorizon(), got, kept, newest, wantHorizon, b.Attributes().Codec())
			}
			if off, ts, ok, err := out.FirstAt(newest, testLimit); err != nil || !ok || ts != newest || off < want[0].offset {
				t.Fatalf("first at %d: offset %d, %d, %v, %v", newest, off, ts, ok, err)
			}
			b, have = out, want
		}
	})
}

func TestFranzGoConsumesAFilteredBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := readings(40)
		b := build(records, Codec(rapid.IntRange(0, 4).Draw(t, "codec")))
		b.SetBaseOffset(300)
		drop := rapid.IntRange(2, 9).Draw(t, "drop")
		horizon := rapid.SampledFrom([]int64{-1, 1_800_000_000_000}).Draw(t, "horizon")
		out, kept, err := Filter(b, func(r *Record) bool { return r.Offset%int64(drop) == 1 }, horizon, testLimit)
		if err != nil {
			t.Fatal(err)
		}
		p, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: 300},
			&kmsg.FetchResponseTopicPartition{RecordBatches: slices.Concat(out, out.Emptied())}, kgo.DefaultDecompressor(), nil)
		if p.Err != nil || len(p.Records) != kept || next != 340 {
			t.Fatalf("%d records of %d, next %d: %v", len(p.Records), kept, next, p.Err)
		}
		for _, got := range p.Records {
			want := records[got.Offset-300]
			if got.Offset%int64(drop) != 1 || got.Timestamp.UnixMilli() != want.ts || !bytes.Equal(got.Key, want.key) || !bytes.Equal(got.Value, want.value) {
				t.Fatalf("%+v, want %+v", got, want)
			}
		}
	})
}

func TestEmptiedBatchKeepsItsPlaceAndItsProducer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, have := drawStored(t)
		if rapid.Bool().Draw(t, "stamped") {
			var err error
			if b, _, err = Filter(b, func(*Record) bool { return true }, 1_700_000_000_000, testLimit); err != nil {
				t.Fatal(err)
			}
		}
		out := b.Emptied()
		wantHeaderOf(t, out, b)
		wantPlaced(t, out, nil)
		if len(out) != HeaderSize || out.Count() != 0 || out.MaxTimestamp() != -1 || out.HasDeleteHorizon() || out.Attributes().Codec() != None {
			t.Fatalf("% x", []byte(out))
		}
		if off, _, ok, err := out.FirstAt(have[0].ts, testLimit); ok || err != nil {
			t.Fatalf("found %d, %v", off, err)
		}
		if again, kept, err := Filter(out, func(*Record) bool { return true }, -1, testLimit); again != nil || kept != 0 || err != nil {
			t.Fatalf("%d bytes, %d kept, %v", len(again), kept, err)
		}
	})
}

func TestFilterLeavesAloneWhatItCannotRead(t *testing.T) {
	good := build(readings(300), LZ4)
	all := func(*Record) bool { return true }
	if _, _, err := Filter(good, all, -1, 100); !errors.Is(err, ErrTooLarge) {
		t.Errorf("limit of 100 bytes: %v", err)
	}
	bad := slices.Clone(good)
	bad.setAttributes(7)
	if _, _, err := Filter(bad, all, -1, testLimit); !errors.Is(err, ErrCodec) {
		t.Errorf("no such codec: %v", err)
	}
	short := slices.Clone(build(readings(3), None))
	short = short[:len(short)-1]
	short.setLength()
	if out, kept, err := Filter(short, func(r *Record) bool { return r.Offset > 0 }, -1, testLimit); !errors.Is(err, ErrInvalid) || out != nil || kept != 0 {
		t.Errorf("cut short: %d bytes, %d kept, %v", len(out), kept, err)
	}
}

func TestCheckRefusesADeleteHorizonOfAClient(t *testing.T) {
	b, _, err := Filter(build(readings(3), None), func(*Record) bool { return true }, 1_700_000_000_000, testLimit)
	if err != nil || !b.HasDeleteHorizon() {
		t.Fatal(err)
	}
	if err := b.Check(testLimit); !errors.Is(err, ErrInvalid) {
		t.Fatalf("%v", err)
	}
}

func TestFirstAtOfALogAppendTimeBatchWithGapsIsARecord(t *testing.T) {
	b := slices.Clone(build(readings(10), None))
	b.SetLogAppendTime(5000)
	out, _, err := Filter(b, func(r *Record) bool { return r.Offset >= 4 }, -1, testLimit)
	if err != nil {
		t.Fatal(err)
	}
	if off, ts, ok, err := out.FirstAt(5000, testLimit); err != nil || !ok || off != 4 || ts != 5000 {
		t.Fatalf("offset %d, %d, %v, %v", off, ts, ok, err)
	}
}

func FuzzFilter(f *testing.F) {
	for codec := None; codec <= Zstd; codec++ {
		f.Add([]byte(build(readings(20), codec)), int64(-1), uint8(3))
	}
	f.Add([]byte(NewMarker(1, 0, Marker{}, 7)), int64(5), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, horizon int64, every uint8) {
		b, _, err := Split(data)
		if err != nil {
			return
		}
		n := int64(0)
		out, kept, err := Filter(b, func(*Record) bool { n++; return n%(int64(every)+1) == 0 }, horizon, 1<<20)
		if err != nil || out == nil {
			return
		}
		if out.BaseOffset() != b.BaseOffset() || out.LastOffset() != b.LastOffset() || int(out.Count()) != kept {
			t.Fatalf("% x", []byte(out[:HeaderSize]))
		}
		if _, again, err := Filter(out, func(*Record) bool { return true }, -1, 2<<20); err != nil || again != kept {
			t.Fatalf("%d records of %d: %v", again, kept, err)
		}
	})
}
