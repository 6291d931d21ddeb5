//go:build soak

package soak

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A producer writes one stream of numbered records to each of some partitions, within one producer session
// that outlives the node's restarts: a client that gives up a batch and a session that begins anew would
// both make "exactly once" a promise about something else.
type producer struct {
	name       string
	topic      string
	kind       Kind
	partitions []int32
	rate       float64 // records per second over all partitions
	size       int     // bytes of a value
	codec      kgo.CompressionCodec
	key        func(seq int64) string // nil: the stream's name

	acked []atomic.Int64 // per stream
	sent  []atomic.Int64

	mu  sync.Mutex
	err error // the first failure; guarded by mu
}

func newProducer(name, topic string, kind Kind, rate float64, size int, codec kgo.CompressionCodec, partitions ...int32) *producer {
	return &producer{
		name: name, topic: topic, kind: kind, rate: rate, size: size, codec: codec, partitions: partitions,
		acked: make([]atomic.Int64, len(partitions)), sent: make([]atomic.Int64, len(partitions)),
	}
}

// source names the stream that goes to the i-th of the producer's partitions.
func (p *producer) source(i int) string { return fmt.Sprintf("%s-%d", p.name, p.partitions[i]) }

func (p *producer) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(p.codec),
		kgo.UnknownTopicRetries(-1),
		kgo.ProducerLinger(2 * time.Millisecond),
	}
	if p.kind == Plain {
		// One request in flight, which is what keeps the order of a producer that sends again.
		return append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	// The client would otherwise take a new session when the node loses its state, and go on.
	return append(opts, kgo.StopProducerOnDataLossDetected())
}

// run produces until stop is closed and then waits until everything is acknowledged.
func (p *producer) run(ctx context.Context, addr string, stop <-chan struct{}) error {
	cl, err := kgo.NewClient(clientOpts(addr, p.options()...)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	begin, produced := time.Now(), int64(0)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for p.failure() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			if err := cl.Flush(ctx); err != nil {
				return fmt.Errorf("%s: flush: %w", p.name, err)
			}
			return p.failure()
		case <-tick.C:
		}
		for due := int64(p.rate * time.Since(begin).Seconds()); produced < due; produced++ {
			if cl.BufferedProduceRecords() > 5000 {
				// The node is away; what was missed is not made up for.
				begin = begin.Add(time.Duration(float64(due-produced) / p.rate * float64(time.Second)))
				break
			}
			p.produce(ctx, cl, int(produced%int64(len(p.partitions))))
		}
	}
	return p.failure()
}

func (p *producer) produce(ctx context.Context, cl *kgo.Client, stream int) {
	seq := p.sent[stream].Add(1) - 1
	e := Entry{Kind: p.kind, Source: p.source(stream), Seq: seq}
	rec := &kgo.Record{Topic: p.topic, Partition: p.partitions[stream], Key: []byte(e.Source), Value: e.Append(nil, p.size)}
	if p.key != nil {
		rec.Key = []byte(p.key(seq))
	}
	cl.Produce(ctx, rec, func(_ *kgo.Record, err error) {
		// Called in order per partition.
		switch acked := p.acked[stream].Load(); {
		case err != nil:
			p.fail(fmt.Errorf("%s: record %d: %w", e.Source, seq, err))
		case seq != acked:
			p.fail(fmt.Errorf("%s: record %d acknowledged after %d", e.Source, seq, acked-1))
		default:
			p.acked[stream].Store(seq + 1)
		}
	})
}

func (p *producer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *producer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
