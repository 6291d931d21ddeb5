package record

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// testLimit is more than any batch of these tests holds but the bombs.
const testLimit = 16 << 20

// model is a record as the tests think of it.
type model struct {
	ts      int64
	key     []byte
	value   []byte
	headers []Header
}

// naive encodes records in the plainest way, by the text of the format and with encoding/binary alone.
func naive(records []model) []byte {
	var out []byte
	bytesOf := func(b, v []byte) []byte {
		if v == nil {
			return binary.AppendVarint(b, -1)
		}
		return append(binary.AppendVarint(b, int64(len(v))), v...)
	}
	for i, r := range records {
		body := []byte{0}
		body = binary.AppendVarint(body, r.ts-records[0].ts)
		body = binary.AppendVarint(body, int64(i))
		body = bytesOf(body, r.key)
		body = bytesOf(body, r.value)
		body = binary.AppendVarint(body, int64(len(r.headers)))
		for _, h := range r.headers {
			body = append(binary.AppendVarint(body, int64(len(h.Key))), h.Key...)
			body = bytesOf(body, h.Value)
		}
		out = binary.AppendVarint(out, int64(len(body)))
		out = append(out, body...)
	}
	return out
}

// clientBatch is how a producer would send the records: raw, or whatever they were compressed to by codec. The header is
// written by kmsg.
func clientBatch(records []model, codec Codec, payload []byte) Batch {
	k := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: int16(codec), LastOffsetDelta: int32(len(records) - 1),
		FirstTimestamp: records[0].ts, MaxTimestamp: records[0].ts, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(len(records)), Records: payload, Length: int32(HeaderSize - 12 + len(payload)),
	}
	for _, r := range records {
		k.MaxTimestamp = max(k.MaxTimestamp, r.ts)
	}
	return resign(k.AppendTo(nil))
}

// resign gives b the CRC of what it holds now.
func resign(b Batch) Batch {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// build makes a batch of the records with a Builder.
func build(records []model, codec Codec) Batch {
	var b Builder
	for _, r := range records {
		b.Append(r.ts, r.key, r.value, r.headers)
	}
	return b.Finish(0, -1, codec, nil)
}

// drawBytes draws nil, empty and other bytes, the longer ones repetitive.
func drawBytes(null bool) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		if null && rapid.IntRange(0, 5).Draw(t, "null") == 0 {
			return nil
		}
		v := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
		if n := rapid.SampledFrom([]int{1, 1, 1, 7, 300}).Draw(t, "times"); n > 1 {
			v = bytes.Repeat(v, n)
		}
		if v == nil {
			v = []byte{}
		}
		return v
	})
}

func drawRecords(most int) *rapid.Generator[[]model] {
	one := rapid.Custom(func(t *rapid.T) model {
		m := model{
			ts:  rapid.OneOf(rapid.Int64Range(1_700_000_000_000, 1_700_000_100_000), rapid.Int64()).Draw(t, "ts"),
			key: drawBytes(true).Draw(t, "key"), value: drawBytes(true).Draw(t, "value"),
		}
		for range rapid.IntRange(0, 4).Draw(t, "headers") {
			m.headers = append(m.headers, Header{Key: drawBytes(false).Draw(t, "hkey"), Value: drawBytes(true).Draw(t, "hvalue")})
		}
		return m
	})
	return rapid.SliceOfN(one, 1, most)
}

func sameBytes(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// fatal is what *testing.T and *rapid.T have in common here.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// wantRecords reads b and fails unless it holds the records, the first at offset base.
func wantRecords(t fatal, b Batch, base int64, records []model) {
	t.Helper()
	var r Reader
	defer r.Close()
	if err := r.Reset(b, testLimit); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	for i, want := range records {
		if !r.Next() {
			t.Fatalf("ends before record %d of %d: %v", i, len(records), r.Err())
		}
		got := r.Record()
		if got.Offset != base+int64(i) || got.Timestamp != want.ts || !sameBytes(got.Key, want.key) ||
			!sameBytes(got.Value, want.value) || len(got.Headers) != len(want.headers) {
			t.Fatalf("record %d is %+v, want %+v", i, got, want)
		}
		for j, h := range want.headers {
			if !bytes.Equal(got.Headers[j].Key, h.Key) || !sameBytes(got.Headers[j].Value, h.Value) {
				t.Fatalf("record %d header %d is %q, want %q", i, j, got.Headers[j], h)
			}
		}
	}
	if r.Next() || r.Err() != nil {
		t.Fatalf("after the last record: %v", r.Err())
	}
	if r.Next() {
		t.Fatalf("goes on after the end")
	}
}

// readings are n records as a gateway has them, which compress well.
func readings(n int) []model {
	records := make([]model, n)
	for i := range records {
		sensor := []byte{'s', byte('0' + i%7), byte('0' + i%10)}
		records[i] = model{
			ts: 1_700_000_000_000 + int64(i*13%1000), key: sensor,
			value: bytes.Join([][]byte{[]byte(`{"speed":`), {byte('1' + i%9), byte('0' + i*7%10)}, []byte(`,"unit":"km/h"}`)}, nil),
			headers: []Header{{Key: []byte("mqtt.topic"), Value: append([]byte("city/traffic/"), sensor...)},
				{Key: []byte("mqtt.qos"), Value: []byte("1")}},
		}
	}
	return records
}

func mustSplit(t testing.TB, buf []byte) Batch {
	t.Helper()
	b, rest, err := Split(buf)
	if err != nil || len(rest) != 0 {
		t.Fatalf("Split: %v, %d bytes left", err, len(rest))
	}
	return b
}
