package record

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// The consumer and the producer of franz-go are the independent opinion on what a batch is.

func TestFranzGoConsumesWhatTheBuilderWrites(t *testing.T) {
	for codec := None; codec <= Zstd; codec++ {
		t.Run(codec.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				records := drawRecords(60).Draw(t, "records")
				for i := range records {
					records[i].ts %= 1 << 42 // franz-go counts in nanoseconds
				}
				b := build(records, codec)
				b.SetBaseOffset(300)
				p, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: 300},
					&kmsg.FetchResponseTopicPartition{RecordBatches: b}, kgo.DefaultDecompressor(), nil)
				if p.Err != nil || len(p.Records) != len(records) || next != 300+int64(len(records)) {
					t.Fatalf("%d records of %d, next %d: %v", len(p.Records), len(records), next, p.Err)
				}
				for i, want := range records {
					got := p.Records[i]
					if got.Offset != 300+int64(i) || got.Timestamp.UnixMilli() != want.ts || !sameBytes(got.Key, want.key) ||
						!sameBytes(got.Value, want.value) || len(got.Headers) != len(want.headers) {
						t.Fatalf("record %d is %+v, want %+v", i, got, want)
					}
					for j, h := range want.headers {
						if got.Headers[j].Key != string(h.Key) || !sameBytes(got.Headers[j].Value, h.Value) {
							t.Fatalf("record %d header %d is %+v, want %q", i, j, got.Headers[j], h)
						}
					}
				}
			})
		})
	}
}

func TestBatchesThatFranzGoCompressedAreCheckedAndRead(t *testing.T) {
	for codec, k := range map[Codec]kgo.CompressionCodec{Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(),
		LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression()} {
		c, err := kgo.DefaultCompressor(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 10, 1000, 30_000} {
			records := readings(n)
			payload, _ := c.Compress(new(bytes.Buffer), naive(records))
			b := clientBatch(records, codec, payload)
			if err := b.Check(testLimit); err != nil {
				t.Fatalf("%v, %d records: %v", codec, n, err)
			}
			wantRecords(t, b, 0, records)
		}
	}
}

// javaBatches are what the producer of Apache Kafka 4.2.0 makes of javaRecords.
var javaBatches = map[Codec]string{
	None: "AAAAAAAAAAAAAADn/////wIplKsAAAAAAAACAAABi8/laAAAAAGLz+VoDv//////////////////AAAAA3oAAAAIa2V5MDZjaXR5L3Ry" +
		"YWZmaWMvc2Vuc29yIHZhbHVlIDAECnRvcGljGGNpdHkvdHJhZmZpYwZuaWwBcgAOAgE2Y2l0eS90cmFmZmljL3NlbnNvciB2YWx1ZSAx" +
		"BAp0b3BpYxhjaXR5L3RyYWZmaWMGbmlsAXoAHAQIa2V5MjZjaXR5L3RyYWZmaWMvc2Vuc29yIHZhbHVlIDIECnRvcGljGGNpdHkvdHJh" +
		"ZmZpYwZuaWwB",
	Gzip: "AAAAAAAAAAAAAACQ/////wJ+2kNWAAEAAAACAAABi8/laAAAAAGLz+VoDv//////////////////AAAAAx+LCAAAAAAAAP+rYmBg4MhO" +
		"rTQwS84sqdQvKUpMS8tM1i9OzSvOL1IoS8wpTVUwYOEqyS/ITJZAVsKWl5nDWMTAx8SIR6chTp1VDDIsIHuN8Og2wqkbAHXC8MW2AAAA",
	Snappy: "AAAAAAAAAAAAAACc/////wL+6c3IAAIAAAACAAABi8/laAAAAAGLz+VoDv//////////////////AAAAA4JTTkFQUFkAAAAAAQAAAAEA" +
		"AABXtgGwegAAAAhrZXkwNmNpdHkvdHJhZmZpYy9zZW5zb3IgdmFsdWUgMAQKdG9waWMYLiMAJAZuaWwBcgAOAgFqOgAAMWI6AAx6ABwE" +
		"AXgAMmo+AAAyYj4A",
	LZ4: "AAAAAAAAAAAAAACb/////wLBWhTeAAMAAAACAAABi8/laAAAAAGLz+VoDv//////////////////AAAAAwQiTRhgQIJbAAAA+B56AAAA" +
		"CGtleTA2Y2l0eS90cmFmZmljL3NlbnNvciB2YWx1ZSAwBAp0b3BpYxgjAK8GbmlsAXIADgIBOgAIHzE6AAZAegAcBHgAHzI+AAgfMj4A" +
		"AVAGbmlsAQAAAAA=",
	Zstd: "AAAAAAAAAAAAAACQ/////wL/b1E9AAQAAAACAAABi8/laAAAAAGLz+VoDv//////////////////AAAAAyi1L/0AWJwCACQEegAAAAhr" +
		"ZXkwNmNpdHkvdHJhZmZpYy9zZW5zb3IgdmFsdWUgMAQKdG9waWMYBm5pbAFyAA4CATF6ABwECGtleTIyBQCwiCCEB5bbVYhqOFUGAQAA",
}

func javaRecords() []model {
	records := make([]model, 3)
	for i := range records {
		records[i] = model{ts: 1_700_000_000_000 + 7*int64(i), value: fmt.Appendf(nil, "city/traffic/sensor value %d", i),
			headers: []Header{{Key: []byte("topic"), Value: []byte("city/traffic")}, {Key: []byte("nil")}}}
		if i%2 == 0 {
			records[i].key = fmt.Appendf(nil, "key%d", i)
		}
	}
	return records
}

func TestBatchesOfJavaAreCheckedAndRead(t *testing.T) {
	records := javaRecords()
	for codec, text := range javaBatches {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		b := mustSplit(t, raw)
		if err := b.Check(testLimit); err != nil || b.Attributes().Codec() != codec {
			t.Errorf("%v: %v", codec, err)
		}
		wantRecords(t, b, 0, records)
	}
	// Uncompressed, the Builder's bytes are Java's.
	raw, _ := base64.StdEncoding.DecodeString(javaBatches[None])
	if got := build(records, None); !bytes.Equal(got, raw) {
		t.Errorf("%x, want %x", []byte(got), raw)
	}
}
