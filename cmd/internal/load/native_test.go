package load

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func quickProduce(f *fakeNative) ProduceOptions {
	o := DefaultProduceOptions()
	o.Addr, o.Partitions, o.Connections, o.Count, o.BatchBytes, o.RecordSize, o.Warmup = f.addr(), 5, 2, 10_000, 10_000, 100, 0
	return o
}

func TestProducedIsFetchedWholeWithEveryCodec(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		f := startNative(t)
		o := quickProduce(f)
		o.Compression, o.PerRequest, o.Fill = codec, 2, FillReading
		p, err := RunProduce(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if !p.Ok() || p.Records < o.Count || p.TotalRecords != p.Records || p.Latency.Count == 0 {
			t.Errorf("%s: produced %+v", codec, p)
		}
		if codec != "none" && p.Bytes > p.Records*int64(o.RecordSize)/2 {
			t.Errorf("%s: %d bytes for %d records", codec, p.Bytes, p.Records)
		}
		g, err := RunFetch(t.Context(), FetchOptions{Addr: f.addr(), Topic: "bench", Connections: 2, Window: 2, MaxBytes: 50_000, Verify: true})
		if err != nil {
			t.Fatal(err)
		}
		if !g.Ok() || g.Records != p.TotalRecords || g.Bytes != p.TotalBytes {
			t.Errorf("%s: fetched %+v of %d records, %d bytes", codec, g, p.TotalRecords, p.TotalBytes)
		}
	}
}

func TestProducedBatchesAreReadableByAnOrdinaryClient(t *testing.T) {
	f := startNative(t)
	o := quickProduce(f)
	o.Compression = "lz4"
	if _, err := RunProduce(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(f.addr()), kgo.ConsumeTopics("bench"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for n := int64(0); n < o.Count; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if n++; len(r.Value) != o.RecordSize {
				t.Fatalf("a value of %d bytes", len(r.Value))
			}
		})
	}
}

func TestProduceWithoutAcknowledgementsCountsWhatWasSent(t *testing.T) {
	f := startNative(t)
	o := quickProduce(f)
	o.Acks = 0
	r, err := RunProduce(t.Context(), o)
	if err != nil || !r.Ok() || r.Records < o.Count || r.Latency != nil {
		t.Fatalf("%+v %v", r, err)
	}
	stored := int64(0)
	for _, p := range f.partitions {
		stored += p.next
	}
	if stored != r.TotalRecords {
		t.Errorf("%d stored of %d", stored, r.TotalRecords)
	}
}

func TestProduceKeepsTheRate(t *testing.T) {
	f := startNative(t)
	o := quickProduce(f)
	o.Count, o.Duration, o.Rate = 0, 500*time.Millisecond, 20_000
	r, err := RunProduce(t.Context(), o)
	if err != nil || !r.Ok() || r.TotalRecords < 9_000 || r.TotalRecords > 10_400 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestProduceReportsRefusalsAndLostConnections(t *testing.T) {
	f := startNative(t)
	f.refuse = kerr.KafkaStorageError.Code
	r, err := RunProduce(t.Context(), quickProduce(f))
	if err != nil || r.Ok() || r.Errors["KAFKA_STORAGE_ERROR"] == 0 || r.TotalRecords != 0 {
		t.Errorf("refused: %+v %v", r, err)
	}
	f = startNative(t)
	f.hangUp = 20
	r, err = RunProduce(t.Context(), quickProduce(f))
	if err != nil || r.Ok() || r.Failure == "" || r.TotalRecords == 0 {
		t.Errorf("hung up: %+v %v", r, err)
	}
}

func TestFetchReportsDamageAndGaps(t *testing.T) {
	f := startNative(t)
	p, err := RunProduce(t.Context(), quickProduce(f))
	if err != nil {
		t.Fatal(err)
	}
	flipped, shifted := f.partitions[0].batches[3], f.partitions[1].batches
	flipped[len(flipped)-1] ^= 1
	f.partitions[1].batches = append(shifted[:2:2], shifted[3:]...)
	o := FetchOptions{Addr: f.addr(), Topic: "bench", Connections: 1, Window: 3, MaxBytes: 1 << 20, Verify: true}
	r, err := RunFetch(t.Context(), o)
	if err != nil || r.Corrupt != 1 || r.Gaps != 1 || r.Ok() || r.Records != p.TotalRecords-100 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestFetchReadsAgainUntilItsTimeIsOver(t *testing.T) {
	f := startNative(t)
	p, err := RunProduce(t.Context(), quickProduce(f))
	if err != nil {
		t.Fatal(err)
	}
	o := FetchOptions{Addr: f.addr(), Topic: "bench", Connections: 1, Window: 3, MaxBytes: 1 << 20, Duration: 300 * time.Millisecond}
	r, err := RunFetch(t.Context(), o)
	if err != nil || !r.Ok() || r.Records < 2*p.TotalRecords {
		t.Errorf("%+v %v", r, err)
	}
}

func TestNativeLoadRefusesContradictions(t *testing.T) {
	for name, change := range map[string]func(*ProduceOptions){
		"no topic":          func(o *ProduceOptions) { o.Topic = "" },
		"no connections":    func(o *ProduceOptions) { o.Connections = 0 },
		"no window":         func(o *ProduceOptions) { o.Window = 0 },
		"empty records":     func(o *ProduceOptions) { o.RecordSize = 0 },
		"huge batches":      func(o *ProduceOptions) { o.BatchBytes = 1 << 30 },
		"acks of 2":         func(o *ProduceOptions) { o.Acks = 2 },
		"an unknown codec":  func(o *ProduceOptions) { o.Compression = "lzma" },
		"no end":            func(o *ProduceOptions) { o.Duration = 0 },
		"a negative rate":   func(o *ProduceOptions) { o.Rate = -1 },
		"an unknown filler": func(o *ProduceOptions) { o.Fill = "" },
	} {
		o := DefaultProduceOptions()
		change(&o)
		if _, err := RunProduce(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := RunFetch(t.Context(), FetchOptions{Topic: "bench", Connections: 1, Window: 1}); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
}

func TestNativeLoadEndsWithItsContext(t *testing.T) {
	f := startNative(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	o := quickProduce(f)
	o.Count, o.Duration = 0, time.Hour
	if _, err := RunProduce(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func FuzzNativeResponses(f *testing.F) {
	fetch := kmsg.NewPtrFetchResponse()
	fetch.SetVersion(fetchVersion)
	topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	batch, _, err := buildBatch(1000, 100, kgo.NoCompression(), FillReading, 1)
	if err != nil {
		f.Fatal(err)
	}
	partition.RecordBatches = batch
	topic.Partitions = append(topic.Partitions, partition)
	fetch.Topics = append(fetch.Topics, topic)
	produce := kmsg.NewPtrProduceResponse()
	produce.SetVersion(produceVersion)
	produce.Topics = []kmsg.ProduceResponseTopic{{Topic: "bench", Partitions: []kmsg.ProduceResponseTopicPartition{{ErrorCode: 1}}}}
	f.Add(fetch.AppendTo([]byte{0, 0, 0, 0}))
	f.Add(produce.AppendTo([]byte{0, 0, 0, 0}))
	f.Add(binary.BigEndian.AppendUint32(make([]byte, 14), 0x7fffffff))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &fetchRange{to: 100}
		fetcher := &fetcher{options: FetchOptions{Verify: true}}
		_ = fetcher.response(b, r)
		if r.next < 0 || fetcher.bytes < 0 || fetcher.bytes > int64(len(b)) {
			t.Fatalf("next %d, %d bytes", r.next, fetcher.bytes)
		}
		p := &producer{errors: map[string]int64{}, latencies: newHistogram()}
		_ = p.response(b, inFlight{request: &produceRequest{}})
	})
}
