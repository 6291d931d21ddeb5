package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// refusals are what Check says no to, as changes to a good batch; the CRC is computed anew after each.
var refusals = []struct {
	name   string
	change func(b Batch) Batch
	want   error
}{
	{"magic 1", put8(16, 1), ErrMagic},
	{"magic 3", put8(16, 3), ErrMagic},
	{"length of another batch", put32(8, 49), ErrCorrupt},
	{"negative length", put32(8, -1), ErrCorrupt},
	{"codec 5", attributes(5), ErrCodec},
	{"codec 7", attributes(7), ErrCodec},
	{"log append time", attributes(1 << 3), ErrTimestamp},
	{"control", attributes(1 << 5), ErrInvalid},
	{"control and transactional", func(b Batch) Batch { b.SetProducer(1, 1, 1); return attributes(1<<5 | 1<<4)(b) }, ErrInvalid},
	{"transactional without a producer id", attributes(1 << 4), ErrInvalid},
	{"delete horizon", attributes(1 << 6), ErrInvalid},
	{"unused attribute 7", attributes(1 << 7), ErrInvalid},
	{"unused attribute 15", attributes(math.MinInt16), ErrInvalid},
	{"no records", func(b Batch) Batch { return put32(57, 0)(put32(23, -1)(b)) }, ErrInvalid},
	{"negative number of records", func(b Batch) Batch { return put32(57, -5)(put32(23, -6)(b)) }, ErrInvalid},
	{"count that wraps", func(b Batch) Batch { return put32(57, math.MinInt32)(put32(23, math.MaxInt32)(b)) }, ErrInvalid},
	{"last offset delta too small", put32(23, 8), ErrInvalid},
	{"last offset delta too large", put32(23, 10), ErrInvalid},
	{"count too small", put32(57, 9), ErrInvalid},
	{"count too large", put32(57, 11), ErrInvalid},
	{"one record fewer than there are", func(b Batch) Batch { return put32(57, 9)(put32(23, 8)(b)) }, ErrInvalid},
	{"one record more than there are", func(b Batch) Batch { return put32(57, 11)(put32(23, 10)(b)) }, ErrInvalid},
	{"MaxInt32 records", func(b Batch) Batch { return put32(57, math.MaxInt32)(put32(23, math.MaxInt32-1)(b)) }, ErrInvalid},
	{"producer id with a negative sequence", func(b Batch) Batch { b.SetProducer(5, 0, -1); return b }, ErrInvalid},
	{"producer id with a negative epoch", func(b Batch) Batch { b.SetProducer(5, -1, 0); return b }, ErrInvalid},
}

func put8(at int, v int8) func(Batch) Batch { return func(b Batch) Batch { b[at] = byte(v); return b } }
func attributes(v int16) func(Batch) Batch {
	return func(b Batch) Batch { binary.BigEndian.PutUint16(b[21:], uint16(v)); return b }
}
func put32(at int, v int32) func(Batch) Batch {
	return func(b Batch) Batch { binary.BigEndian.PutUint32(b[at:], uint32(v)); return b }
}

func TestCheckRefuses(t *testing.T) {
	records := readings(10)
	raw := naive(records)
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			b := resign(c.change(clientBatch(records, None, bytes.Clone(raw))))
			if err := b.Check(testLimit); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
		if strings.Contains(c.name, "record") || strings.Contains(c.name, "count") {
			for _, p := range packers {
				t.Run(c.name+"/"+p.name, func(t *testing.T) {
					b := clientBatch(records, p.codec, p.pack(raw))
					if b = resign(c.change(b)); b.Attributes().Codec() != p.codec {
						t.Skip("the change is one of the attributes")
					}
					if err := b.Check(testLimit); !errors.Is(err, c.want) {
						t.Fatalf("%v, want %v", err, c.want)
					}
				})
			}
		}
	}
}

func TestCheckAcceptsAnIdempotentProducer(t *testing.T) {
	b := build(readings(10), LZ4)
	b.SetProducer(1<<40, math.MaxInt16, math.MaxInt32-3)
	if err := b.Check(testLimit); err != nil {
		t.Fatal(err)
	}
	if b.LastSequence() != 5 {
		t.Fatalf("sequence MaxInt32-3 and 9 more is %d", b.LastSequence())
	}
	b.setAttributes(b.Attributes() | attrTransactional)
	if err := resign(b).Check(testLimit); err != nil {
		t.Fatal(err)
	}
	b.SetProducer(-1, -1, -1)
	if b.LastSequence() != -1 {
		t.Fatal(b.LastSequence())
	}
}

// body is a record's body as bytes and varints.
func body(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			out = binary.AppendVarint(out, int64(p))
		case string:
			out = append(out, p...)
		}
	}
	return out
}

// framed puts a length before the body.
func framed(body []byte) []byte { return append(binary.AppendVarint(nil, int64(len(body))), body...) }

var malformed = []struct {
	name string
	raw  []byte
}{
	{"nothing at all", nil},
	{"empty record", []byte{0}},
	{"negative length", body(-1)},
	{"length over the end", body(100, "\x00")},
	{"huge length", body(math.MaxInt32, "\x00")},
	{"length of six bytes", []byte("\x80\x80\x80\x80\x80\x00")},
	{"length of 33 bits", []byte("\x80\x80\x80\x80\x10")},
	{"attributes alone", framed(body("\x00"))},
	{"timestamp delta cut short", framed(body("\x00\x80"))},
	{"timestamp delta of 65 bits", framed(body("\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 0, -1, -1, 0))},
	{"timestamp delta of eleven bytes", framed(body("\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0, -1, -1, 0))},
	{"no offset delta", framed(body("\x00", 0))},
	{"offset delta 1", framed(body("\x00", 0, 1, -1, -1, 0))},
	{"offset delta -1", framed(body("\x00", 0, -1, -1, -1, 0))},
	{"key length -2", framed(body("\x00", 0, 0, -2, -1, 0))},
	{"key over the end", framed(body("\x00", 0, 0, 50, "k", -1, 0))},
	{"huge key", framed(body("\x00", 0, 0, math.MaxInt32, "k", -1, 0))},
	{"no value", framed(body("\x00", 0, 0, 1, "k"))},
	{"value length -2", framed(body("\x00", 0, 0, -1, -2, 0))},
	{"value over the end", framed(body("\x00", 0, 0, -1, 1))},
	{"no headers", framed(body("\x00", 0, 0, -1, -1))},
	{"number of headers -1", framed(body("\x00", 0, 0, -1, -1, -1))},
	{"too many headers", framed(body("\x00", 0, 0, -1, -1, 3, 0, -1, 0, -1))},
	{"MaxInt32 headers", framed(body("\x00", 0, 0, -1, -1, math.MaxInt32))},
	{"header key null", framed(body("\x00", 0, 0, -1, -1, 1, -1, -1))},
	{"header key over the end", framed(body("\x00", 0, 0, -1, -1, 1, 9, "k"))},
	{"header value length -2", framed(body("\x00", 0, 0, -1, -1, 1, 1, "k", -2))},
	{"header value over the end", framed(body("\x00", 0, 0, -1, -1, 1, 1, "k", 1))},
	{"no header value", framed(body("\x00", 0, 0, -1, -1, 1, 1, "k"))},
	{"bytes after the last header", framed(body("\x00", 0, 0, -1, -1, 0, "x"))},
	{"bytes after the last record", append(framed(body("\x00", 0, 0, -1, -1, 0)), 0)},
}

func TestMalformedRecordsAreRefused(t *testing.T) {
	for _, m := range malformed {
		check := func(name string, codec Codec, payload []byte) {
			t.Run(m.name+"/"+name, func(t *testing.T) {
				b := clientBatch([]model{{}}, codec, payload)
				if err := b.Check(testLimit); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
					t.Errorf("Check: %v", err)
				}
				var r Reader
				_ = r.Reset(b, testLimit)
				n := 0
				for r.Next() {
					n++
				}
				if r.Err() == nil && !strings.HasPrefix(m.name, "offset delta") || n > 1 {
					t.Errorf("Reader: %d records, %v", n, r.Err())
				}
				r.Close()
			})
		}
		check("raw", None, m.raw)
		for _, p := range packers {
			check(p.name, p.codec, p.pack(m.raw))
		}
	}
	good := clientBatch([]model{{}}, None, framed(body("\x00", 0, 0, -1, -1, 0)))
	if err := good.Check(0); err != nil {
		t.Fatalf("the smallest good batch: %v", err)
	}
}

func TestErrorTellsTheRecord(t *testing.T) {
	raw := append(framed(body("\x00", 0, 0, -1, -1, 0)), framed(body("\x00", 0, 7, -1, -1, 0))...)
	err := clientBatch(make([]model, 2), None, raw).Check(0)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Record != 1 || !strings.Contains(err.Error(), "record 1") {
		t.Fatal(err)
	}
	b := clientBatch(readings(5), LZ4, []byte("no frame"))
	if e, ok = errors.AsType[*Error](b.Check(0)); !ok || e.Record != -1 {
		t.Fatal(e)
	}
	cause := errors.New("cause")
	if err := inflateError(Zstd, cause); !errors.Is(err, cause) || !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

// A CRC covers all from the attributes on; the magic and the length are seen by Split. The base offset and the
// leader epoch are the broker's, and nothing here can find a flipped bit in them.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		good := build(readings(20), codec)
		for i := range good {
			if i < 8 || 12 <= i && i < 16 {
				continue
			}
			for bit := range 8 {
				b := append(bytes.Clone(good), make([]byte, 64)...) // what follows in a buffer
				b[i] ^= 1 << bit
				got, _, err := Split(b)
				if err != nil {
					continue
				}
				if got.VerifyCRC() {
					t.Fatalf("%v: VerifyCRC misses bit %d of byte %d", codec, bit, i)
				}
				if err := got.Check(testLimit); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%v: Check of bit %d of byte %d: %v", codec, bit, i, err)
				}
			}
		}
	}
}

// Behind a good CRC a producer may have sent anything.
func TestEveryFlippedBitBehindAGoodCRCIsHarmless(t *testing.T) {
	records := readings(5)
	for _, p := range append([]packer{{"none", None, bytes.Clone}}, packers...) {
		good := clientBatch(records, p.codec, p.pack(naive(records)))
		for i := 21; i < len(good); i++ {
			for bit := range 8 {
				b := Batch(bytes.Clone(good))
				b[i] ^= 1 << bit
				resign(b)
				err := b.Check(testLimit)
				n := drain(b)
				if err == nil && n != len(records) {
					t.Fatalf("%s: bit %d of byte %d passes Check, but has %d records", p.name, bit, i, n)
				}
			}
		}
	}
}

// drain reads all of b that can be read and returns how many records that were, -1 after an error.
func drain(b Batch) int {
	var r Reader
	defer r.Close()
	_ = r.Reset(b, testLimit)
	n := 0
	for r.Next() {
		n++
	}
	if r.Err() != nil {
		return -1
	}
	return n
}

func TestTruncationIsFoundAtEveryLength(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		good := build(readings(20), codec)
		for n := range len(good) {
			if _, _, err := Split(good[:n]); !errors.Is(err, ErrShort) {
				t.Fatalf("%v: Split of %d of %d bytes: %v", codec, n, len(good), err)
			}
			if err := good[:n].Check(testLimit); err == nil {
				t.Fatalf("%v: Check of %d of %d bytes", codec, n, len(good))
			}
		}
	}
	// The same where the header was made to match.
	records := readings(20)
	for _, p := range append([]packer{{"none", None, bytes.Clone}}, packers...) {
		payload := p.pack(naive(records))
		for n := range len(payload) {
			b := clientBatch(records, p.codec, payload[:n])
			err := b.Check(testLimit)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%s: %d of %d bytes: %v", p.name, n, len(payload), err)
			}
			drain(b)
		}
	}
}

func TestCheckCorrectsTheMaxTimestamp(t *testing.T) {
	records := []model{{ts: 100, value: []byte("a")}, {ts: 300, key: []byte("k")}, {ts: 50}, {ts: 300}}
	for _, p := range append([]packer{{"none", None, bytes.Clone}}, packers...) {
		for _, claimed := range []int64{-1, 0, 299, 301, math.MaxInt64} {
			b := clientBatch(records, p.codec, p.pack(naive(records)))
			b.SetMaxTimestamp(claimed)
			before := bytes.Clone(b)
			facts, err := b.Examine(testLimit)
			want := Facts{MinTimestamp: 50, MaxTimestamp: 300, NullKeys: 3, Bytes: int64(len(naive(records)))}
			if err != nil || facts != want || !bytes.Equal(b, before) {
				t.Fatalf("%s: Examine: %+v, %v", p.name, facts, err)
			}
			if err := b.Check(testLimit); err != nil || b.MaxTimestamp() != 300 || !b.VerifyCRC() {
				t.Fatalf("%s: claimed %d: now %d, %v", p.name, claimed, b.MaxTimestamp(), err)
			}
			wantRecords(t, b, 0, records)
		}
	}
}

func TestLogAppendTimeReplacesAllTimestamps(t *testing.T) {
	for _, codec := range []Codec{None, LZ4} {
		b := build(readings(100), codec)
		b.SetLogAppendTime(12345)
		if !b.VerifyCRC() || b.MaxTimestamp() != 12345 || !b.Attributes().LogAppendTime() || b.Attributes().Codec() != codec {
			t.Fatal("header")
		}
		var r Reader
		n := 0
		for _ = r.Reset(b, testLimit); r.Next(); n++ {
			if r.Record().Timestamp != 12345 {
				t.Fatal(r.Record().Timestamp)
			}
		}
		r.Close()
		if n != 100 || r.Err() != nil {
			t.Fatal(n, r.Err())
		}
		b.SetBaseOffset(70)
		if o, ts, ok, err := b.FirstAt(12345, 0); o != 70 || ts != 12345 || !ok || err != nil {
			t.Fatal(o, ts, ok, err)
		}
		if o, ts, ok, err := b.FirstAt(12346, 0); o != -1 || ts != -1 || ok || err != nil {
			t.Fatal(o, ts, ok, err)
		}
	}
}

func TestFirstAtIsTheFirstRecordNotBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(40).Draw(t, "records")
		at := rapid.OneOf(rapid.Int64(), rapid.Custom(func(t *rapid.T) int64 {
			return rapid.SampledFrom(records).Draw(t, "record").ts + rapid.Int64Range(-1, 1).Draw(t, "off")
		})).Draw(t, "at")
		b := build(records, rapid.SampledFrom([]Codec{None, Gzip, Snappy, LZ4, Zstd}).Draw(t, "codec"))
		b.SetBaseOffset(1 << 40)
		offset, ts, ok, err := b.FirstAt(at, testLimit)
		i := slices.IndexFunc(records, func(r model) bool { return r.ts >= at })
		if err != nil || ok != (i >= 0) {
			t.Fatalf("%v, %v, want record %d", ok, err, i)
		}
		if ok && (offset != 1<<40+int64(i) || ts != records[i].ts) || !ok && (offset != -1 || ts != -1) {
			t.Fatalf("offset %d at %d, want record %d", offset, ts, i)
		}
	})
}

func TestReaderIsReusable(t *testing.T) {
	var r Reader
	if r.Next() {
		t.Fatal("zero reader has a record")
	}
	r.Close()
	sets := [][]model{readings(500), {{ts: 1}}, readings(3)}
	for range 3 {
		for _, records := range sets {
			for codec := None; codec <= Zstd; codec++ {
				b := build(records, codec)
				if err := r.Reset(b, testLimit); err != nil { // also in mid-batch
					t.Fatal(err)
				}
				for i := range min(len(records), 2) {
					if !r.Next() || r.Record().Offset != int64(i) || len(r.Record().Headers) != len(records[i].headers) {
						t.Fatalf("record %d: %+v, %v", i, r.Record(), r.Err())
					}
				}
			}
		}
		r.Close()
		if r.Next() || len(r.Record().Headers) != 0 {
			t.Fatal("closed reader has a record")
		}
	}
}
