package upstream

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/culvert-mq/culvert/log/record"
)

// BenchmarkForward is the way of a backlog of 150-byte readings through the forwarder, to a centre that stores nothing.
func BenchmarkForward(b *testing.B) {
	centre, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BlackholeProduce(), kfake.DefaultNumPartitions(4))
	if err != nil {
		b.Fatal(err)
	}
	defer centre.Close()
	src := newSource()
	parts := src.topic("air", 4)
	value := make([]byte, 100)
	batch := make([]rec, 200)
	keys := []string{"city/north/lamp-1/temp", "city/north/lamp-2/temp", "city/north/lamp-3/temp", "city/north/lamp-4/temp"}
	for i := range batch {
		batch[i] = rec{key: keys[i%4], value: string(value), ts: t0, headers: []record.Header{{Key: []byte("qos"), Value: []byte("1")}}}
	}
	for n := 0; n < b.N; n += len(batch) {
		parts[n/len(batch)%4].append(record.LZ4, batch...)
	}
	r := &rig{source: src, pos: newPositions(), cfg: Default()}
	r.cfg.Brokers, r.cfg.Site = centre.ListenAddrs(), "north"
	b.ReportAllocs()
	b.ResetTimer()
	stop := r.run(b)
	for r.w.Status().Lag > 0 || r.w.Status().Confirmed < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	stop()
}
