package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestClientReadsBackWhatItProducedInOrder(t *testing.T) {
	r := newRig(t)
	r.topic("lamps", 4)
	cl := r.client(kgo.DefaultProduceTopic("lamps"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const n = 5000
	for i := range n {
		cl.Produce(ctx, &kgo.Record{Key: fmt.Appendf(nil, "lamp-%d", i%37), Value: fmt.Appendf(nil, "%d", i),
			Headers: []kgo.RecordHeader{{Key: "n", Value: []byte{byte(i)}}}}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	rd := r.client(kgo.ConsumeTopics("lamps"))
	last := map[string]int{}
	for got := 0; got < n; {
		fs := rd.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			t.Fatal(err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			got++
			var v int
			if _, err := fmt.Sscan(string(rec.Value), &v); err != nil {
				t.Fatal(err)
			}
			if prev, ok := last[string(rec.Key)]; ok && v <= prev {
				t.Fatalf("key %s: %d after %d", rec.Key, v, prev)
			}
			if len(rec.Headers) != 1 || rec.Headers[0].Value[0] != byte(v) {
				t.Fatalf("headers of %d: %v", v, rec.Headers)
			}
			last[string(rec.Key)] = v
		})
	}
	if len(last) != 37 {
		t.Fatalf("%d keys", len(last))
	}
}

func TestTopicIsCreatedForTheProducerThatNamesIt(t *testing.T) {
	r := newRig(t)
	cl := r.client(kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("fresh"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if n := len(r.meta.State().Topic("fresh").Partitions); n != 2 {
		t.Fatalf("%d partitions, num.partitions is 2", n)
	}
}
