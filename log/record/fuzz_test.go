package record

import (
	"bytes"
	"encoding/base64"
	"testing"
)

const fuzzLimit = 1 << 20

// seeds are batches of every codec and form, and bytes that are none.
func seeds() [][]byte {
	records := readings(12)
	raw := naive(records)
	out := [][]byte{nil, {0}, make([]byte, HeaderSize), bytes.Repeat([]byte{0xff}, 100)}
	for codec := None; codec <= Zstd; codec++ {
		out = append(out, build(records, codec))
		java, _ := base64.StdEncoding.DecodeString(javaBatches[codec])
		out = append(out, java)
	}
	for _, p := range packers {
		out = append(out, clientBatch(records, p.codec, p.pack(raw)))
	}
	for _, m := range malformed {
		out = append(out, clientBatch([]model{{}}, None, m.raw))
	}
	return out
}

// FuzzSplit: what Split returns is all of the buffer, in order, and its accessors work.
func FuzzSplit(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
		f.Add(append(bytes.Clone(s), s...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		rest := in
		for len(rest) > 0 {
			b, next, err := Split(rest)
			if err != nil {
				if len(next) != len(rest) || b != nil {
					t.Fatal("an error that takes bytes")
				}
				return
			}
			if b.Size() != len(b) || len(b) < HeaderSize || len(b)+len(next) != len(rest) || cap(b) != len(b) || b.Magic() != 2 {
				t.Fatalf("%d of %d bytes, %d left", len(b), len(rest), len(next))
			}
			_ = b.VerifyCRC()
			_, _ = b.NextOffset(), b.LastSequence()
			rest = next
		}
	})
}

// FuzzCheck: what passes Check is what a broker may store, and every consumer finds its records. The CRC is made
// right first, or nothing would get past it.
func FuzzCheck(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b, _, err := Split(bytes.Clone(in))
		if err != nil {
			return
		}
		if b.VerifyCRC() {
			_ = b.Check(fuzzLimit)
		}
		resign(b)
		facts, err := b.Examine(fuzzLimit)
		if err != nil {
			return
		}
		if err := b.Check(fuzzLimit); err != nil {
			t.Fatalf("Examine accepts what Check refuses: %v", err)
		}
		var r Reader
		defer r.Close()
		if err := r.Reset(b, fuzzLimit); err != nil {
			t.Fatal(err)
		}
		n, nulls, first := int32(0), int32(0), int64(-1)
		for r.Next() {
			rec := r.Record()
			if rec.Offset != b.BaseOffset()+int64(n) || rec.Timestamp < facts.MinTimestamp || rec.Timestamp > facts.MaxTimestamp {
				t.Fatalf("record %d: %+v of %+v", n, rec, facts)
			}
			if rec.Timestamp == facts.MaxTimestamp && first < 0 {
				first = rec.Offset
			}
			if rec.Key == nil {
				nulls++
			}
			n++
		}
		if r.Err() != nil || n != b.Count() || nulls != facts.NullKeys || b.MaxTimestamp() != facts.MaxTimestamp {
			t.Fatalf("%d records of %d: %v", n, b.Count(), r.Err())
		}
		if o, _, ok, err := b.FirstAt(facts.MaxTimestamp, fuzzLimit); err != nil || !ok || n > 0 && o != first {
			t.Fatalf("first of the latest is %d, not %d: %v", o, first, err)
		}
		out, err := Recompress(b, LZ4, nil, fuzzLimit)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := out.Examine(fuzzLimit); err != nil || again != facts {
			t.Fatalf("recompressed: %+v, %v", again, err)
		}
	})
}

// FuzzReader: any batch that Split lets through is read to its end or to an error, whatever it says of itself.
func FuzzReader(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, int64(0))
	}
	f.Fuzz(func(t *testing.T, in []byte, ts int64) {
		b, _, err := Split(in)
		if err != nil {
			return
		}
		var r Reader
		defer r.Close()
		_ = r.Reset(b, fuzzLimit)
		size := 0
		for r.Next() {
			rec := r.Record()
			size += 7 + len(rec.Key) + len(rec.Value) + 2*len(rec.Headers)
			for _, h := range rec.Headers {
				size += len(h.Key) + len(h.Value)
			}
		}
		if size > max(fuzzLimit, len(b)) {
			t.Fatalf("%d bytes of records, limit %d", size, fuzzLimit)
		}
		_, _, _, _ = b.FirstAt(ts, fuzzLimit)
		_, _ = Recompress(b, None, nil, fuzzLimit)
	})
}

// FuzzBuilder: records of any shape are written as a broker accepts them, and read back.
func FuzzBuilder(f *testing.F) {
	f.Add([]byte("\x03key\x05value\x00\x00"), uint8(3))
	f.Add(bytes.Repeat([]byte("city/traffic/"), 100), uint8(14))
	f.Fuzz(func(t *testing.T, in []byte, mode uint8) {
		var records []model
		take := func() []byte {
			if len(in) == 0 || in[0] == 0xff {
				in = in[min(len(in), 1):]
				return nil
			}
			n := min(int(in[0]), len(in)-1)
			v := in[1 : 1+n : 1+n]
			in = in[1+n:]
			return v
		}
		for len(in) > 0 {
			m := model{ts: int64(int8(in[0])) << (mode % 60)}
			m.key, m.value = take(), take()
			for range len(m.key) % 4 {
				m.headers = append(m.headers, Header{Key: take(), Value: take()})
			}
			records = append(records, m)
		}
		if len(records) == 0 {
			return
		}
		b := build(records, Codec(mode%5))
		if err := b.Check(testLimit); err != nil {
			t.Fatal(err)
		}
		wantRecords(t, b, 0, records)
	})
}
